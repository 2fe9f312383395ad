"""The mismatch filter: is a clip that does not say its text told from one that does?

Claim: the area under the ROC curve is at least 0.995 for another text, the first half only, 30 % cut from the
middle, and noise of the clip's spectrum at -3 dB, and at least 0.90 for a single word that the text lacks, has twice,
or has in another one's place. Voices and texts of the clips are of the validation and test splits; the rule was fitted
on the training split only.

    python benchmarks/mismatch.py [--count 72] [--clips DIR]
    python benchmarks/mismatch.py --render train --count 120 --clips DIR    # clips for annotators.train_mismatch
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from annotators.mismatch_corruptions import AUDIO, TEXT, pairs
from annotators.pocketsphinx import PocketsphinxConfig
from annotators.train_mismatch import roc_auc
from manifests.bank import REPLY_KINDS, ScenarioBank
from manifests.labels import EMOTIONS
from manifests.run import SelectConfig
from manifests.voices import VoiceTable
from manifests.wer import normalise
from synthesis.base import Utterance
from synthesis.kokoro import KokoroConfig

RESULTS = Path(__file__).parent / "results" / "mismatch.json"
HELD_OUT, TRAIN = ("validation", "test"), ("train",)
_SEEDS = {TRAIN: 1, HELD_OUT: 2}
COARSE = ("other_text", *AUDIO)
REPLIES = 4  # every so manieth text is a reply, which are longer than queries
THRESHOLDS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
RATES = (0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""Limits of the word error rate, beside the default of `select.query_mismatch_max`."""
BESIDE = SelectConfig().query_mismatch_max


def choose(splits: tuple[str, ...], count: int) -> list[dict[str, str]]:
    """Texts, voices and emotions of the clips; all of their combinations come up alike."""
    bank, table = ScenarioBank.load("en"), VoiceTable.load("kokoro")
    scenarios = sorted((s for split in splits for s in bank.of_split(split)), key=lambda s: s.id)
    voices = [voice for split in splits for voice in table.queries(split, "en", None, None)]
    draws = random.Random(_SEEDS[splits])
    draws.shuffle(scenarios)
    draws.shuffle(voices)
    rows: list[dict[str, str]] = []
    texts: set[str] = set()
    turn = 0
    while len(rows) < count:
        number, scenario = len(rows), scenarios[turn % len(scenarios)]
        turn += 1
        slots = scenario.fill(draws.randrange(scenario.num_queries))
        is_reply = number % REPLIES == REPLIES - 1
        text = scenario.reply_text(draws.choice(REPLY_KINDS), slots) if is_reply else scenario.query_text(slots)
        if text in texts:
            continue
        texts.add(text)
        voice, emotion = voices[number % len(voices)], EMOTIONS[number % len(EMOTIONS)]
        rows.append(
            {"file": f"{number:04d}.flac", "text": text, "voice": voice.voice, "speaker": voice.speaker,
             "emotion": emotion, "age": voice.age, "gender": voice.gender}
        )  # fmt: skip
    return rows


def render(folder: Path, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Speak the clips that the folder does not hold yet; a `labels.csv` that it has wins over `rows`."""
    table = folder / "labels.csv"
    if table.is_file():
        with table.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))[: len(rows)]
    else:
        folder.mkdir(parents=True, exist_ok=True)
        with table.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.DictWriter(lines, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    speaker = None
    for number, row in enumerate(rows):
        file = folder / row["file"]
        if not file.is_file():
            speaker = speaker or KokoroConfig().open()
            cues = {name: row[name] for name in ("age", "gender", "emotion")}
            speech = speaker.speak(Utterance(row["text"], row["voice"], seed=number, **cues))
            soundfile.write(file, speech.samples, speech.sample_rate)
    return rows


def score(folder: Path, rows: list[dict[str, str]]) -> tuple[list[tuple[str, str, float, float]], float]:
    """Kind, emotion or `child`, mismatch and WER of every clip and damage; and CPU seconds per second of audio."""
    recognizer = PocketsphinxConfig().open()
    texts = [normalise(row["text"], "en").split() for row in rows]
    bank = ScenarioBank.load("en")
    spoken = {word for s in bank.scenarios for n in range(s.num_queries) for word in s.query_text(s.fill(n)).split()}
    vocabulary = sorted({word for text in spoken for word in normalise(text, "en").split()})
    scores, seconds, started = [], 0.0, time.process_time()
    for number, row in enumerate(rows):
        samples, rate = soundfile.read(folder / row["file"], dtype="float32")
        other = texts[(number + 7) % len(texts)]
        for kind, audio, words in pairs(samples, texts[number], other, vocabulary, number):
            heard = recognizer.transcribe(audio, rate, " ".join(words), "en")
            scores.append((kind, row["emotion"] if row["age"] != "child" else "child", heard.mismatch, heard.wer))
            seconds += len(audio) / rate
    return scores, (time.process_time() - started) / seconds


def report(scores: list[tuple[str, str, float, float]]) -> dict[str, object]:
    """Areas under the ROC curve of the score and of the WER, and what thresholds cost; printed and returned."""
    kinds, column = np.array([kind for kind, *_ in scores]), {}
    for name, at in (("mismatch", 2), ("wer", 3)):
        values = np.array([row[at] for row in scores])
        clean = values[kinds == "clean"]
        column[name] = {kind: round(roc_auc(values[kinds == kind], clean), 4) for kind in (*COARSE, *TEXT)}
        column[name]["pooled_coarse"] = round(roc_auc(values[np.isin(kinds, COARSE)], clean), 4)
        column[name]["pooled_words"] = round(roc_auc(values[np.isin(kinds, TEXT)], clean), 4)
    print(f"{'damage':16}{'AUC mismatch':>14}{'AUC WER':>10}")
    for kind, value in column["mismatch"].items():
        print(f"{kind:16}{value:14.4f}{column['wer'][kind]:10.4f}")
    values = np.array([row[2] for row in scores])
    rejected = {f"{limit:g}": _shares(kinds, values > limit) for limit in THRESHOLDS}
    print("share rejected above a mismatch of")
    print(f"{'':8}" + "".join(f"{kind:>12}" for kind in dict.fromkeys(kinds)))
    for limit, shares in rejected.items():
        print(f"{limit:8}" + "".join(f"{share:12.3f}" for share in shares.values()))
    wer = np.array([row[3] for row in scores])
    print(f"share rejected above a WER, alone and beside a mismatch of {BESIDE:g}")
    alone, beside = (
        {f"{rate:g}": _shares(kinds, (wer > rate) | other) for rate in RATES} for other in (False, values > BESIDE)
    )
    for rate in alone:
        print(
            f"{rate:8}"
            + "".join(f"{a:6.3f}{b:6.3f}" for a, b in zip(alone[rate].values(), beside[rate].values(), strict=True))
        )
    voices = np.array([row[1] for row in scores])
    lost = {}
    print("clean clips rejected, by voice: mismatch above 0.9, WER above 0.3")
    for voice in sorted(set(voices)):
        chosen = (kinds == "clean") & (voices == voice)
        lost[voice] = {
            "clips": int(chosen.sum()),
            "mismatch_above_0.9": round(float(np.mean(values[chosen] > 0.9)), 4),
            "wer_above_0.3": round(float(np.mean(wer[chosen] > 0.3)), 4),
        }
        print(f"{voice:10}", *lost[voice].values())
    return {
        "auc": column,
        "rejected_above": rejected,
        "rejected_by_wer_above": alone,
        "rejected_by_wer_above_or_mismatch": beside,
        "clean_rejected": lost,
    }


def _shares(kinds: np.ndarray, rejected: np.ndarray) -> dict[str, float]:
    """Share of the clips of each kind that are rejected."""
    return {kind: round(float(np.mean(rejected[kinds == kind])), 4) for kind in dict.fromkeys(kinds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=72, help="clips")
    parser.add_argument("--clips", type=Path, help="folder that keeps the clips; else a temporary one")
    parser.add_argument("--render", choices=["train"], help="only render clips to fit on, into --clips")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as spare:
        folder = options.clips or Path(spare)
        rows = choose(TRAIN if options.render else HELD_OUT, options.count)
        rows = render(folder, rows)
        if options.render:
            return
        load = os.getloadavg()[0]
        scores, cost = score(folder, rows)
    result = {
        "claim": "AUC at least 0.995 for coarse damage and 0.90 for each damage of one word; 0.15 CPU-s per second",
        "clips": len(rows),
        "voices": len({row["voice"] for row in rows}),
        "pairs_per_kind": len(rows),
        "engine": PocketsphinxConfig().revision(),
        **report(scores),
        "cpu_seconds_per_second": round(cost, 4),
        "load_before": round(load, 2),
        "python": platform.python_version(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{len(rows)} clips of {result['voices']} voices; {cost:.3f} CPU seconds per second of audio -> {RESULTS}")


if __name__ == "__main__":
    main()

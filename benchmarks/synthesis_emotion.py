"""Do the voices carry their emotion? Judged by heads that never heard synthesis: trained on EMO-DB alone.

Claims: over the six emotions that both have, unweighted average recall (UAR) at least 0.60 on adult voices of the
validation and test splits; gender at least 0.95. The judge is a logistic regression, trained on speakers 12 to 16 of
EMO-DB (German, acted); the cue tables were tuned by judges trained on speakers 03 08 09 10 11 (`--judge`).

Protocol. Emotion: the cues of `annotators.cues`, but for the absolute levels, as EMO-DB's were set by the microphone's
distance; each in deviations from its speaker's mean over the six emotions at equal weights. A speaker of EMO-DB is
measured against all own clips; a synthetic voice, for each text, against its takes of the other texts (of one other
text alone the vowels would count as the voice's). Gender: the speaker embedding, median pitch and length of the vocal
tract, without any reference. Intensities are drawn from 0.7 to 1 as in a plan.

    python benchmarks/synthesis_emotion.py --emodb PATH [--clips FOLDER] [--texts 3] [--judge 12,13,14,15,16]
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from annotators.clip import Clip, measures_revision
from annotators.cues import NAMES
from annotators.pocketsphinx import PocketsphinxConfig
from manifests.bank import ScenarioBank
from manifests.ids import content_hash
from manifests.labels import EMOTIONS, NONE, canonical
from manifests.voices import VoiceTable
from synthesis.kokoro import KokoroConfig
from synthesis.prosody import CEILING
from synthesis.render_clips import Choice, file_name, render, utterances

SHARED = ("neutral", "happy", "sad", "angry", "fear", "disgust")
JUDGE = "12,13,14,15,16"
LEVELS = ("level_mean", "level_median", "level_p95")
GENDER_CUES = ("f0_median", "vtl_cm")
RESULTS = Path(__file__).parent / "results" / "synthesis_emotion.json"
_EMOTION_C, _GENDER_C = 0.03, 0.3  # chosen on the tuning speakers


def measured(path: Path, cache: dict[str, Any]) -> dict[str, Any]:
    """Cues and embedding of a file, from the cache when it was measured before."""
    if path.name not in cache:
        samples, rate = soundfile.read(path, dtype="float32")
        clip = Clip(samples, rate)
        cache[path.name] = {
            "cues": [clip.cues[name] for name in NAMES],
            "embedding": clip.embedding.astype(float).tolist(),
            "clipped": float(np.mean(np.abs(samples) >= CEILING - 0.001)),
        }
    return cache[path.name]


def load_emodb(folder: Path, speakers: set[str], cache: dict[str, Any]) -> list[dict[str, Any]]:
    """Measured clips of some speakers; emotions that are none of ours are left out."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["speaker"] in speakers]
    out = []
    for row in rows:
        if row["emotion"] != "boredom":
            emotion = canonical("emotion", row["emotion"])
            out.append({**row, "emotion": emotion, **measured(folder / row["file"], cache)})
    return out


def load_voices(folder: Path, options: argparse.Namespace, cache: dict[str, Any]) -> list[dict[str, Any]]:
    """Measured clips of adult voices of the validation and test splits, rendered where they are missing."""
    config = KokoroConfig(cues=options.cues)
    splits = tuple(options.splits.split(","))
    choice = Choice(options.voices, splits, ("adult",), SHARED, (NONE,), options.texts, (0.7, 1.0), seed=0)
    render(folder, choice, config)
    out = []
    for voice, utterance in utterances(choice, VoiceTable.load(config.voices), ScenarioBank.load("en")):
        path = folder / file_name(utterance, config.revision())
        if path.is_file():
            found = measured(path, cache)
            out.append({**vars(utterance), "speaker": voice.speaker, "path": path, **found})
    return out


def normalised(rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> np.ndarray:
    """Cues of `rows` in deviations from the mean of `others`, whose emotions count alike; (num_rows, num_cues)."""
    keep = [index for index, name in enumerate(NAMES) if name not in LEVELS]
    reference = np.array([row["cues"] for row in others])[:, keep]
    counts = {row["emotion"]: sum(other["emotion"] == row["emotion"] for other in others) for row in others}
    weights = np.array([1 / counts[row["emotion"]] for row in others])[:, None] * np.isfinite(reference)
    known = np.where(np.isfinite(reference), reference, 0.0)
    mean = (weights * known).sum(axis=0) / weights.sum(axis=0)
    deviation = np.sqrt((weights * (known - mean) ** 2).sum(axis=0) / weights.sum(axis=0)) + 1e-6
    own = np.array([row["cues"] for row in rows])[:, keep]
    return np.nan_to_num(np.clip((own - mean) / deviation, -4, 4))


def judge_emotion(real: list[dict[str, Any]], voices: list[dict[str, Any]]) -> list[str]:
    """What the judge hears in each synthetic clip."""
    from sklearn.linear_model import LogisticRegression

    groups = [[row for row in real if row["speaker"] == name] for name in sorted({row["speaker"] for row in real})]
    features = np.vstack([normalised(group, group) for group in groups])
    labels = [row["emotion"] for group in groups for row in group]
    model = LogisticRegression(C=_EMOTION_C, class_weight="balanced", max_iter=5000).fit(features, labels)
    heard = []
    for row in voices:
        others = [other for other in voices if other["voice"] == row["voice"] and other["text"] != row["text"]]
        heard.append(str(model.predict(normalised([row], others))[0]))
    return heard


def judge_gender(real: list[dict[str, Any]], voices: list[dict[str, Any]]) -> list[str]:
    """Likewise for gender."""
    from sklearn.linear_model import LogisticRegression

    keep = [NAMES.index(name) for name in GENDER_CUES]
    known = np.array([row["cues"] for row in real])[:, keep]
    mean, deviation = np.nanmean(known, axis=0), np.nanstd(known, axis=0)

    def features(rows: list[dict[str, Any]]) -> np.ndarray:
        cues = np.nan_to_num((np.array([row["cues"] for row in rows])[:, keep] - mean) / deviation)
        # Elements of the embedding are small: without a factor the penalty would keep their weights down.
        return np.hstack([5 * np.array([row["embedding"] for row in rows]), cues])

    model = LogisticRegression(C=_GENDER_C, class_weight="balanced", max_iter=5000)
    model.fit(features(real), [row["gender"] for row in real])
    return [str(value) for value in model.predict(features(voices))]


def transcribed(rows: list[dict[str, Any]], cache: dict[str, Any]) -> dict[str, float]:
    """Mean WER per emotion by the shipped recognizer, which knows the text: a check for mumbling, not a meter."""
    recognizer = None
    for row in rows:
        if "wer" not in cache[row["path"].name]:
            recognizer = recognizer or PocketsphinxConfig().open()
            samples, rate = soundfile.read(row["path"], dtype="float32")
            cache[row["path"].name]["wer"] = recognizer.transcribe(samples, rate, row["text"], "en").wer
    wers = {row["path"].name: cache[row["path"].name]["wer"] for row in rows}
    by = {emotion: [wers[row["path"].name] for row in rows if row["emotion"] == emotion] for emotion in SHARED}
    return {"all": float(np.mean(list(wers.values()))), **{name: float(np.mean(values)) for name, values in by.items()}}


def confusion(rows: list[dict[str, Any]], heard: list[str]) -> dict[str, dict[str, int]]:
    """Counts by requested and by heard emotion."""
    pairs = Counter((row["emotion"], said) for row, said in zip(rows, heard, strict=True))
    return {asked: {said: pairs[asked, said] for said in SHARED} for asked in SHARED}


def recalls(table: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """Per requested emotion."""
    return {asked: row[asked] / max(sum(row.values()), 1) for asked, row in table.items()}


def interval(rows: list[dict[str, Any]], heard: list[str]) -> tuple[float, float]:
    """95 % of the UAR over resampled voices: clips of one voice are no independent witnesses."""
    names = sorted({row["voice"] for row in rows})
    counts = np.zeros((len(names), len(SHARED), len(SHARED)))
    for row, said in zip(rows, heard, strict=True):
        counts[names.index(row["voice"]), SHARED.index(row["emotion"]), SHARED.index(said)] += 1
    rng = np.random.default_rng(0)
    drawn = counts[rng.integers(len(names), size=(2000, len(names)))].sum(axis=1)
    uar = (np.einsum("nii->ni", drawn) / drawn.sum(axis=2)).mean(axis=1)
    low, high = np.percentile(uar, [2.5, 97.5])
    return round(float(low), 3), round(float(high), 3)


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Render, measure and judge."""
    # Of one version of the measures only; a changed clip has another name.
    store = folder / f"measures-{content_hash(measures_revision())}.json"
    cache = json.loads(store.read_text()) if store.is_file() else {}
    speakers = set(options.judge.split(","))
    real = load_emodb(options.emodb, speakers, cache)
    voices = load_voices(folder, options, cache)
    wer = transcribed(voices, cache)
    store.write_text(json.dumps(cache))
    heard, genders = judge_emotion(real, voices), judge_gender(real, voices)
    right = [row["gender"] == said for row, said in zip(voices, genders, strict=True)]
    table = confusion(voices, heard)
    recall = recalls(table)
    return {
        "claim": "emotion UAR at least 0.60 over six classes, gender accuracy at least 0.95; judge trained on EMO-DB",
        "emotion": {
            "uar": round(float(np.mean(list(recall.values()))), 3),
            "uar_95": interval(voices, heard),
            "recall": {name: round(value, 3) for name, value in recall.items()},
            "confusion": table,
        },
        "gender": {"accuracy": round(float(np.mean(right)), 3)},
        "wer_known_text": {name: round(value, 4) for name, value in wer.items()},
        "clipped_most": max(row["clipped"] for row in voices),
        "judge": {"corpus": "EMO-DB", "speakers": sorted(speakers), "clips": len(real)},
        "voices": sorted({row["voice"] for row in voices}),
        "clips": len(voices),
        "texts_per_voice": options.texts,
        "splits": options.splits.split(","),
        "revision": KokoroConfig(cues=options.cues).revision(),
    }  # fmt: skip


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    emotion, wer, judge = result["emotion"], result["wer_known_text"], " ".join(result["judge"]["speakers"])
    print(f"judge: EMO-DB speakers {judge}; {result['clips']} clips of {len(result['voices'])} voices")
    print(f"{'asked / heard':14}" + "".join(f"{name:>9}" for name in SHARED) + "   recall      WER")
    for asked in SHARED:
        counts = "".join(f"{emotion['confusion'][asked][said]:9d}" for said in SHARED)
        print(f"{asked:14}{counts}{emotion['recall'][asked]:9.3f}{wer[asked]:9.3f}")
    low, high = emotion["uar_95"]
    print(f"emotion UAR {emotion['uar']:.3f} ({low:.3f} to {high:.3f} over voices; claim 0.60)")
    print(f"gender accuracy {result['gender']['accuracy']:.3f} (claim 0.95)")
    print(f"WER {wer['all']:.3f}; most clipped samples in one clip {result['clipped_most']:.5f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emodb", type=Path, help="folder of EMO-DB with labels.csv")
    parser.add_argument("--clips", type=Path, help="keep renderings and measures here")
    parser.add_argument("--texts", type=int, default=3, help="texts per voice, at least 2")
    parser.add_argument("--voices", default="all", help="all, a number per split and gender, or names a,b")
    parser.add_argument("--splits", default="validation,test", help="splits of the voices")
    parser.add_argument("--judge", default=JUDGE, help="speakers that the judge is trained on")
    parser.add_argument("--cues", type=Path, help="cue tables in place of the shipped ones")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.texts < 2:
        parser.error("--texts: a take is judged against takes of other texts, so at least 2")
    if options.emodb is None or not (options.emodb / "labels.csv").is_file():
        print("not measured: EMO-DB is absent (it is for research only and never ships); name it with --emodb PATH")
        return
    assert set(SHARED) <= set(EMOTIONS)
    with tempfile.TemporaryDirectory() as spare:
        folder = options.clips or Path(spare)
        folder.mkdir(parents=True, exist_ok=True)
        result = run(options, folder)
    show(result)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"-> {options.out}")


if __name__ == "__main__":
    main()

"""Fit the heads that ship: `python -m annotators.train_heads CLIPS`.

CLIPS is a folder of our own renderings (`python -m synthesis.render_clips CLIPS`) with `labels.csv`: file, voice,
speaker, split, gender, age, emotion; clips with an `event` are left out. The heads are fitted on the speakers of the
split `train`, their temperature and thresholds on those speakers left out in turn, and the voices of the other splits
are only measured. All of it goes into the card of each head. The same clips give the same files.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from annotators import heads, speakers
from annotators.clip import SAMPLE_RATE, Clip, Reference, measures_revision
from annotators.corpora import Case, Sample, read_clip, read_samples, rows_of
from annotators.cues import COURSE, NAMES
from annotators.fingerprint import audio_hash, fingerprint
from annotators.training import Recipe, calibrated, cases_of, fit, judge, leave_speakers_out
from manifests.errors import UserError
from manifests.files import write_atomic
from manifests.labels import AGES, EMOTIONS, GENDERS, NONE

_LOG = logging.getLogger(__name__)
_SCRIPT = "python -m annotators.train_heads"
_LEAST_SIDE, _FADE = 0.8, 0.01  # seconds of each voice in a splice, of the overlap

_STEADY = tuple(name for name in NAMES if name not in COURSE)
_TRACT = ("f0_median", "f0_p10", "f0_p90", "vtl_cm", "f1", "f2", "f3", "f4")
_AGEING = (*_TRACT, "jitter", "shimmer", "tremor", "hnr", "syllable_rate", "voiced_stretch", "rhythm", "h1_h2")

RECIPES: dict[str, Recipe] = {
    "gender": Recipe("gender", GENDERS, _TRACT, embedding_weight=0.5, strength=0.1),
    "age": Recipe("age", AGES, _AGEING, embedding_weight=0.5, strength=0.1),
    "emotion": Recipe("emotion", EMOTIONS, _STEADY, "reference", strength=0.002),
    "emotion_raw": Recipe("emotion", EMOTIONS, _STEADY, strength=0.01),
    speakers.WITHOUT: Recipe("speakers", speakers.CLASSES, speakers.FEATURES, strength=1.0),
    speakers.WITH: Recipe("speakers", speakers.CLASSES, speakers.FEATURES_WITH, strength=1.0),
}
"""How each shipped head is made. Chosen on our renderings and on EMO-DB's speakers 03, 08, 09, 10 and 11."""

REAL_EMOTION = replace(RECIPES["emotion"], embedding_weight=0.4, strength=0.005)
"""For heads that are trained on real speech: the embedding's distance from the voice's own helps there, while what it
learns of our renderings does not carry over."""

_FILTERS: dict[str, Callable[[Sample], bool]] = {
    "gender": lambda sample: sample.labels.get("age") != "child",  # neither cue tells girls from boys
}


def speaker_samples(folder: Path, samples: Sequence[Sample], seed: int = 0) -> list[Sample]:
    """Clips as they are, and as many splices of two clips by different speakers of one split, measured for `speakers`.

    Args:
        folder: Of the clips.
        samples: Those of `read_samples`.
        seed: Of the draw of the splices.

    Returns:
        Samples labelled `one` or `several`, heard against the (first) voice's mean embedding. Clips that are too
        short to compare their parts are left out.
    """
    rng = np.random.default_rng(seed)
    rows = {row["file"]: row for row in rows_of(folder)}
    references = _voice_embeddings(samples)
    made = []
    for sample in samples:
        own = read_clip(folder, rows[sample.file]).audio
        sounds = {"one": own}
        others = [other for other in samples if other.speaker != sample.speaker and other.split == sample.split]
        if others:
            other = read_clip(folder, rows[others[int(rng.integers(len(others)))].file])
            sounds["several"] = splice(own, other.audio, rng)
        for label, audio in sounds.items():
            found = speakers.measure(Clip(audio, SAMPLE_RATE, references[sample.voice]))
            if found:
                name = f"{label}/{sample.file}"
                made.append(replace(sample, file=name, labels={"speakers": label}, values=found))
    return made


def _voice_embeddings(samples: Sequence[Sample]) -> dict[str, Reference]:
    """Reference with the mean embedding alone, by voice."""
    out = {}
    for voice in {sample.voice for sample in samples}:
        mean = np.mean([sample.embedding for sample in samples if sample.voice == voice], axis=0)
        out[voice] = Reference({}, {}, np.asarray(mean / max(np.linalg.norm(mean), 1e-9), np.float32))
    return out


def splice(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The beginning of one clip and the end of another, float32 at 16 kHz, each at least 0.8 s if it has that."""
    fade, least = int(_FADE * SAMPLE_RATE), int(_LEAST_SIDE * SAMPLE_RATE)
    head = first[: int(rng.integers(min(least, len(first)), len(first) + 1))]
    tail = second[len(second) - int(rng.integers(min(least, len(second)), len(second) + 1)) :]
    fade = min(fade, len(head), len(tail))
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    middle = head[len(head) - fade :] * (1 - ramp) + tail[:fade] * ramp
    return np.concatenate([head[: len(head) - fade], middle, tail[fade:]])


def train(samples: Sequence[Sample], recipe: Recipe, card: Mapping[str, Any]) -> heads.Head:
    """Fit and calibrate one head on the split `train`, and measure it on the other voices.

    Args:
        samples: Of every split; where none has a split, all are trained on.
        recipe: What to fit.
        card: To complete.

    Raises:
        UserError: The samples do not suffice.
    """
    seen = [sample for sample in samples if sample.split in ("", "train")]
    unseen = [sample for sample in samples if sample.split not in ("", "train")]
    draws = cases_of(seen, recipe)
    cases = [case for draw in draws for case in draw]
    if not cases:
        raise UserError(f"{recipe.family}: no voice of the split train has the clips that a head needs; render more")
    head = calibrated(fit(cases, recipe), leave_speakers_out(draws, recipe), {
        **card,
        "family": recipe.family,
        "clips": len(draws[0]),
        "speakers": len({case.sample.speaker for case in draws[0]}),
        "voices": len({case.sample.voice for case in draws[0]}),
        "regularisation": recipe.strength,
        **({"takes": recipe.takes, "draws": recipe.draws} if recipe.normalisation == "reference" else {}),
    })  # fmt: skip
    other = [case for draw in cases_of(unseen, recipe) for case in draw] if unseen else []
    return _with_unseen(head, other, recipe) if other else head


def _with_unseen(head: heads.Head, cases: Sequence[Case], recipe: Recipe) -> heads.Head:
    """The head, its card completed by what it gets right on voices of the splits that it was not fitted on."""
    judged = judge(cases, recipe.family, head)
    figures = {
        "judgements": len(judged.truth),
        "speakers": len(set(judged.speakers)),
        "uar": round(judged.uar(), 4),
        "recall": {name: round(value, 4) for name, value in judged.recall().items()},
    }
    return replace(head, card={**head.card, "unseen_voices": figures})


def train_all(folder: Path, corpus: str, only: Sequence[str] = tuple(RECIPES)) -> dict[str, heads.Head]:
    """The shipped heads by name.

    Args:
        folder: With the clips.
        corpus: Their name, for the cards.
        only: Those to fit.

    Raises:
        UserError: The folder lacks something; the message says what.
    """
    samples = read_samples(folder)
    spliced = speaker_samples(folder, samples) if any(RECIPES[name].family == "speakers" for name in only) else []
    card = {
        "corpora": [{"name": corpus, "fingerprint": fingerprint(_hashes(folder))}],
        "script": _SCRIPT,
        "measures": measures_revision(),
    }
    made = {}
    for name, recipe in RECIPES.items():
        if name not in only:
            continue
        chosen = spliced if recipe.family == "speakers" else samples
        chosen = [sample for sample in chosen if _FILTERS.get(name, bool)(sample)]
        made[name] = train(chosen, recipe, card)
        _LOG.info("%s: %s", name, {key: value for key, value in made[name].card.items() if key != "corpora"})
    return made


def _hashes(folder: Path) -> list[str]:
    """Of the sound of the clips without events."""
    import soundfile

    rows = [row for row in rows_of(folder) if (row.get("event") or NONE) == NONE]
    return [audio_hash(*soundfile.read(folder / row["file"], dtype="float32")) for row in rows]


def main() -> None:
    """Fit all heads on a folder and write them."""
    parser = argparse.ArgumentParser(description="Fit the shipped heads on clips of our own synthesis.")
    parser.add_argument("clips", type=Path, help="folder with labels.csv and the clips that it names")
    parser.add_argument("--out", type=Path, default=heads.FOLDER, help="folder to write to (the shipped heads)")
    parser.add_argument("--corpus", default="echat renderings", help="name of the clips, kept in the cards")
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES), help="heads to fit (all)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name, head in train_all(args.clips, args.corpus, args.only).items():
        write_atomic(args.out / f"{name}.json", head.to_json().encode())


if __name__ == "__main__":
    main()

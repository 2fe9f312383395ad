"""Which of the clips that passed become prompts, and the rows of a bank's tables."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manifests.labels import NONE
from pipeline.corpus import About, split_of
from pipeline.voicebank.config import CONFIRMED, BankConfig, spoken_language
from pipeline.voicebank.gates import Case, Outcome

_LONGEST_NAME = 48
_CONFIRMABLE = ("one_speaker", "transcript", *CONFIRMED)


@dataclass(frozen=True)
class Prompt:
    """A clip that passed all gates.

    Attributes:
        row: Of `prompts.csv`.
        order: The smaller, the better among those of a speaker and emotion.
    """

    row: dict[str, Any]
    order: tuple[Any, ...]

    @classmethod
    def of(cls, about: About, case: Case, outcomes: Mapping[str, Outcome]) -> Prompt:
        """From what was heard of it; a figure that no gate asked for is empty."""
        entry, config = case.entry, case.config
        speaker = f"{about.name}:{entry.speaker}"
        gender = next(iter(case.person.genders))
        left = {gate: outcome.reason for gate, outcome in outcomes.items() if outcome.passed is None}
        asked = [gate for gate, outcome in outcomes.items() if outcome.passed and gate in _CONFIRMABLE]
        row = {
            "file": "", "voice": voice_name(about.name, entry.speaker), "speaker": speaker,
            "split": entry.split or split_of(speaker, config.splits), "gender": gender,
            "age": next(iter(case.person.ages), config.age), "emotion": entry.labels.get("emotion", NONE),
            "language": entry.language, "text": entry.text, "translation": entry.translation,
            "seconds": f"{case.heard.seconds:.4f}", "sample_rate": case.heard.sample_rate, "sha256": entry.sha256,
            "corpus": about.name, "source_file": entry.source_file or entry.file, "licence": about.licence,
            "consent": about.consent, "publish": "yes" if about.publish else "no", **_figures(case, outcomes),
            "confirmed": " ".join(asked),
            "not_confirmed": "; ".join(f"{gate}: {reason}" for gate, reason in left.items()),
        }  # fmt: skip
        # One line each: readers of voice tables know no others.
        row = {key: " ".join(value.split()) if isinstance(value, str) else value for key, value in row.items()}
        mos, snr = (-float(row[name]) if row[name] else 0.0 for name in ("mos", "snr_db"))
        return cls(row, (len(left), mos, snr, entry.sha256))


def _figures(case: Case, outcomes: Mapping[str, Outcome]) -> dict[str, str]:
    """What was heard by the gates that asked."""
    asked = {gate for gate, outcome in outcomes.items() if outcome.passed is not None}
    heard = case.heard
    row: dict[str, str] = dict.fromkeys(("snr_db", "mos", "one_speaker", "heard_text", "wer", "mismatch"), "")
    if "snr" in asked:
        row["snr_db"] = f"{heard.quality.snr_db:.2f}"
    if "mos" in asked:
        row["mos"] = f"{heard.mos.ovrl:.3f}"
    if "one_speaker" in asked:
        row["one_speaker"] = f"{heard.speakers.probabilities['one']:.3f}"
    if "transcript" in asked:
        said = heard.transcript
        row |= {"heard_text": said.text, "wer": f"{said.wer:.3f}"}
        row["mismatch"] = "" if math.isnan(said.mismatch) else f"{said.mismatch:.3f}"
    for family in CONFIRMED:
        row[f"heard_{family}"] = case.entry.labels[family] if family in asked else ""
    return row


def voice_name(corpus: str, speaker: str) -> str:
    """A name that is safe in files and tables; names that would be alike are told apart by a hash."""
    plain = f"{corpus}-{speaker}"
    safe = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:_LONGEST_NAME]
    return safe if safe == plain else f"{safe}-{hashlib.sha256(f'{corpus}:{speaker}'.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Bank:
    """What is kept.

    Attributes:
        prompts: By voice, emotion and rank.
        voices: Rows of `voices.csv`.
        beyond: Clips that passed, but of a speaker and emotion that has enough better ones.
    """

    prompts: tuple[Prompt, ...]
    voices: tuple[dict[str, Any], ...]
    beyond: int

    def document(self) -> dict[str, Any]:
        """For the report."""
        rows = [prompt.row for prompt in self.prompts]
        speakers: dict[str, dict[str, int]] = {}
        for row in rows:
            mine = speakers.setdefault(row["speaker"], {})
            mine[row["emotion"]] = mine.get(row["emotion"], 0) + 1
        doubts = Counter(doubt for row in rows for doubt in row["not_confirmed"].split("; ") if doubt)
        return {
            "voices": len(self.voices),
            "prompts": len(rows),
            "beyond_per_label": self.beyond,
            "seconds": round(sum(float(row["seconds"]) for row in rows), 3),
            "splits": dict(sorted(Counter(voice["split"] for voice in self.voices).items())),
            "languages": dict(sorted(Counter(row["language"] for row in rows).items())),
            "emotions": dict(sorted(Counter(row["emotion"] for row in rows).items())),
            "not_confirmed": dict(sorted(doubts.items())),
            "speakers": dict(sorted(speakers.items())),
        }


def choose(candidates: Sequence[Prompt], config: BankConfig) -> Bank:
    """Keep the best of every speaker and emotion."""
    groups: dict[tuple[str, str], list[Prompt]] = {}
    for prompt in candidates:
        groups.setdefault((prompt.row["voice"], prompt.row["emotion"]), []).append(prompt)
    kept: list[Prompt] = []
    for (voice, emotion), group in sorted(groups.items()):
        best = sorted(group, key=lambda prompt: prompt.order)[: config.per_label]
        for number, prompt in enumerate(best, 1):
            prompt.row["file"] = f"prompts/{voice}.{emotion}.{number}.flac"
        kept += best
    by_voice: dict[str, list[Prompt]] = {}
    for prompt in kept:
        by_voice.setdefault(prompt.row["voice"], []).append(prompt)
    voices = tuple(_voice(name, prompts, config) for name, prompts in by_voice.items())
    return Bank(tuple(kept), voices, len(candidates) - len(kept))


def _voice(name: str, prompts: Sequence[Prompt], config: BankConfig) -> dict[str, Any]:
    """A row of `voices.csv`; its own prompt is neutral where there is one, else the best."""
    calm = [prompt for prompt in prompts if prompt.row["emotion"] in ("neutral", NONE)]
    main = min(calm or prompts, key=lambda prompt: prompt.order).row
    counts = Counter(prompt.row["emotion"] for prompt in prompts)
    shared = {
        key: main[key] for key in ("split", "gender", "age", "speaker", "licence", "consent", "publish", "corpus")
    }
    return {
        "voice": name, "role": "query", "language": spoken_language(config, main["language"]), **shared,
        "emotions": " ".join(f"{emotion}:{count}" for emotion, count in sorted(counts.items())),
        "prompt": main["file"], "prompt_sha256": main["sha256"], "prompt_seconds": main["seconds"],
        "prompt_language": main["language"], "prompt_emotion": main["emotion"], "prompt_text": main["text"],
        "confirmed": main["confirmed"], "not_confirmed": main["not_confirmed"],
    }  # fmt: skip

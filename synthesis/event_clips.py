"""Render many clips with and without vocal sound events: `python -m synthesis.event_clips OUT`.

What the event detector is trained and measured on. Words are spoken once and joined by each of the events, which
changes no sample of them; so a clip costs little more than its event. Voices and texts keep their splits.

OUT gets FLAC files and `labels.csv` with the columns of `COLUMNS`.
"""

from __future__ import annotations

import argparse
import csv
import io
import logging
from dataclasses import replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from manifests.bank import ScenarioBank
from manifests.files import write_atomic
from manifests.ids import seed_of
from manifests.labels import EMOTIONS, EVENTS, NONE, SPLITS
from manifests.voices import Voice, VoiceTable
from synthesis.base import Speech, Utterance
from synthesis.events import EventRenderer, open_events
from synthesis.kokoro import SAMPLE_RATE, KokoroConfig

COLUMNS: tuple[str, ...] = (
    "file", "voice", "speaker", "split", "gender", "age", "emotion", "intensity", "event", "event_start", "event_end",
    "event_position", "event_snr_db", "text",
)  # fmt: skip
_LOG = logging.getLogger(__name__)


def render(out: Path, texts: int, variants: int, seed: int, splits: tuple[str, ...] = SPLITS) -> None:
    """Render the clips of every query voice.

    Args:
        out: Folder to fill; its table grows voice by voice.
        texts: Texts that each voice speaks; each gives a clip without an event.
        variants: Clips of each event that each text gives.
        seed: Of the choice of texts, emotions and events.
        splits: Of the voices.
    """
    out.mkdir(parents=True, exist_ok=True)
    speaker: Any = KokoroConfig().open()
    events, bank = open_events(None, None), ScenarioBank.load("en")
    rows: list[dict[str, Any]] = []
    voices = [voice for voice in VoiceTable.load("kokoro").voices if voice.split in splits]
    # In an order of chance, so that the clips of a broken-off run are of all kinds of voice.
    for voice in sorted(voices, key=lambda voice: seed_of(seed, voice.voice)):
        rng = np.random.default_rng(seed_of(seed, voice.voice))
        for number, text in enumerate(_texts(bank, voice.split, texts, rng)):
            utterance = Utterance(
                text,
                voice.voice,
                seed=int(rng.integers(2**31)),
                age=voice.age,
                gender=voice.gender,
                emotion=EMOTIONS[int(rng.integers(len(EMOTIONS)))],
                intensity=round(float(rng.uniform(0.4, 1.0)), 2),
                split=voice.split,
                recipe=voice.recipe,
            )
            rows += _clips(out, f"{voice.voice}_{number}", utterance, voice, speaker, events, variants)
        _write(out / "labels.csv", rows)
        _LOG.info("%s: %d clips", voice.voice, len(rows))


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, text.getvalue().encode())


def _texts(bank: ScenarioBank, split: str, number: int, rng: np.random.Generator) -> list[str]:
    """Query texts of a split."""
    scenarios, texts = bank.of_split(split), []
    for _ in range(number):
        scenario = scenarios[int(rng.integers(len(scenarios)))]
        texts.append(scenario.query_text(scenario.fill(int(rng.integers(scenario.num_queries)))))
    return texts


def _clips(
    out: Path, stem: str, utterance: Utterance, voice: Voice, speaker: Any, events: EventRenderer, variants: int
) -> list[dict[str, Any]]:
    """Write the clips of one utterance, without an event and with each; their rows."""
    words = speaker.speak(utterance)
    say = lru_cache(maxsize=None)(lambda sounds: speaker.throat(utterance, sounds))
    rows = []
    for event, variant in ((NONE, 0), *product(EVENTS, range(variants))):
        asked = replace(utterance, event=event, seed=utterance.seed + variant)
        speech: Speech = words if event == NONE else events.add(words.samples, asked, say, SAMPLE_RATE)
        path, span = out / f"{stem}_{event}_{variant}.flac", speech.event
        soundfile.write(path, speech.samples, SAMPLE_RATE, subtype="PCM_16")
        rows.append({
            "file": path.name, "voice": voice.voice, "speaker": voice.speaker, "split": voice.split,
            "gender": voice.gender, "age": voice.age, "emotion": utterance.emotion, "intensity": utterance.intensity,
            "event": event, "text": utterance.text,
            "event_start": f"{span.start:.4f}" if span else "", "event_end": f"{span.end:.4f}" if span else "",
            "event_position": span.position if span else "", "event_snr_db": span.snr_db if span else "",
        })  # fmt: skip
    return rows


def main() -> None:
    """Render from the command line."""
    parser = argparse.ArgumentParser(description="Render clips with and without vocal sound events.")
    parser.add_argument("out", type=Path, help="folder to fill")
    parser.add_argument("--texts", type=int, default=2, help="texts that each voice speaks")
    parser.add_argument("--variants", type=int, default=2, help="clips of each event that each text gives")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of texts, emotions and events")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=SPLITS, help="of the voices")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    render(args.out, args.texts, args.variants, args.seed, tuple(args.splits))


if __name__ == "__main__":
    main()

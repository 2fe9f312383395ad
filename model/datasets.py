"""What training reads: published shards, or a folder of labelled recordings; both by index, nothing loaded up front."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from manifests.errors import UserError
from manifests.labels import CUES, NONE, canonical
from manifests.sound import read_tokens
from manifests.yamlfile import load_yaml
from model.audio import frames_of, mel_of
from model.sample import Sample, Turn

_KINDS = ("query.flac", "reply_tokens.npy")


@dataclass(frozen=True)
class Lengths:
    """How long each item is, for planning batches; arrays of (items,).

    Attributes:
        frames: Mel frames of all queries, history included.
        chars: UTF-8 bytes of all texts.
        tokens: Speech tokens of all replies.
    """

    frames: np.ndarray
    chars: np.ndarray
    tokens: np.ndarray


class Dataset(Protocol):
    """Items by number; an item is a dialogue at one of its turns."""

    @property
    def lengths(self) -> Lengths:
        """Of every item."""
        ...

    def __len__(self) -> int: ...

    def load(self, item: int, audio: bool = True) -> Sample:
        """Read one item.

        Raises:
            ValueError: It cannot be read; names it.
        """
        ...


class Described(Dataset, Protocol):
    """A dataset whose items can be told apart without loading them."""

    def about(self, item: int) -> dict[str, str]:
        """`id`, `speaker`, `source`, `task`, `language`, `scenario`, `recording` and the labels, as far as known."""
        ...


class ShardDataset:
    """The dialogues of one split of a folder of shards, each turn an item with the turns before as its history.

    Reads the byte offsets (`.idx`) and metadata of every shard once; audio and tokens are read when an item is loaded,
    by position, so no file is read through.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.folder = folder
        self.shards: list[Path] = []
        members: list[tuple[int, int, int, int, int]] = []  # shard, turns, first place in `_places`, offset and size
        places: list[tuple[int, int]] = []
        items: list[tuple[int, int]] = []
        lengths: list[tuple[int, int, int]] = []
        for name in _shard_names(folder, split):
            for turns, parts in _dialogues(folder / name):
                members.append((len(self.shards), len(turns), len(places), *parts["json"]))
                for turn in turns:
                    for kind in _KINDS:
                        places.append(parts[f"{turn['turn']}.{kind}"])
                items += [(len(members) - 1, number) for number in range(len(turns))]
                lengths += list(_running(turns))
            self.shards.append(folder / name)
        if not items:
            raise UserError(f"{folder}: has no dialogue of the split {split}; name another split or folder")
        self._members = np.array(members, np.int64)
        self._places = np.array(places, np.int64).reshape(-1, 2)
        self._items = np.array(items, np.int32)
        sums = np.array(lengths, np.int64)
        self.lengths = Lengths(sums[:, 0], sums[:, 1], sums[:, 2])
        self._files: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}  # descriptors are of this process

    def load(self, item: int, audio: bool = True) -> Sample:
        """See `Dataset.load`."""
        try:
            return self._sample(item, audio)
        except (LookupError, TypeError, AttributeError, RecursionError) as error:
            path = self.shards[self._members[self._items[item][0]][0]]
            what = f"{type(error).__name__}: {error}"
            raise ValueError(
                f"{path}: a dialogue is not as it should be ({what}): run echat verify {self.folder}"
            ) from error

    def _sample(self, item: int, audio: bool) -> Sample:
        member, last = self._items[item]
        shard, _, first, *_ = self._members[member].tolist()
        document = json.loads(self.document(item))
        turns = []
        for number, turn in enumerate(document["turns"][: int(last) + 1]):
            query, tokens = self._places[first + 2 * number : first + 2 * number + 2].tolist()
            mel = mel_of(self._read(shard, *query)) if audio else None
            codes = read_tokens(self._read(shard, *tokens))
            turns.append(_turn(turn, mel, codes))
        return Sample(
            f"{document['id']}.{last}", tuple(turns), document["turns"][int(last)]["query"]["speaker"],
            document["source"], document["task"], document["language"],
        )  # fmt: skip

    def about(self, item: int) -> dict[str, str]:
        """See `Described.about`."""
        document = json.loads(self.document(item))
        turn = document["turns"][int(self._items[item][1])]
        query = turn["query"]
        return {
            "id": f"{document['id']}.{turn['turn']}", "speaker": query["speaker"], "scenario": turn["scenario"],
            "source": document["source"], "task": document["task"], "language": document["language"],
            "recording": document.get("recording", ""), **{family: query["requested"][family] for family in CUES},
        }  # fmt: skip

    def recording(self, item: int) -> bytes:
        """The encoded audio of an item's query."""
        member, last = self._items[item].tolist()
        shard, _, first, *_ = self._members[member].tolist()
        return self._read(shard, *self._places[first + 2 * last].tolist())

    def document(self, item: int) -> bytes:
        """The JSON of an item's dialogue."""
        shard, _, _, offset, size = self._members[self._items[item][0]].tolist()
        return self._read(shard, offset, size)

    def _read(self, shard: int, offset: int, size: int) -> bytes:
        if shard not in self._files:
            self._files[shard] = os.open(self.shards[shard], os.O_RDONLY)
        data = os.pread(self._files[shard], size, offset)
        if len(data) != size:
            raise ValueError(f"{self.shards[shard]}: ends before byte {offset + size}: run echat verify {self.folder}")
        return data


def _turn(turn: Mapping[str, Any], mel: Any, codes: np.ndarray) -> Turn:
    query, reply = turn["query"], turn["reply"]
    frames = mel.shape[0] if mel is not None else frames_of(query["seconds"])
    return Turn(
        query_text=query["text"], reply_text=reply["text"], think_tag=turn["think_tag"], think_text=turn["think_text"],
        reply_emotion=reply["emotion"], labels={family: query["requested"][family] for family in CUES}, frames=frames,
        mel=mel, reply_tokens=codes, cues=tuple(turn["cues"]),
    )  # fmt: skip


def _running(turns: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, int, int]]:
    """Lengths of each turn with those before it."""
    frames = chars = tokens = 0
    for turn in turns:
        frames += frames_of(turn["query"]["seconds"])
        texts = (turn["query"]["text"], turn["reply"]["text"], turn["think_tag"], turn["think_text"])
        chars += sum(len(text.encode()) for text in texts)
        tokens += turn["reply"]["num_tokens"]
        yield frames, chars, tokens


def _shard_names(folder: Path, split: str) -> list[str]:
    try:
        document = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        splits = document["splits"]
        listed = {name: list(about["shards"]) for name, about in splits.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{folder}: is no folder of shards ({type(error).__name__} in dataset.json)") from error
    if split not in listed:
        raise UserError(f"{folder}: has no split {split!r}; use one of {', '.join(listed)}")
    for name in listed[split]:
        if not isinstance(name, str) or Path(name).name != name:
            raise UserError(f"{folder}: dataset.json names the shard {name!r}, which is no file of this folder")
    return listed[split]


Parts = dict[str, tuple[int, int]]


def _dialogues(shard: Path) -> Iterator[tuple[list[Any], Parts]]:
    """Turns of each dialogue of a shard, and the places of its members.

    Raises:
        UserError: The shard or its index is damaged.
    """
    try:
        with shard.open("rb") as tar:
            end = os.fstat(tar.fileno()).st_size
            for parts in _index(shard.with_name(f"{shard.name}.idx")):
                if not all(offset >= 0 and size >= 0 and offset + size <= end for offset, size in parts.values()):
                    raise ValueError("a member lies outside of it")
                tar.seek(parts["json"][0])
                turns = json.loads(tar.read(parts["json"][1]))["turns"]
                # Every field that is read is there, and of its kind.
                _ = [[parts[f"{turn['turn']}.{kind}"] for kind in _KINDS] for turn in turns], list(_running(turns))
                yield turns, parts
    except UserError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(f"{shard}: cannot be read ({type(error).__name__}: {error}): run echat verify") from error


def _index(path: Path) -> Iterator[dict[str, tuple[int, int]]]:
    """Byte offset and size of the members of each sample, by extension, from DALI's index format (v1.2)."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): run echat verify") from error
    if not lines or not lines[0].startswith("v1.2 "):
        raise UserError(f"{path}: is no index of version v1.2: run echat verify")
    for line in lines[1:]:
        words = line.split(" ")
        yield {words[n]: (int(words[n + 1]), int(words[n + 2])) for n in range(0, len(words), 4)}


def corpus_name(folder: Path) -> str:
    """Of a corpus, as `echat ingest` wrote it; else that of its folder."""
    about = folder / "corpus.yaml"
    document = load_yaml(about) if about.is_file() else {}
    return str(document.get("name", folder.name)) if isinstance(document, dict) else folder.name


class CorpusDataset:
    """Labelled recordings: a folder with `labels.csv` (file, speaker, text, age, gender, emotion, event).

    For understanding alone: there is no reply. Labels are read in the spelling of any known corpus; those that are none
    of ours are `none`.

    Args:
        speakers: Keep the recordings of these alone.
        required: Leave out recordings without a label of each of these families.
    """

    def __init__(
        self, folder: Path, speakers: Sequence[str] | None = None, required: Sequence[str] = (), texts: bool = True
    ) -> None:
        self.folder = folder
        table = folder / "labels.csv"
        try:
            with table.open(encoding="utf-8-sig", newline="") as lines:
                rows = list(csv.DictReader(lines))
        except OSError as error:
            raise UserError(f"{table}: cannot be read ({error.strerror}); it must list the recordings") from error
        self.rows: list[tuple[str, str, str, dict[str, str]]] = []
        self.left_out = 0
        self._lengths: Lengths | None = None
        known: dict[str, int] = {}
        for number, row in enumerate(rows, start=2):
            file = (row.get("file") or "").strip()
            if not file:
                raise UserError(f"{table}: line {number}: names no file; every recording needs the column `file`")
            if known.setdefault(file, number) != number:
                raise UserError(
                    f"{table}: lines {known[file]} and {number} name the same file {file}; keep one of them"
                )
            labels = {family: _label(family, text) for family in CUES if (text := (row.get(family) or "").strip())}
            wanted = speakers is None or row.get("speaker") in speakers
            if wanted and all(labels.get(family, NONE) != NONE for family in required):
                text = (row.get("text") or "") if texts else ""
                self.rows.append((file, row.get("speaker") or "", text, labels))
            else:
                self.left_out += wanted
        if not self.rows:
            raise UserError(f"{table}: has no recording with these speakers and labels")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> Lengths:
        if self._lengths is None:
            self._lengths = self._measure()
        return self._lengths

    def _measure(self) -> Lengths:
        import soundfile

        seconds = []
        for file, *_ in self.rows:
            try:
                seconds.append(soundfile.info(self.folder / file).duration)
            except RuntimeError as error:
                raise UserError(f"{self.folder / 'labels.csv'}: {file} cannot be read as audio ({error})") from error
        chars = np.array([len(text.encode()) for _, _, text, _ in self.rows])
        return Lengths(np.array([frames_of(value) for value in seconds]), chars, np.zeros(len(self.rows), np.int64))

    def about(self, item: int) -> dict[str, str]:
        """See `Described.about`; what nobody knows is missing."""
        file, speaker, _, labels = self.rows[item]
        return {"id": file, "speaker": speaker, "source": "real", **labels}

    def recording(self, item: int) -> bytes:
        """The encoded audio of an item.

        Raises:
            ValueError: It is not there.
        """
        path = self.folder / self.rows[item][0]
        try:
            return path.read_bytes()
        except OSError as error:
            raise ValueError(f"{path} cannot be read ({error.strerror}), though labels.csv lists it") from error

    def load(self, item: int, audio: bool = True) -> Sample:
        """See `Dataset.load`."""
        file, speaker, text, labels = self.rows[item]
        mel = mel_of(self.recording(item)) if audio else None
        frames = mel.shape[0] if mel is not None else int(self.lengths.frames[item])
        return Sample(file, (Turn(query_text=text, labels=labels, frames=frames, mel=mel),), speaker, "real")


def _label(family: str, text: str) -> str:
    try:
        return canonical(family, text)
    except UserError:
        return NONE

"""`echat diff`: which dialogues two datasets share, and what became of them.

Digests of all dialogues lie in a file (SQLite), so that memory does not follow the number of rows.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from manifests.ids import canonical_json
from pipeline.tar import open_tar, tar_samples

ADDED, REMOVED, CHANGED = "added", "removed", "changed"
PARTS = ("texts", "labels", "sound", "tokens", "scores", "engines")
"""What of a dialogue may have changed."""
_TEXTS = ("text", "spoken")


@dataclass
class Difference:
    """What differs between an earlier set and a later one.

    Attributes:
        rows: Dialogues of both.
        same: Those that are equal byte for byte.
        counts: Dialogues added, removed and changed by task and label.
        parts: Changed dialogues by what changed; one may count for several.
        ids: The first ids of each kind.
        versions: Of the releases, or "" for sets that are none.
    """

    rows: tuple[int, int] = (0, 0)
    same: int = 0
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)
    ids: dict[str, list[str]] = field(default_factory=lambda: {ADDED: [], REMOVED: [], CHANGED: []})
    versions: tuple[str, str] = ("", "")

    def total(self, kind: str) -> int:
        """Dialogues added, removed or changed."""
        return sum(number for (name, _, _), number in self.counts.items() if name == kind)


def diff(before: Path, after: Path, listed: int = 20) -> Difference:
    """Compare two releases, run folders or folders of shards.

    Args:
        listed: Ids of each kind to name.

    Raises:
        UserError: One of them is none, or a shard cannot be read.
    """
    sides = [_folder(before), _folder(after)]
    found = Difference(versions=(_version(sides[0]), _version(sides[1])))
    with tempfile.TemporaryDirectory(prefix="echat-diff-") as place:
        db = sqlite3.connect(Path(place) / "rows.sqlite")
        db.execute("PRAGMA synchronous=OFF")
        for number, folder in enumerate(sides):
            db.execute(f"CREATE TABLE side{number} (id TEXT PRIMARY KEY, task TEXT, label TEXT, digests TEXT)")
            db.executemany(f"INSERT OR REPLACE INTO side{number} VALUES (?, ?, ?, ?)", _rows(folder))
        counts = [db.execute(f"SELECT count(*) FROM side{number}").fetchone()[0] for number in (0, 1)]
        found.rows = counts[0], counts[1]
        for kind, query in _QUERIES.items():
            for name, task, label, old, new in db.execute(query):
                found.counts[kind, task, label] += 1
                if len(found.ids[kind]) < listed:
                    found.ids[kind].append(name)
                if kind == CHANGED:
                    pairs = zip(PARTS, json.loads(old), json.loads(new), strict=True)
                    found.parts.update(part for part, left, right in pairs if left != right)
        db.close()
    found.same = found.rows[0] - found.total(REMOVED) - found.total(CHANGED)
    return found


_QUERIES = {
    ADDED: "SELECT id, task, label, '', '' FROM side1 WHERE id NOT IN (SELECT id FROM side0) ORDER BY id",
    REMOVED: "SELECT id, task, label, '', '' FROM side0 WHERE id NOT IN (SELECT id FROM side1) ORDER BY id",
    CHANGED: "SELECT id, b.task, b.label, a.digests, b.digests FROM side0 a JOIN side1 b USING (id)"
    " WHERE a.digests != b.digests ORDER BY id",
}


def _folder(path: Path) -> Path:
    for folder in (path, path / "shards" / "current"):
        if (folder / "dataset.json").is_file():
            return folder
    raise UserError(f"{path}: is neither a release nor a finished run folder (it has no dataset.json)")


def _version(folder: Path) -> str:
    try:
        return str(json.loads((folder / "release.json").read_bytes())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _rows(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    try:
        shards = json.loads((folder / "dataset.json").read_bytes())["shards"]
        paths = [folder / Path(shard["name"]).name for shard in shards]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{folder / 'dataset.json'}: cannot be read ({error})") from error
    for path in paths:
        try:
            with open_tar(path) as archive:
                for key, members in tar_samples(archive):
                    document = json.loads(members["json"])
                    row = key, document["task"], _label(document), json.dumps(_digests(document, members))
                    "".join(row).encode()  # raises unless all are text, as the table and a terminal take it
                    yield row
        except (tarfile.TarError, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{path}: cannot be read as a shard ({error}); run echat verify on its folder") from error


def _label(document: dict[str, Any]) -> str:
    turn = document["turns"][0]
    return "+".join(turn["query"]["requested"][family] for family in turn["cues"]) or "neutral"


def _digests(document: dict[str, Any], members: dict[str, bytes]) -> list[str]:
    """A digest of each of `PARTS` of a dialogue."""
    texts, labels, scores = [], [], []
    for turn in document["turns"]:
        texts += [turn.pop("think_text"), turn.pop("think_tag")]
        texts += [turn[role].pop(name) for role in ("query", "reply") for name in _TEXTS]
        labels += [turn["query"].pop("requested"), turn.pop("cues"), turn["reply"].pop("emotion")]
        scores.append({role: turn.pop(role) for role in ("query", "reply")})
    engines = document.pop("engines")
    labels.append(document)  # what is left: split, task, source, scenario, seeds
    sound = {name: hashlib.sha256(data).hexdigest() for name, data in members.items() if name.endswith(".flac")}
    tokens = {name: hashlib.sha256(data).hexdigest() for name, data in members.items() if name.endswith(".npy")}
    for score in scores:
        for role in score.values():
            role.pop("audio_sha256", None)
    return [hashlib.blake2b(canonical_json(value), digest_size=8).hexdigest()
            for value in (texts, labels, sound, tokens, scores, engines)]  # fmt: skip

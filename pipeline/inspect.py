"""`echat inspect`: a quick look into shards."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from manifests.errors import UserError


def find_shards(path: Path) -> list[Path]:
    """The tars that a path means: one tar, a folder of shards, or a run folder.

    Raises:
        UserError: There are none.
    """
    if path.is_file():
        return [path]
    for folder in (path, path / "shards" / "current"):
        shards = sorted(folder.glob("*.tar"))
        if shards:
            return shards
    raise UserError(f"{path}: holds no shards; name a .tar, a folder of them, or a run folder whose build is finished")


def read_documents(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON of every dialogue of a tar.

    Raises:
        UserError: It is not a tar of ours.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.name.endswith(".json") and member.isfile():
                    stream = archive.extractfile(member)
                    document = json.loads(stream.read() if stream else b"")
                    if not isinstance(document, dict) or not {"id", "turns"} <= document.keys():
                        raise ValueError(f"{member.name} is no dialogue of this format")
                    yield document
    except (tarfile.TarError, ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read as a shard ({error}); run echat verify on its folder") from error


def first_documents(path: Path, number: int) -> list[tuple[str, dict[str, Any]]]:
    """The first dialogues of a path's shards, each with the tar that it lies in."""
    stream = ((shard.name, document) for shard in find_shards(path) for document in read_documents(shard))
    return list(islice(stream, number))

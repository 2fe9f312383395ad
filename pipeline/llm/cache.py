"""Answers on disk, by the content of their request: what was asked once is never paid again.

A file for each answer, in 256 folders, created whole and first come first kept, so that any number of workers on any
machines agree on the answer to a request. An entry that is damaged counts as none.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from manifests.files import remove_debris, temporary, writing
from manifests.ids import canonical_json, content_hash

_OLD_S = 24 * 3600  # of a temporary file that its writer will not come back for
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK, errno.EINVAL}
_READ_MAX = 2**22  # bytes; an entry is far smaller


@dataclass(frozen=True)
class Request:
    """All that an answer depends on; where the server is does not count.

    Attributes:
        what: Name of the prompt.
        seed: Of the row that asks, and of what it asks for: rows that ask the same get answers of their own.
    """

    what: str
    model: str
    revision: str
    messages: tuple[dict[str, str], ...]
    parameters: dict[str, Any]
    seed: int

    @cached_property
    def key(self) -> str:
        """32 hex characters that change with any of it."""
        return content_hash({item.name: getattr(self, item.name) for item in fields(self)}, 32)


@dataclass(frozen=True)
class Answer:
    """What a server answered.

    Attributes:
        finish: `stop`, `length` (cut off at `max_tokens`), ...
        model: Name that the server gives its model, and its fingerprint of it if it has one.
        metered: Whether the server said how many tokens it took; else they count as none.
    """

    text: str
    finish: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    metered: bool = True


class Cache:
    """The answers in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: set[Path] = set()  # folders that are there
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        remove_debris((folder,), _OLD_S)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"

    def get(self, key: str) -> Answer | None:
        """The answer to a request, or None; a damaged entry is removed.

        Raises:
            UserError: The entry is there and cannot be read.
        """
        path = self._path(key)
        try:
            with path.open("rb") as stream:
                data = stream.read(_READ_MAX)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}): mend that, or set script.cache") from error
        try:
            document = json.loads(data)
            if document["key"] == key and document["check"] == content_hash(document["answer"]):
                return Answer(**document["answer"])
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        with suppress(OSError):
            path.unlink()
        return None

    def put(self, key: str, answer: Answer) -> Answer:
        """Keep an answer; returns the one that is kept, which another worker may have put first."""
        path, document = self._path(key), asdict(answer)
        data = canonical_json({"answer": document, "check": content_hash(document), "key": key})
        with writing(path):
            if path.parent not in self._made:
                path.parent.mkdir(exist_ok=True)
                self._made.add(path.parent)
            for _ in range(3):
                if _create(self.folder, path, data):
                    return answer
                kept = self.get(key)
                if kept is not None:
                    return kept
        return answer

    def reject(self, requests: Sequence[tuple[Request, Answer]], reason: str) -> Path:
        """Set answers that no row can use aside, so that a replay asks anew; returns the file that holds them.

        Another answer, which a worker may have put in the place of one of them since, stays.
        """
        path = self.folder / "rejected" / f"{requests[0][0].key}.json"
        known = [{"messages": list(request.messages), "seed": request.seed, **asdict(a)} for request, a in requests]
        with writing(path):
            path.parent.mkdir(exist_ok=True)
            spare = temporary(self.folder / path.name)
            spare.write_bytes(canonical_json({"reason": reason, "answers": known}))
            os.replace(spare, path)
        for request, rejected in requests:
            if self.get(request.key) == rejected:
                with suppress(OSError):
                    self._path(request.key).unlink()
        return path


def _create(folder: Path, path: Path, data: bytes) -> bool:
    """Create a file whole; False when there is one. Not synced: what a power cut spoils is asked again."""
    spare = temporary(folder / path.name)
    try:
        spare.write_bytes(data)
        try:
            os.link(spare, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _create_here(path, data)
    finally:
        spare.unlink(missing_ok=True)
    return True


def _create_here(path: Path, data: bytes) -> bool:
    """The same where files cannot be linked: first come is first kept still, but who reads too early asks anew."""
    try:
        stream = path.open("xb")
    except FileExistsError:
        return False
    try:
        with stream:
            stream.write(data)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return True

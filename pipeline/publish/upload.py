"""Uploading a release: in parallel, resumable, read back and compared; complete only when `dataset.json` is there."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from manifests.errors import UserError, WorkFailedError
from manifests.files import read_checksums, sha256, writing
from manifests.ids import content_hash
from pipeline.verify_shards import Finding

FIRST = "release.json"
"""Uploaded before all else: it says that the place is ours, and which files are."""
LAST = ("checksums.sha256", "dataset.json")
"""Uploaded after all else, in this order: a set without `dataset.json` is not complete."""
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "az"}
"""They have no folders, and making one may make a bucket."""
_CHUNK = 1 << 20
_TRIES = 3
_PAUSES_S = (0.2, 1.0)
"""Between calls to storage that stumbles."""


@dataclass(frozen=True)
class Uploaded:
    """What was done: files and bytes sent, files that were there already, old files removed."""

    sent: int
    sent_bytes: int
    there: int
    removed: int


def upload(
    release: Path, target: str, ledger: Path, workers: int = 8, progress: Callable[[str], None] = lambda name: None
) -> Uploaded:
    """Copy a release to a folder, a bucket or whatever fsspec names; run it again to go on.

    Args:
        release: A folder with `checksums.sha256`.
        target: Path or URL of the folder to fill: `s3://bucket/name`.
        ledger: Folder of the run in which is noted what was sent and verified, a file per target.
        workers: Files sent at once.
        progress: Called with the name of every finished file.

    Raises:
        UserError: The target cannot be named, reached or written; nothing of it is listed as complete.
        WorkFailedError: A file differs from what was sent, again and again.
    """
    with held(ledger, target), _sentences(target):
        system, root = _open(target)
        _keep_apart(system, root, release.resolve().parents[1])
        wanted = sound_release(release)
        old = _old_files(system, root, wanted)
        same = _read(system, f"{root}/{FIRST}") == (release / FIRST).read_bytes()
        complete = system.exists(f"{root}/{LAST[-1]}")
        notes = _Notes(ledger / f"{content_hash([system.unstrip_protocol(root), wanted[FIRST]], 16)}.jsonl", same)
        there = {
            name for name in wanted if same and _is_there(system, root, name, release, wanted[name], notes, complete)
        }
        first = [] if FIRST in there else [FIRST]
        todo = [name for name in sorted(wanted) if name not in (FIRST, *LAST) and name not in there]
        last = [name for name in LAST if name not in there]
        if complete and (first or todo or last or old):
            system.rm_file(f"{root}/{LAST[-1]}")  # what is there is not complete until all is sent
            last = [name for name in LAST if name in last or name == LAST[-1]]
        for name in old:
            system.rm_file(f"{root}/{name}")
        for name in first:
            progress(_send(system, root, name, release, wanted[name], notes))
        with ThreadPoolExecutor(workers) as pool:
            jobs = [pool.submit(_send, system, root, name, release, wanted[name], notes) for name in todo]
            try:
                for job in as_completed(jobs):
                    progress(job.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        _still_ours(system, root, release)
        for name in last:
            progress(_send(system, root, name, release, wanted[name], notes))
        _still_ours(system, root, release)
    sent = [*first, *todo, *last]
    size = sum((release / name).stat().st_size for name in sent)
    return Uploaded(len(sent), size, len(wanted) - len(sent), len(old))


@contextmanager
def held(ledger: Path, target: str) -> Iterator[None]:
    """Hold a target for this run, so that two publishes of it on one machine do not meet.

    Raises:
        UserError: Another one holds it.
    """
    path = ledger / f"{content_hash(['target', target.rstrip('/')], 16)}.lock"
    with writing(path):
        ledger.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f"{shown(target)}: this run is being published there by another process; wait for it") from None
    finally:
        os.close(handle)


def sound_release(release: Path) -> dict[str, str]:
    """The files of a release with their sha256, each of which was read and compared.

    Raises:
        UserError: One is damaged.
    """
    listing = release / "checksums.sha256"
    try:
        wanted = {**read_checksums(listing.read_bytes()), listing.name: sha256(listing)}
        damaged = next((name for name in wanted if sha256(release / name) != wanted[name]), "")
    except ValueError:
        damaged = listing.name
    if damaged:
        raise UserError(f"{release}: {damaged} is damaged; delete this folder and publish again to make it anew")
    return wanted


def _still_ours(system: Any, root: str, release: Path) -> None:
    """Refuse to call complete a place where another publish has begun: its list of files came first.

    Raises:
        WorkFailedError: As said.
    """
    system.invalidate_cache()
    if _read(system, f"{root}/{FIRST}") != (release / FIRST).read_bytes():
        raise WorkFailedError(
            f"{root}: somebody else publishes another release there; wait until that ends, then publish again"
        )


def verify_remote(url: str) -> Iterator[Finding]:
    """Compare every file of a published set with its checksum, reading all of it.

    Raises:
        UserError: The place cannot be reached.
    """
    place = shown(url)
    with _sentences(url):
        system, root = _open(url)
        if not system.exists(f"{root}/dataset.json"):
            yield Finding(place, "", "has no dataset.json: it is no published set, or not complete; publish again")
            return
        try:
            listed = read_checksums(system.cat_file(f"{root}/checksums.sha256"))
        except (OSError, ValueError) as error:
            yield Finding(f"{place}/checksums.sha256", "", f"cannot be read ({error})")
            return
        names = {path[len(root) + 1 :] for path in map(str, system.find(root))}
        for name in sorted(names - listed.keys() - {"checksums.sha256", ".gitattributes"}):
            yield Finding(f"{place}/{name}", "", "is not listed in checksums.sha256")
        for name, digest in listed.items():
            if name.startswith("/") or ".." in name.split("/"):
                yield Finding(f"{place}/checksums.sha256", name, "names a file outside of the set")
            elif not system.exists(f"{root}/{name}"):
                yield Finding(f"{place}/{name}", "", "is missing")
            elif _sha256_remote(system, f"{root}/{name}") != digest:
                yield Finding(f"{place}/{name}", "", "the sha256 is not the listed one")


class _Notes:
    """What was sent and verified: a JSON line a file, of one target and release.

    Notes count only while the place holds that release: `same`. Else they are begun anew.
    """

    def __init__(self, path: Path, same: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not same:
            path.unlink(missing_ok=True)
        self.path, self.lock = path, threading.Lock()
        self.known: dict[str, str] = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                note = json.loads(line)
                self.known[note["name"]] = note["sha256"]
            except (ValueError, KeyError, TypeError):
                continue  # torn by a kill: the file is sent again

    def add(self, name: str, digest: str) -> None:
        with self.lock, self.path.open("a") as stream:
            stream.write(json.dumps({"name": name, "sha256": digest}) + "\n")
            self.known[name] = digest


def _is_there(system: Any, root: str, name: str, release: Path, digest: str, notes: _Notes, complete: bool) -> bool:
    """Whether a file of this release need not be sent: noted as verified, or, in a complete set, read and equal."""
    path = f"{root}/{name}"
    try:
        if system.info(path)["size"] != (release / name).stat().st_size:
            return False
        return _sha256_remote(system, path) == digest if complete else notes.known.get(name) == digest
    except FileNotFoundError:
        return False


def _send(system: Any, root: str, name: str, release: Path, digest: str, notes: _Notes) -> str:
    path = f"{root}/{name}"
    folders = not set(_protocols(system)) & _OBJECT_STORES
    for _ in range(_TRIES):
        if folders:
            system.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        system.put_file(str(release / name), path)
        if _sha256_remote(system, path) == digest:
            notes.add(name, digest)
            return name
    raise WorkFailedError(
        f"{path}: what was read back is not what was sent, {_TRIES} times; run publish again to go on"
    )


def _old_files(system: Any, root: str, wanted: Mapping[str, str]) -> list[str]:
    """Files of an earlier release that this one has not.

    Raises:
        UserError: The place holds files and no release of ours: nothing there is touched.
    """
    stated = _read(system, f"{root}/{FIRST}")
    if stated is None:
        have = system.find(root) if system.exists(root) else []
        if have:
            raise UserError(f"{root}: holds files that echat did not publish; name an empty or a new place")
        return []
    return old_files(root, stated, wanted, lambda name: system.exists(f"{root}/{name}"))


def old_files(place: str, stated: bytes, wanted: Mapping[str, str], there: Callable[[str], bool]) -> list[str]:
    """Files that the `release.json` of a place lists, that are there, and that the new release has not.

    Raises:
        UserError: It cannot be read.
    """
    try:
        document = json.loads(stated)
        names = document["files"]
        if document["format"] != "echat-release" or not all(isinstance(name, str) for name in names):
            raise ValueError("it is no list of a release")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{place}/{FIRST}: cannot be read ({error}); name an empty or a new place") from error
    inside = [name for name in names if not name.startswith("/") and ".." not in name.split("/")]
    return [name for name in inside if name not in wanted and there(name)]


def _read(system: Any, path: str) -> bytes | None:
    return system.cat_file(path) if system.exists(path) else None


def _keep_apart(system: Any, root: str, run: Path) -> None:
    """Refuse to publish a run into itself, or over itself."""
    if not set(_protocols(system)) & {"file", "local"}:
        return
    place = Path(root).resolve()
    if place == run or run in place.parents or place in run.parents:
        raise UserError(
            f"{place}: the run {run} and the place where it is published must be apart; name another folder"
        )


class Patient:
    """A file system whose calls are made again, twice, when storage stumbles; what is refused is not asked again."""

    def __init__(self, system: Any) -> None:
        self._system = system

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._system, name)
        return partial(again, found) if callable(found) else found

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder. fsspec's own answer to a broken connection is no."""
        try:
            again(self._system.info, path)
            return True
        except (FileNotFoundError, NotADirectoryError):
            return False


def again(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call, and call again after an error that may pass: such as of a network, never one that says no."""
    for pause_s in _PAUSES_S:
        try:
            return call(*args, **kwargs)
        except (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError):
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EROFS, errno.EDQUOT):
                raise
            time.sleep(pause_s)
    return call(*args, **kwargs)


def _open(target: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    if not target.strip():
        raise UserError("TARGET is empty; name a folder or a URL")
    system, root = url_to_fs(target, **({"auto_mkdir": True} if "://" not in target else {}))
    # Another process may have changed what is there.
    system.invalidate_cache()
    system.use_listings_cache = False
    return Patient(system), root.rstrip("/")


def shown(target: str) -> str:
    """A target, or a text that names one, without user, password and query."""
    # A password that itself holds a slash ends what a URL calls its authority, and is hidden all the same.
    cut = re.sub(r"//[^\s/:@]*:(?!\d*(?:[/\s]|$))\S*@", "//", target)
    return re.sub(r"//[^\s/]*@", "//", cut).split("?")[0]


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


@contextmanager
def _sentences(target: str) -> Iterator[None]:
    """Errors of storage as one sentence; credentials are never part of it."""
    target = shown(target)
    try:
        yield
    except (UserError, WorkFailedError):
        raise
    except ImportError as error:
        raise UserError(f"{target}: needs a package ({error}): pip install 'echat-pipeline[publish]'") from error
    except PermissionError as error:
        raise UserError(
            f"{target}: access was refused; check the credentials in the environment and their rights"
        ) from error
    except FileNotFoundError as error:
        raise UserError(
            f"{target}: does not exist (the bucket, for object stores); create it, then publish again"
        ) from error
    except (OSError, ValueError) as error:
        said = shown(" ".join(str(error).split()))[:200]
        raise UserError(
            f"{target}: cannot be used ({said}); mend that and publish again, what was sent stays"
        ) from error
    except Exception as error:
        if "redential" not in type(error).__name__:
            raise
        raise UserError(f"{target}: no credentials were found; set them in the environment") from error


def _sha256_remote(system: Any, path: str) -> str:
    return again(_read_sha256, system, path)


def _read_sha256(system: Any, path: str) -> str:
    system.invalidate_cache()
    digest = hashlib.sha256()
    with system.open(path, "rb", block_size=_CHUNK) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()

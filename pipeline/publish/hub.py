"""Publishing to the Hugging Face Hub: commits of some files each, on top of the one before, complete with the last.

Every commit names the commit that it follows (`parent_commit`), so that of two publishes at once one is refused and
nothing is mixed. What the Hub holds is asked of it, by checksum, before and after: an interrupted publish goes on where
it was, and the last word is the Hub's.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from manifests.errors import UserError, WorkFailedError
from pipeline.publish.upload import FIRST, LAST, Uploaded, held, old_files, shown, sound_release

PREFIX = "hf://"
HUBS_OWN = ".gitattributes"
"""A file that the Hub makes with every repository."""
_TARGET = re.compile(r"hf://datasets/([A-Za-z0-9][\w.-]*)/([A-Za-z0-9][\w.-]*)/?")
_COMMIT_FILES, _COMMIT_BYTES = 50, 2 << 30
"""Most of one commit: what an interruption may cost."""
_TOKEN = "HF_TOKEN"


@dataclass(frozen=True)
class Access:
    """Who may have the dataset; None and "" leave it as it is, which for a new one is the account's default."""

    private: bool | None = None
    gated: Literal["", "auto", "manual", "off"] = ""


@dataclass(frozen=True)
class _Repo:
    """A dataset repository, and what talks to it."""

    api: Any
    name: str
    target: str

    def state(self) -> tuple[str, dict[str, Any]]:
        """The newest commit and the files in it."""
        head = self.api.dataset_info(self.name).sha
        tree = self.api.list_repo_tree(self.name, repo_type="dataset", revision=head, recursive=True)
        return head, {item.path: item for item in tree if hasattr(item, "blob_id")}

    def commit(self, parent: str, message: str, add: Mapping[str, Path], remove: Sequence[str] = ()) -> str:
        """Commit files on top of another commit; the new one."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations = [CommitOperationAdd(name, str(path)) for name, path in add.items()]
        operations += [CommitOperationDelete(name) for name in remove]
        done = self.api.create_commit(
            self.name, operations, commit_message=message, repo_type="dataset", parent_commit=parent
        )
        return done.oid


def publish_hub(
    release: Path,
    target: str,
    ledger: Path,
    access: Access,
    progress: Callable[[str], None] = lambda name: None,
) -> Uploaded:
    """Publish a release as a dataset repository, or go on with it; made if it is not there.

    Args:
        release: A folder with `checksums.sha256`.
        target: `hf://datasets/OWNER/NAME`.
        ledger: Folder of the run that holds the lock of this target.

    Raises:
        UserError: The target, the token or the card is wrong, or the place is somebody else's.
        WorkFailedError: Another publish came in between, or the Hub holds something else than was sent.
    """
    match = _TARGET.fullmatch(target)
    if match is None:
        raise UserError(f"{shown(target)}: is no dataset on the Hub; write hf://datasets/OWNER/NAME")
    token = os.environ.get(_TOKEN, "").strip()
    if not token:
        raise UserError(f"{target}: needs a token that may write; set {_TOKEN} in the environment")
    wanted = sound_release(release)
    _check_card(release / "README.md")
    with held(ledger, target), _sentences(target, token):
        from huggingface_hub import HfApi
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
        api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token)
        repo = _Repo(api, f"{match[1]}/{match[2]}", target)
        # Who may see it is settled before there is anything to be seen.
        api.create_repo(repo.name, repo_type="dataset", private=access.private, exist_ok=True)
        gated: Any = {"": None, "off": False}.get(access.gated, access.gated)
        if access.private is not None or gated is not None:
            api.update_repo_settings(repo.name, private=access.private, gated=gated, repo_type="dataset")
        return _send(repo, release, wanted, token, progress)


def _send(
    repo: _Repo, release: Path, wanted: Mapping[str, str], token: str, progress: Callable[[str], None]
) -> Uploaded:
    head, there = repo.state()
    old = _old_files(repo, head, there, wanted, token)
    others = sorted(set(there) - wanted.keys() - {*old, HUBS_OWN})
    if others:  # a set with them would not be the release; nobody comes between the commits below
        raise UserError(
            f"{repo.target}: holds {others[0]}, which is of no release that it lists; delete it there, then publish"
            " again"
        )
    todo = [name for name in sorted(wanted) if not _equal(release / name, wanted[name], there.get(name))]
    if not todo and not old:
        return Uploaded(0, 0, len(wanted), 0)
    # A set without dataset.json is not complete: it goes first and comes last. Old files go in the commit that replaces
    # the list of them, or nobody would know of them after an interruption.
    last = [name for name in LAST if name in todo or name == LAST[-1]]
    first = [FIRST] if FIRST in todo else []
    gone = [*old, *(name for name in LAST[-1:] if name in there)]
    if first or gone:
        head = repo.commit(head, "Begin a release", {name: release / name for name in first}, gone)
    for name in first:
        progress(name)
    rest = [name for name in todo if name not in (*first, *LAST)]
    for number, names in enumerate(_chunks(release, rest), 1):
        head = repo.commit(head, f"Files of the release, {number}", {name: release / name for name in names})
        for name in names:
            progress(name)
    repo.commit(head, "Complete the release", {name: release / name for name in last})
    for name in last:
        progress(name)
    _, there = repo.state()
    wrong = [name for name in wanted if not _equal(release / name, wanted[name], there.get(name))]
    if wrong:
        raise WorkFailedError(f"{repo.target}: {wrong[0]} is not what was sent; run publish again to go on")
    sent = [*first, *rest, *last]
    return Uploaded(len(sent), sum((release / name).stat().st_size for name in sent), len(wanted) - len(sent), len(old))


def _old_files(repo: _Repo, head: str, there: Mapping[str, Any], wanted: Mapping[str, str], token: str) -> list[str]:
    """Files of an earlier release that this one has not; see `upload.old_files`."""
    if FIRST not in there:
        if set(there) - {HUBS_OWN}:
            raise UserError(f"{repo.target}: holds files that echat did not publish; name an empty or a new place")
        return []
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    url = hf_hub_url(repo.name, FIRST, repo_type="dataset", revision=head, endpoint=repo.api.endpoint)
    response = get_session().get(url, headers=build_hf_headers(token=token), follow_redirects=True)
    hf_raise_for_status(response)
    return old_files(repo.target, response.content, wanted, there.__contains__)


def _equal(path: Path, digest: str, item: Any) -> bool:
    """Whether the Hub holds a file: it tells the sha256 of large ones, and git's own hash of the others."""
    if item is None or item.size != path.stat().st_size:
        return False
    if item.lfs is not None:
        return item.lfs.sha256 == digest
    data = path.read_bytes()
    return item.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _chunks(release: Path, names: Sequence[str]) -> Iterator[list[str]]:
    """Files of one commit each."""
    chunk: list[str] = []
    size = 0
    for name in names:
        own = (release / name).stat().st_size
        if chunk and (len(chunk) == _COMMIT_FILES or size + own > _COMMIT_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk, size = [*chunk, name], size + own
    if chunk:
        yield chunk


def _check_card(path: Path) -> None:
    """What can be told of a card without the Hub, which validates it again when it is committed."""
    from huggingface_hub import DatasetCard

    try:
        data = DatasetCard(path.read_text()).data.to_dict()
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: has a header that the Hub cannot read ({' '.join(str(error).split())})") from error
    missing = [name for name in ("license", "language", "configs") if not data.get(name)]
    if missing:
        raise UserError(f"{path}: has no {missing[0]} in its header; delete this release and publish again")


@contextmanager
def _sentences(target: str, token: str) -> Iterator[None]:
    """Errors of the Hub as one sentence, without the token."""

    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.errors import HTTPError as TransportError  # pyright: ignore[reportPrivateImportUsage]

    try:
        yield
    except (UserError, WorkFailedError):
        raise
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (409, 412):
            raise WorkFailedError(
                f"{target}: somebody else has published there in between; wait until that ends, then publish again"
            ) from error
        what = {
            401: f"the Hub refuses the token in {_TOKEN}, or knows no such owner",
            403: f"the token in {_TOKEN} may not write there",
            404: "there is no such owner, or the token may not see it",
        }.get(status)
        if what:
            raise UserError(f"{target}: {what}; mend that and publish again, what was sent stays") from error
        raise WorkFailedError(f"{target}: the Hub failed ({_said(error, token)}); publish again to go on") from error
    except TransportError as error:
        raise WorkFailedError(
            f"{target}: the Hub cannot be reached ({_said(error, token)}); publish again to go on"
        ) from error
    except (ValueError, RuntimeError, OSError) as error:
        raise WorkFailedError(f"{target}: {_said(error, token)}; publish again to go on") from error


def _said(error: Exception, token: str) -> str:
    return " ".join(str(error).split()).replace(token, "***")[:300] or type(error).__name__

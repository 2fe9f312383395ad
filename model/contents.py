"""What results follow from beside their manifests: the contents of data, and the code that trains and judges."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256 as new_sha256
from pathlib import Path

from manifests.errors import UserError
from manifests.files import sha256
from manifests.ids import content_hash
from model.datasets import CorpusDataset

_CODE = ("*.py", "data/*", "evaluate/items.py", "evaluate/replies.py", "ablation/job.py", "ablation/datamap.py")

_WORDS = ("*.py", "think/*", "scenarios/openers*")  # thoughts are written and replies are judged by these


@lru_cache(maxsize=1)
def code_hash() -> str:
    """Of the sources that train and judge: results of another version are not taken for this one's."""
    digest = new_sha256()
    for path in sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def sources() -> list[Path]:
    """Files that decide what a training gives and how it is judged."""
    model = Path(__file__).parent
    found = [path for pattern in _CODE for path in model.glob(pattern)]
    found += [path for pattern in _WORDS for path in (model.parent / "manifests").glob(pattern)]
    return sorted(path for path in found if path.is_file())


@lru_cache(maxsize=64)
def fingerprint(folder: Path) -> str:
    """Of a folder of shards, by their list with its checksums, or of labelled recordings, by all that are listed.

    Raises:
        UserError: It is neither, or a recording is missing.
    """
    if (folder / "dataset.json").is_file():
        return sha256(folder / "dataset.json")
    recordings = CorpusDataset(folder)
    try:
        listed = [sha256(folder / recordings.about(item)["id"]) for item in range(len(recordings))]
    except OSError as error:
        raise UserError(f"{folder / 'labels.csv'}: {error.filename} cannot be read ({error.strerror})") from error
    return content_hash([sha256(folder / "labels.csv"), listed])

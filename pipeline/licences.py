"""The licences of the packages that are installed with echat, as their own metadata states them."""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass

_CLASSIFIER = "License :: "
_NAMES = re.compile(r"[-_.]+")
_LONGEST = 60  # characters of a licence field; some packages put the whole text there
UNKNOWN = "not stated"


@dataclass(frozen=True)
class Licence:
    """A package and what it says of its terms."""

    package: str
    version: str
    licence: str

    @property
    def stated(self) -> bool:
        return self.licence != UNKNOWN


def licences(root: str = "echat-pipeline") -> list[Licence]:
    """A package and all that it needs, directly or not, as far as it is installed; by name.

    Extras count as well: what is installed can be imported.
    """
    found: dict[str, Licence] = {}
    todo = [root]
    while todo:
        name = _NAMES.sub("-", todo.pop()).lower()
        if name in found:
            continue
        try:
            package = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found[name] = Licence(name, package.version, _licence(package.metadata))
        todo += [match[0] for item in package.requires or () if (match := re.match(r"[A-Za-z0-9._-]+", item))]
    return [found[name] for name in sorted(found)]


def _licence(metadata: importlib.metadata.PackageMetadata) -> str:
    """The expression of a package, else its classifiers, else the first line of its licence field."""
    fields = {name: metadata.get_all(name) or [] for name in ("License-Expression", "License", "Classifier")}
    for text in fields["License-Expression"]:
        return text
    listed = [item.rpartition(" :: ")[2] for item in fields["Classifier"] if item.startswith(_CLASSIFIER)]
    if any(item != "OSI Approved" for item in listed):
        return ", ".join(sorted(set(listed) - {"OSI Approved"}))
    for text in fields["License"]:
        first = text.strip().splitlines()[0].strip() if text.strip() else ""
        if first and first.lower() != "unknown":
            return first if len(first) <= _LONGEST else f"{first[: _LONGEST - 3]}..."
    return UNKNOWN

"""What the name of a licence says about passing recordings on: a careful guess, no legal advice.

A licence that is not known to let anyone publish is taken to forbid it, unless whoever brings the recordings in says
otherwise; a licence or corpus that is known to forbid it cannot be overruled.
"""

from __future__ import annotations

import re

_CLOSED = re.compile(
    r"research|academic|non[- ]?commercial|\bnc\b|\bnd\b|ravdess|\btess\b|emo-?db|no redistribution", re.IGNORECASE
)
"""Words of licences, and names of corpora, that say that recordings are not free to be published by anyone."""
_OPEN = re.compile(
    r"\bcc[- ]?0\b|\bcc[- ]by\b|\bodbl\b|\bpddl\b|public domain|\bmit\b|\bapache\b|\bbsd\b", re.IGNORECASE
)
"""Words of licences that let anyone publish; of any other the user must say so."""


def may_publish(licence: str, name: str, stated: bool | None = None) -> bool:
    """Whether recordings may be passed on.

    Args:
        licence: As their publisher states it.
        name: Of the corpus or collection.
        stated: What the user says; None if nothing.
    """
    closed = bool(_CLOSED.search(licence) or _CLOSED.search(name))
    return not closed and (bool(_OPEN.search(licence)) if stated is None else stated)

"""Starting or joining Ray, which gives a new node 30 seconds whatever else the machine is doing."""

from __future__ import annotations

import logging
import os
from typing import Any

from manifests.errors import WorkFailedError

_TRIES = 4
_TOO_SLOW = "timed out during startup"


def start_ray(address: str, **options: Any) -> Any:
    """Start Ray on this machine (`local`), or join a cluster; a node that is slow to come up is tried again.

    Args:
        options: Of `ray.init`.

    Returns:
        The module `ray`.

    Raises:
        WorkFailedError: It does not start, or cannot be joined.
    """
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    local = {"include_dashboard": False} if address == "local" else {}
    for left in reversed(range(_TRIES)):
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **local, **options)
            break
        except Exception as error:  # Ray has no type of its own for this: Exception, ConnectionError, ValueError
            if left and _TOO_SLOW in str(error):
                ray.shutdown()
                continue
            raise WorkFailedError(
                f"Ray did not start, or could not be joined (address: {address}): {' '.join(str(error).split())[:300]}"
                " If this machine is busy or short of memory, wait; then run the same command again, what is committed"
                " stays"
            ) from error
    return ray

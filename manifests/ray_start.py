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
        WorkFailedError: The machine is too busy for a node to come up.
    """
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    local = {"include_dashboard": False} if address == "local" else {}
    for _ in range(_TRIES):
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **local, **options)
            return ray
        except Exception as error:  # Ray raises no class of its own here
            if _TOO_SLOW not in str(error):
                raise
            ray.shutdown()
    raise WorkFailedError(
        f"Ray did not start: its node did not come up within 30 s, {_TRIES} times over; run the same command again when"
        " this machine is less busy"
    )

"""Starting or joining Ray."""

from __future__ import annotations

import logging
import os
from typing import Any

from manifests.errors import WorkFailedError


def start_ray(address: str, **options: Any) -> Any:
    """Start Ray on this machine (`local`), or join a cluster.

    Args:
        options: Of `ray.init`.

    Returns:
        The module `ray`.

    Raises:
        WorkFailedError: It does not start (Ray gives a node 30 seconds), or cannot be joined.
    """
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    local = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **local, **options)
    except Exception as error:  # Ray has no type of its own for this: Exception, ConnectionError, ValueError
        raise WorkFailedError(
            f"Ray did not start, or could not be joined ({address}): {' '.join(str(error).split())[:300]}"
            " If this machine is busy or short of memory, wait; then run the same command again"
        ) from error
    return ray

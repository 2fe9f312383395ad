"""A worker process: what it does must not depend on the machine's cores."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits
from tone_runs import build_tones


def test_products_are_summed_on_one_thread_wherever_cells_are_made(tmp_path) -> None:
    np.ones((2, 2)) @ np.ones((2, 2))
    threadpool_limits(limits=4, user_api="blas")
    build_tones(tmp_path, executor={"kind": "inline"})
    threads = {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
    assert threads == {1}

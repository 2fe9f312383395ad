"""Coverage-guided fuzzing of one target of `tests/support/targets.py`, with atheris.

    python tests/fuzz/fuzz.py manifest|ledger|shards [FOLDER] [libFuzzer's options, such as -max_total_time=600]

The corpus and what crashed are in FOLDER, `.fuzz` by default; every crash is a file that `test_fuzz.py` can read.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "support")]
OURS = ["manifests", "pipeline", "tarfile", "yaml", "json", "model.datasets"]


def main() -> None:
    """Fuzz until libFuzzer ends."""
    name, *rest = sys.argv[1:]
    home = Path(rest.pop(0)) if rest and not rest[0].startswith("-") else Path(".fuzz")
    with atheris.instrument_imports(include=OURS, enable_loader_override=False):
        from targets import SEEDS, TARGETS
    corpus, crashes = home / name / "corpus", home / name / "crashes"
    for path in (corpus, crashes):
        path.mkdir(parents=True, exist_ok=True)
    longest = 4096
    for number, seed in enumerate(SEEDS[name]()):
        (corpus / f"seed-{number}").write_bytes(seed)
        longest = max(longest, len(seed) + 1024)
    options = [f"-artifact_prefix={crashes}/", f"-max_len={longest}", "-timeout=60", "-rss_limit_mb=4096", *rest]
    atheris.Setup([sys.argv[0], *options, str(corpus)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()

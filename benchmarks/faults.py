"""Faults: builds of the tone engines killed again and again at random moments, and what that has cost.

Claim: nothing lost, nothing twice, nothing torn, and shards byte for byte those of an undisturbed run. Each run is
killed several times, then left to finish. Every other run is of one process. Who else is killed, and when, follows from
the seed: the driver alone (its workers live on for seconds while the next build has begun), everything, a Ray worker,
the raylet, or Ray's server of state (GCS).

    PYTHONPATH=tests/support:. python benchmarks/faults.py [--kills 50] [--seed 1] [--minutes 60] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from campaign import Campaign
from conftest import ROOT


def main() -> int:
    """Attack until there were enough kills or the time is up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60, help="Begin no further run after so long.")
    parser.add_argument("--out", type=Path, help="Write the results there, as JSON.")
    args = parser.parse_args()
    began = time.monotonic()
    os.environ["RAY_gcs_rpc_server_reconnect_timeout_s"] = "5"  # noqa: SIM112 (a minute by default)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    with tempfile.TemporaryDirectory(prefix="echat-faults-") as folder:
        campaign = Campaign(Path(folder), args.seed)
        while (left := args.kills - sum(campaign.killed.values())) > 0:
            if time.monotonic() - began > 60 * args.minutes:
                break
            campaign.attack(*campaign.victims(left))
        campaign.say()
        document = campaign.document(args.seed, time.monotonic() - began)
    text = json.dumps(document, indent=1) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text)
    return 0 if campaign.harm.none and sum(campaign.killed.values()) >= args.kills else 1


if __name__ == "__main__":
    sys.exit(main())

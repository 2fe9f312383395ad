"""Make the speaker encoder's shipped weights: `python -m annotators.convert_encoder pretrained.pt`.

The source is `resemblyzer/pretrained.pt` inside the wheel Resemblyzer 0.1.4 on PyPI
(`pip download --no-deps resemblyzer==0.1.4`, then unzip). The same source gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
from pathlib import Path

import numpy as np

from annotators.encoder import WEIGHTS
from manifests.errors import UserError

SOURCE_SHA256 = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
_LOG = logging.getLogger(__name__)


def convert(source: Path, target: Path) -> None:
    """Store the encoder's tensors as float16 arrays, without the loss's two parameters.

    Args:
        source: The checkpoint.
        target: The npz file to write.

    Raises:
        UserError: The source is missing or not the known file.
    """
    if not source.is_file():
        raise UserError(f"{source} is missing: unzip it from the wheel of resemblyzer 0.1.4")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    if digest != SOURCE_SHA256:
        raise UserError(f"{source} has sha256 {digest}, not {SOURCE_SHA256}: take it from resemblyzer 0.1.4")
    import torch

    state = torch.load(source, map_location="cpu", weights_only=True)["model_state"]
    tensors = {name: state[name] for name in sorted(state) if name.startswith(("lstm.", "linear."))}
    target.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(target, **{name: tensor.numpy().astype(np.float16) for name, tensor in tensors.items()})


def main() -> None:
    """Convert one checkpoint."""
    parser = argparse.ArgumentParser(description="Convert the speaker encoder's weights.")
    parser.add_argument("source", type=Path, help="pretrained.pt of resemblyzer 0.1.4")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="file to write (the shipped weights)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    convert(args.source, args.out)
    _LOG.info("wrote %s: %d bytes", args.out, args.out.stat().st_size)


if __name__ == "__main__":
    main()

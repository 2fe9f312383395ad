"""torchaudio beside a CPU build of torch.

The torchaudio of PyPI is built for CUDA, so that importing it next to a CPU build of torch fails with an `OSError` on
`libc10_cuda.so`. Without its compiled library it runs on torch alone, as it documents: resampling, features, filters
and models work, `forced_align` and the RNN-T loss do not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any


def import_torchaudio() -> Any:
    """Import torchaudio, without its compiled library where that cannot be loaded.

    Every process must call this before it imports what imports torchaudio (whisperx, pyannote.audio, funasr). It
    touches no file.

    Returns:
        The module.

    Raises:
        ImportError: It is not installed.
    """
    try:
        return import_module("torchaudio")
    except OSError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        return _import_without_library()


def _import_without_library() -> Any:
    """Import torchaudio while its folder `lib` looks empty."""
    real = Path.glob

    def glob(self: Path, pattern: str, **options: Any) -> Iterator[Path]:
        hidden = self.name == "lib" and self.parent.name == "torchaudio"
        return iter(()) if hidden else iter(real(self, pattern, **options))

    Path.glob = glob  # type: ignore[method-assign,assignment]
    try:
        return import_module("torchaudio")
    finally:
        Path.glob = real  # type: ignore[method-assign]

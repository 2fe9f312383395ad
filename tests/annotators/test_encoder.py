"""The speaker encoder: weights, spectrogram, windows, and what voices have in common."""

from pathlib import Path

import numpy as np
import pytest
from sounds import SAMPLE_RATE, odd_audio, syllables

from annotators import convert_encoder, encoder
from annotators.clip import Clip
from manifests.errors import UserError


def test_embedding_is_a_unit_vector_and_repeats():
    sound = syllables(120, 17)
    first, second = encoder.embed(sound), encoder.embed(sound.copy())
    assert first.tobytes() == second.tobytes()
    assert (first.dtype, first.shape) == (np.float32, (encoder.SIZE,))
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-5)
    assert (first >= 0).all()


def test_equals_the_published_network_in_torch():
    """The same weights in torch's own LSTM give the same embedding."""
    torch = pytest.importorskip("torch")
    with np.load(encoder.WEIGHTS) as packed:
        state = {name: torch.from_numpy(packed[name].astype(np.float32)) for name in packed.files}
    lstm, linear = torch.nn.LSTM(40, 256, 3, batch_first=True), torch.nn.Linear(256, 256)
    lstm.load_state_dict({name[5:]: value for name, value in state.items() if name.startswith("lstm.")})
    linear.load_state_dict({name[7:]: value for name, value in state.items() if name.startswith("linear.")})
    sound = syllables(180, 15, 1.6)  # exactly one window
    mel = torch.from_numpy(encoder.mel_spectrogram(sound)[:160])[None]
    with torch.no_grad():
        wanted = torch.relu(linear(lstm(mel)[1][0][-1]))[0]
    assert np.allclose(encoder.embed(sound), (wanted / wanted.norm()).numpy(), atol=1e-4)


def test_mel_bands_cover_the_spectrum_with_equal_areas():
    bands = encoder.mel_bands(40, 4096)
    assert bands.shape == (2049, 40)
    assert np.allclose(bands.sum(axis=0) * SAMPLE_RATE / 4096, 1, atol=0.02)
    peaks = bands.argmax(axis=0) * SAMPLE_RATE / 4096
    assert (np.diff(peaks) > 0).all()
    low = np.diff(peaks[peaks < 1000])
    assert low.std() < 0.1 * low.mean()  # linear below 1 kHz


def test_spectrogram_of_a_tone_lights_its_band():
    tone = np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    mel = encoder.mel_spectrogram(tone)
    assert mel.shape == (101, 40)
    assert (mel[5:-5].argmax(axis=1) == encoder.mel_bands(40, 400)[25].argmax()).all()  # bin 25 is 1 kHz


@pytest.mark.parametrize(("seconds", "windows"), [(0.3, 1), (1.6, 1), (1.9, 1), (2.0, 2), (2.4, 2), (10.0, 12)])
def test_number_of_windows(seconds: float, windows: int):
    rows = encoder.embed_windows(syllables(120, 17, seconds))
    assert rows.shape == (windows, encoder.SIZE)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_quiet_speech_is_raised():
    sound = 0.02 * syllables(120, 17)
    assert encoder.embed(sound) @ encoder.embed(0.1 * sound) > 0.999


@pytest.mark.parametrize("name", odd_audio())
def test_odd_audio(name: str):
    vector = Clip(*odd_audio()[name]).embedding
    assert np.isfinite(vector).all()
    assert np.linalg.norm(vector) == pytest.approx(0 if name == "silence" else 1, abs=1e-5)


def test_spans_of_a_clip():
    sound = syllables(120, 17, 4.0)
    spans = encoder.embed_spans(sound, [(0.0, 1.6), (1.0, 1.4), (3.9, 4.0)])
    assert spans.shape == (3, encoder.SIZE)
    assert spans[0] @ encoder.embed(sound[: int(1.6 * SAMPLE_RATE)]) > 0.99
    assert encoder.embed_spans(np.zeros(16000, np.float32), [(0.0, 1.0)]).shape == (0, encoder.SIZE)
    assert encoder.embed_spans(sound, []).shape == (0, encoder.SIZE)


def test_a_voice_resembles_itself_more_than_others():
    voices = [(100, 18.0), (150, 16.0), (230, 14.0)]
    first = np.array([encoder.embed(syllables(hertz, length)) for hertz, length in voices])
    second = np.array([encoder.embed(0.5 * syllables(1.03 * hertz, length, 2.4)) for hertz, length in voices])
    alike = first @ second.T
    assert (alike.argmax(axis=1) == np.arange(len(voices))).all()


def test_revision_names_the_weights():
    assert encoder.revision().startswith(f"ge2e-{encoder.VERSION}-")
    assert encoder.problems() == []


def test_conversion_takes_the_known_file_only(tmp_path: Path):
    with pytest.raises(UserError, match=r"resemblyzer 0\.1\.4"):
        convert_encoder.convert(tmp_path / "pretrained.pt", tmp_path / "out.npz")
    (tmp_path / "pretrained.pt").write_bytes(b"something else")
    with pytest.raises(UserError, match="sha256"):
        convert_encoder.convert(tmp_path / "pretrained.pt", tmp_path / "out.npz")
    notice = (encoder.WEIGHTS.parent / "NOTICE").read_text()
    assert convert_encoder.SOURCE_SHA256 in notice
    assert "Apache License 2.0" in notice

"""Features and encoder equal those of transformers; padding, length and batch change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.adapter import Adapter, AdapterConfig, num_embeddings
from model.encoder import EncoderConfig, WhisperEncoder, load_whisper, num_states
from model.features import log_mel

transformers = pytest.importorskip("transformers")


def wave(seconds: float, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=int(seconds * 16_000)).astype(np.float32) * 0.1)


@pytest.mark.parametrize("seconds", [0.025, 0.5, 2.003, 31.0])
def test_features_equal_whispers(seconds: float) -> None:
    heard = wave(seconds)
    extractor = transformers.WhisperFeatureExtractor()
    reference = extractor(
        heard.numpy(), sampling_rate=16_000, return_tensors="np", padding="longest", truncation=False
    ).input_features[0]
    ours = log_mel(heard)
    assert ours.shape == (len(heard) // 160, 80)
    np.testing.assert_allclose(ours.numpy(), reference.T[: ours.shape[0]], atol=1e-5)


def test_too_short_audio_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 400 samples"):
        log_mel(torch.zeros(399))


@pytest.fixture(scope="module")
def pair() -> tuple[torch.nn.Module, WhisperEncoder]:
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        d_model=64, encoder_layers=3, encoder_attention_heads=4, encoder_ffn_dim=128, decoder_layers=1,
        decoder_attention_heads=2, decoder_ffn_dim=64, vocab_size=100, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    whisper = transformers.WhisperModel(config).eval()
    ours = WhisperEncoder(EncoderConfig(64, 3, 4, 128)).eval()
    load_whisper(ours, whisper.state_dict())
    return whisper, ours


@torch.no_grad()
def test_encoder_equals_whispers_on_padded_input(pair: tuple[torch.nn.Module, WhisperEncoder]) -> None:
    whisper, ours = pair
    mel = torch.randn(2, 3000, 80)
    reference = whisper.encoder(mel.transpose(1, 2)).last_hidden_state
    states, lengths = ours(mel, torch.tensor([3000, 3000]))
    assert lengths.tolist() == [1500, 1500]
    torch.testing.assert_close(states, reference, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("short", [1, 7, 120, 200])
def test_a_recording_in_a_batch_is_as_it_is_alone(pair: tuple[torch.nn.Module, WhisperEncoder], short: int) -> None:
    torch.manual_seed(1)
    encoder = pair[1]
    adapter = Adapter(AdapterConfig(2, 4, 64), 64, 48).eval()
    mel = torch.randn(2, 201, 80)  # the shorter one is followed by noise, not by zeros
    states, lengths = encoder(mel, torch.tensor([201, short]))
    alone, _ = encoder(mel[1:, :short], torch.tensor([short]))
    assert lengths.tolist() == [101, num_states(short)]
    torch.testing.assert_close(states[1, : lengths[1]], alone[0], atol=2e-5, rtol=0)
    heard, sizes = adapter(states, lengths)
    heard_alone, _ = adapter(alone, torch.tensor([num_states(short)]))
    assert sizes.tolist() == [26, num_embeddings(num_states(short))]
    torch.testing.assert_close(heard[1, : sizes[1]], heard_alone[0], atol=2e-5, rtol=0)


@torch.no_grad()
def test_any_length_up_to_the_limit() -> None:
    encoder = WhisperEncoder(EncoderConfig(16, 1, 2, 16, max_positions=2000)).eval()
    states, _ = encoder(torch.randn(1, 3900, 80), torch.tensor([3900]))  # 39 s: past the 30 s of Whisper's own table
    assert states.shape == (1, 1950, 16)
    with pytest.raises(ValueError, match="max_positions"):
        encoder(torch.randn(1, 4100, 80), torch.tensor([4100]))


def test_weights_that_do_not_fit_are_named(pair: tuple[torch.nn.Module, WhisperEncoder]) -> None:
    state = dict(pair[0].state_dict())
    with pytest.raises(ValueError, match="no Whisper encoder"):
        load_whisper(pair[1], {})
    state["encoder.conv2.bias"] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"encoder\.conv2\.bias has the shape \(3,\)"):
        load_whisper(pair[1], state)


def test_adapter_is_causal_in_its_convolutions() -> None:
    """The 12.5 Hz embeddings are made of 80 ms each: four states of 20 ms."""
    assert [num_embeddings(n) for n in (1, 4, 5, 8, 9, 50)] == [1, 1, 2, 2, 3, 13]

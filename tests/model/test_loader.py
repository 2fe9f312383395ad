"""The loader: every item once an epoch, the same batches for any workers and processes, exact resume."""

from __future__ import annotations

import pickle
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import Dialogues, assembler, dialogue, tiny_model

from model.loader import Loader, LoaderConfig, State

ASSEMBLER = assembler(tiny_model())
DATA = Dialogues([dialogue(n, seconds=0.5 + (n % 7) / 4) for n in range(23)])


def loader(**options) -> Loader:
    config = {"tasks": {"understand": 1, "s2s": 1}, "tokens": 1200, "window": 8, "seed": 3, **options}
    return Loader(DATA, ASSEMBLER, LoaderConfig(**config))


def fingerprint(batch) -> tuple:
    return (batch.ids_BL.numpy().tobytes(), batch.mel_ATM.numpy().tobytes())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3), st.integers(1, 40), st.integers(300, 4000), st.booleans())
def test_every_item_comes_once_an_epoch_within_the_limit(epoch: int, window: int, tokens: int, packed: bool) -> None:
    made = loader(window=window, tokens=tokens, packed=packed)
    batches = made.plan(epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(DATA)))
    lengths = made._lengths()
    for batch in batches:
        filled = lengths[batch].sum() if packed else len(batch) * lengths[batch].max()
        assert len(batch) == 1 or filled <= tokens


def test_estimates_bound_the_real_lengths() -> None:
    made = loader(tasks={"think": 1, "think_tag": 1})
    estimates = made._lengths()
    for item in range(len(DATA)):
        assert len(made.sequence(0, item)) <= estimates[item] * 1.15


def test_epochs_differ_and_seeds_differ() -> None:
    orders = {tuple(np.concatenate(loader(seed=seed).plan(epoch)).tolist()) for seed in (1, 2) for epoch in (0, 1)}
    assert len(orders) == 4


def test_resume_is_exact_even_twice_and_across_an_epoch() -> None:
    made = loader()
    whole = list(islice(made.batches(State()), 2 * len(made.plan(0)) + 3))
    for stop in (1, len(made.plan(0)) - 1, len(made.plan(0)), len(made.plan(0)) + 2):
        resumed = list(islice(loader().batches(whole[stop - 1][1]), 2))
        assert [fingerprint(b) for b, _ in resumed] == [fingerprint(b) for b, _ in whole[stop : stop + 2]]
        again = list(islice(loader().batches(resumed[0][1]), 1))
        assert fingerprint(again[0][0]) == fingerprint(resumed[1][0])


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_batches_and_their_number_changes_nothing_else(world: int) -> None:
    alone = [fingerprint(b) for b, _ in islice(loader().batches(State()), 12)]
    shares = [
        [(fingerprint(b), s) for b, s in islice(loader().batches(State(), r, world), 12 // world)] for r in range(world)
    ]
    dealt = [share[step][0] for step in range(12 // world) for share in shares]
    assert dealt == alone
    assert len({str([state for _, state in share]) for share in shares}) == 1, "all agree where they are"
    # Resumed by another number of processes, the order of the batches goes on.
    state = shares[0][0][1]
    assert fingerprint(next(iter(loader().batches(state)))[0]) == alone[world]


@pytest.mark.slow
def test_loading_processes_change_nothing() -> None:
    alone = [fingerprint(b) for b, _ in islice(loader().batches(State(0, 1)), 5)]
    loaded = [fingerprint(b) for b, _ in islice(loader().batches(State(0, 1), workers=2), 5)]
    assert loaded == alone


def test_an_item_that_one_task_cannot_use_takes_another_and_one_that_none_can_is_named() -> None:
    from dataclasses import replace

    mute = replace(dialogue(50), id="mute", turns=(replace(dialogue(50).current, reply_tokens=np.zeros(0, np.int32)),))
    data = Dialogues([dialogue(1), mute])
    both = Loader(data, ASSEMBLER, LoaderConfig({"tts": 1, "understand": 1}, tokens=10_000))
    assert both.make(0, 0).skipped == ()
    only = Loader(data, ASSEMBLER, LoaderConfig({"tts": 1}, tokens=10_000))
    batch = only.make(0, 0)
    assert batch.num_sequences == 1 and batch.skipped == ("mute: tts has no reply tokens",)


def test_a_loader_changes_recordings_as_it_is_told() -> None:
    made = {how: loader(augment=how).make(0, 0).mel_ATM for how in ("none", "light", "release")}
    assert made["none"].shape == made["light"].shape
    assert not torch.equal(made["none"], made["light"]) and not torch.equal(made["light"], made["release"])


def test_a_loader_travels_to_other_processes() -> None:
    made = pickle.loads(pickle.dumps(loader()))
    assert fingerprint(made.make(0, 0)) == fingerprint(loader().make(0, 0))


def test_a_wrong_mix_is_refused() -> None:
    with pytest.raises(ValueError, match="'singing' is not a task"):
        LoaderConfig({"singing": 1})
    with pytest.raises(ValueError, match="above zero"):
        LoaderConfig({"tts": 0})

"""Training: it learns, resumes to the bit, freezes to the bit, stops when told, and says what went wrong."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import Dialogues, dialogue, tiny_config, tokenizer

from manifests.errors import UserError, WorkFailedError
from model.checkpoint import latest, read_about, read_weights
from model.echat import PARTS, EChat
from model.generate import Generator
from model.metrics import METRICS
from model.optimize import rate
from model.recipe import StageRecipe, TrainManifest, load_recipe
from model.setup import load_model
from model.trainer import Trainer, train_here

CPU = torch.device("cpu")


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Trainer]:
    """Trains tiny models on dialogues in memory."""
    monkeypatch.setattr("model.trainer.check_codebook", lambda *_: None)

    def model_of(recipe: Any, text: Any, seed: int) -> EChat:
        torch.manual_seed(seed)
        return EChat(tiny_config(dropout=recipe.dropout or 0.0))

    monkeypatch.setattr("model.trainer.model_of", model_of)

    def run(
        out: str,
        samples: int = 12,
        validation: int = 0,
        watch: Any = lambda m: None,
        of: Any = dialogue,
        **changes: Any,
    ) -> Trainer:
        data = Dialogues([of(n, 1 + n % 2) for n in range(samples)])
        held = Dialogues([dialogue(n) for n in range(100, 100 + validation)]) if validation else None
        monkeypatch.setattr("model.trainer.datasets_of", lambda recipe, seed: (data, held))
        return train_here(recipe(**changes), tmp_path / out, CPU, watch)

    return run


def recipe(**changes: Any) -> TrainManifest:
    values: dict[str, Any] = {
        "name": "tiny", "data": {"shards": "unused"}, "batch": {"tokens": 900, "window": 6},
        "stages": [
            {"name": "one", "steps": 6, "tasks": {"understand": 1, "s2s": 1}, "warmup": 2},
            {"name": "two", "steps": 6, "tasks": {"think": 1}, "warmup": 2, "trainable": ["llm", "speech"]},
        ],
        "checkpoint": {"every": 2, "keep": 2}, "validate_every": 3, "threads": 1, "model": {"dropout": 0.1},
    }  # fmt: skip
    return TrainManifest.model_validate(values | changes)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    newest = latest(folder)
    assert newest is not None
    return read_weights(newest)


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_stages_run_in_order_and_leave_what_they_promise(train: Callable[..., Trainer], tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    trainer = train("run", validation=2, watch=seen.append)
    assert trainer.finished and trainer.progress.total == 12
    lines = [json.loads(line) for line in (tmp_path / "run" / METRICS).read_text().splitlines()]
    assert lines == seen and [line["stage"] for line in lines] == ["one", "one", "two", "two"]
    assert all(np.isfinite(line["loss"]) and line["validation_loss"] > 0 for line in lines)
    kept = sorted(path.name for path in (tmp_path / "run").glob("step-*"))
    assert kept == ["step-000006", "step-000010", "step-000012"], "two newest, and the end of each stage"
    assert not list((tmp_path / "run").glob("*.tmp*"))


def test_frozen_parts_do_not_move_by_a_bit(train: Callable[..., Trainer], tmp_path: Path) -> None:
    train("run")
    first = read_weights(tmp_path / "run" / "step-000006")
    last = read_weights(tmp_path / "run" / "step-000012")
    frozen = [name for name in first if name.startswith(("encoder.", "adapter."))]
    assert frozen and all(torch.equal(first[name], last[name]) for name in frozen)
    assert not torch.equal(first["speech_head.weight"], last["speech_head.weight"])
    assert not torch.equal(
        first["llm.model.layers.0.mlp.up_proj.weight"], last["llm.model.layers.0.mlp.up_proj.weight"]
    )


@pytest.mark.parametrize("stop", [1, 3, 6, 8])
def test_stopped_and_resumed_training_equals_an_undisturbed_one(
    train: Callable[..., Trainer], tmp_path: Path, stop: int
) -> None:
    """With dropout, in the middle of a stage and at its end, twice."""
    train("whole")
    for limit in (stop, stop + 1):
        original = Trainer._step

        def step(self: Trainer, *args: Any, limit: int = limit, original: Any = original) -> Any:
            if self.progress.total + 1 >= limit:
                self.stop()
            return original(self, *args)

        Trainer._step = step  # type: ignore[method-assign]
        try:
            stopped = train("parts")
        finally:
            Trainer._step = original  # type: ignore[method-assign]
        assert stopped.progress.total == limit and not stopped.finished
    assert train("parts").finished
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


@pytest.mark.slow
def test_sigterm_saves_and_ends(train: Callable[..., Trainer], tmp_path: Path) -> None:
    def kill(metrics: Any) -> None:
        if metrics["total"] == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    stopped = train("run", watch=kill)
    assert 3 <= stopped.progress.total < 12 and signal.getsignal(signal.SIGTERM) is before
    newest = latest(tmp_path / "run")
    assert newest is not None and read_about(newest)["progress"]["total"] == stopped.progress.total


def test_another_manifest_in_the_same_folder_is_refused(train: Callable[..., Trainer]) -> None:
    train("run")
    assert train("run", checkpoint={"every": 5}, validate_every=2).finished, "reporting may change"
    with pytest.raises(WorkFailedError, match="holds another training"):
        train("run", seed=5)


def test_accumulated_batches_equal_one_batch(train: Callable[..., Trainer], tmp_path: Path) -> None:
    """The mean is over all targets of a step, however they are cut."""
    stages = [{"name": "one", "steps": 1, "tasks": {"s2s": 1}, "warmup": 1, "augment": "none"}]
    options = {"stages": stages, "model": {}, "samples": 8}
    train("one", batch={"tokens": 100_000, "window": 8}, **options)
    eight = train("eight", batch={"tokens": 1, "window": 8, "accumulate": 8}, **options)
    assert len(eight.loader(eight.recipe.stages[0]).plan(0)) == 8
    one = weights(tmp_path / "one")
    for name, tensor in weights(tmp_path / "eight").items():
        torch.testing.assert_close(tensor, one[name], atol=1e-5, rtol=0, msg=name)


def test_a_loss_that_is_no_number_stops_and_names_the_batch(train: Callable[..., Trainer], tmp_path: Path) -> None:
    stages = [{"name": "one", "steps": 50, "tasks": {"s2s": 1}, "warmup": 1, "lr": 1e30}]
    with pytest.raises(WorkFailedError, match=r"stage one, step \d+ is no number: batch \d+ of epoch \d+"):
        train("run", stages=stages, optimizer={"clip": 1e30})
    assert json.loads((tmp_path / "run" / "nan-rank0.json").read_text())["stage"] == "one"


@pytest.mark.slow
def test_sixteen_dialogues_are_learnt_by_heart(train: Callable[..., Trainer], tmp_path: Path) -> None:
    stages = [{"name": "all", "steps": 240, "tasks": {"think": 1}, "warmup": 20, "lr": 8e-3, "augment": "none"}]
    quiet = {"batch": {"tokens": 4000}, "validate_every": 40, "checkpoint": {"every": 1000}}
    # Short sounds and few speech tokens, which are random: what costs the most steps to learn.
    short = partial(dialogue, seconds=0.4, tokens=20)
    trainer = train("run", 16, of=short, stages=stages, model={}, **quiet)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / METRICS).read_text().splitlines()]
    assert losses[-1] < 0.05 < 3 < losses[0]
    samples = [trainer.train_data.load(item) for item in range(16)]
    prompts = [trainer.assembler.assemble(sample, "think", answer=False) for sample in samples]
    replies = Generator(trainer.model, tokenizer()).generate(prompts, "think")
    for sample, reply in zip(samples, replies, strict=True):
        turn = sample.current
        assert (reply.think, reply.text) == (turn.think_text, turn.reply_text)
        assert reply.speech.tolist() == turn.reply_tokens.tolist()


def test_bf16_checkpointing_and_packing_train_as_fp32_does(train: Callable[..., Trainer], tmp_path: Path) -> None:
    def losses(out: str, **options: Any) -> list[float]:
        train(out, model={}, **options)
        return [json.loads(line)["loss"] for line in (tmp_path / out / METRICS).read_text().splitlines()]

    plain = losses("plain")
    assert losses("again", checkpointing=True) == pytest.approx(plain, abs=1e-4)
    assert losses("bf16", precision="bf16") == pytest.approx(plain, rel=0.02)
    packed = {"batch": {"tokens": 900, "window": 6, "packed": True}}
    assert losses("packed", **packed)[0] == pytest.approx(plain[0], rel=0.2), "other batches, the same task"


def test_learning_rates() -> None:
    stage = StageRecipe(name="s", steps=100, tasks={"tts": 1}, lr=1.0, warmup=10, schedule="inverse_sqrt")
    assert rate(stage, 0) == 0.1 and rate(stage, 9) == 1.0 and rate(stage, 39) == 0.5
    cosine = stage.model_copy(update={"schedule": "cosine"})
    assert rate(cosine, 9) == 1.0 and abs(rate(cosine, 99) - 0.05) < 1e-9
    assert rate(stage.model_copy(update={"schedule": "constant"}), 99) == 1.0


def test_a_checkpoint_loads_anywhere_and_a_damaged_one_is_refused(
    train: Callable[..., Trainer], tmp_path: Path
) -> None:
    trainer = train("run")
    newest = latest(tmp_path / "run")
    assert newest is not None
    model, text = load_model(newest)
    assert len(text) == len(tokenizer())
    assert equal(dict(model.state_dict()), dict(trainer.model.state_dict()))
    (newest / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match="cannot be read"):
        load_model(newest)
    with pytest.raises(UserError, match="is no checkpoint"):
        load_model(tmp_path)


def test_no_pickle_runs_when_a_checkpoint_is_loaded(train: Callable[..., Trainer], tmp_path: Path) -> None:
    import pickle

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "exploded",))

    train("run")
    newest = latest(tmp_path / "run")
    assert newest is not None
    (newest / "optimizer.pt").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(pickle.UnpicklingError):
        train("run")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\ndata: {shards: a}\nstages: []\n", "stages"),
        ("name: x\ndata: {}\nstages: [{name: a, steps: 1, tasks: {tts: 1}}]\n", "name one of shards and corpus"),
        ("name: x\ndata: {shards: a}\nstages: [{name: a, steps: 1, tasks: {sing: 1}}]\n", "'sing' is not a task"),
        ("name: x\ndata: {shards: a}\nstages: [{name: a, steps: 1, tasks: {tts: 1}, trainable: [ear]}]\n", "'ear'"),
        ("name: x\ndata: {shards: a}\nspeed: 3\nstages: [{name: a, steps: 1, tasks: {tts: 1}}]\n", "speed"),
    ],
)
def test_wrong_manifests_are_refused_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load_recipe(path)
    assert "train.yaml" in str(caught.value)


def test_parts_cover_every_weight() -> None:
    model = EChat(tiny_config())
    counted = sum(p.numel() for name in PARTS for p in model.part(name))
    assert counted == sum(p.numel() for p in model.parameters())


def test_lora_moves_its_own_weights_alone() -> None:
    pytest.importorskip("peft")
    model = EChat(replace(tiny_config(), lora={"r": 4, "target_modules": ["q_proj", "v_proj"]}))
    model.set_trainable(("llm",))
    moving = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert moving and all("lora_" in name for name in moving)


def _distributed(rank: int, port: int, out: str, kind: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": "2"}
    import model.trainer as module

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    module.check_codebook = lambda *_: None
    module.datasets_of = lambda recipe, seed: (Dialogues([dialogue(n, 1 + n % 2) for n in range(8)]), None)

    def model_of(recipe: Any, text: Any, seed: int) -> EChat:
        torch.manual_seed(seed)
        return EChat(tiny_config())

    module.model_of = model_of
    train_here(_joint(kind), Path(out), CPU)
    torch.distributed.destroy_process_group()


def _joint(kind: str, accumulate: int = 1) -> TrainManifest:
    stage = {"name": "one", "steps": 4, "tasks": {"s2s": 1, "understand": 1}, "warmup": 2, "augment": "none"}
    batch = {"tokens": 700, "window": 8, "accumulate": accumulate}
    # With a large eps an update is in proportion to the gradient, also where that is almost zero.
    return recipe(stages=[stage], workers={"count": 2, "kind": kind}, optimizer={"eps": 0.1}, batch=batch, model={})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_equal_one_on_the_joined_batches(
    train: Callable[..., Trainer], tmp_path: Path, kind: str
) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(_distributed, (port, str(tmp_path / "two"), kind), nprocs=2)
    joint = _joint(kind, accumulate=2)
    train("one", 8, **{key: joint.model_dump()[key] for key in ("stages", "batch", "model", "optimizer")})
    one = weights(tmp_path / "one")
    for name, tensor in weights(tmp_path / "two").items():
        torch.testing.assert_close(tensor, one[name], atol=2e-5, rtol=0, msg=name)


def test_stop_may_come_from_another_thread(train: Callable[..., Trainer]) -> None:
    done: list[Trainer] = []
    thread = threading.Thread(target=lambda: done.append(train("run")))
    thread.start()
    thread.join()
    assert done[0].finished, "signal handlers are set in the main thread alone"

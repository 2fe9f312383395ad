"""Trainer: useful tokens a second, against a plain loop over the same model and the same dialogues in the same run.

The plain loop is what one writes first with Hugging Face: batches of a fixed number of dialogues in random order,
padded to the longest, scores of the whole vocabulary at every place, labels of -100 where nothing is asked. Ours
sorts by length (or packs, on a GPU, each dialogue attending to itself alone), makes scores only where the loss asks for
them, and may be compiled. Both see as many dialogues a step, of lengths drawn like those of a spoken-dialogue set;
weights are random. MFU counts what a step needs: the language model at each place that holds something, the heads at
places that are asked for, the encoder at each state; padding and attention's own products count nothing. Claims, on a
GPU with the preset 3b: twice the plain loop, and half of the card's peak (MFU). On a CPU the preset nano is run and the
ratio printed.

    python benchmarks/trainer.py [--preset nano] [--device cpu] [--steps 12] [--tokens 3700] [--compile]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from manifests.think import render_tag
from model.assemble import Assembler
from model.batch import Batch, collate
from model.datasets import Lengths
from model.echat import EChat, preset
from model.loader import Loader, LoaderConfig, State
from model.optimize import Cost, optimizer_of, peak_flops
from model.recipe import OptimizerRecipe
from model.sample import Sample, Turn
from model.text import TextTokenizer

RESULTS = Path(__file__).parent / "results"
TASKS = {"understand": 1.0, "think_tag": 1.0, "s2s": 1.0, "tts": 0.5}
_WORDS = tuple(
    "could you help me find the box that I lost on Friday before the bus comes to our street again".split()  # noqa: SIM905
)


class Drawn:
    """Dialogues of drawn lengths: queries of 1.5 to 9 s, replies of 8 to 60 words with speech at 25 tokens a second."""

    def __init__(self, count: int, codebook: int) -> None:
        rng = np.random.default_rng(0)
        self.codebook = codebook
        self.frames = np.clip(rng.lognormal(1.2, 0.5, count) * 100, 150, 900).astype(int)
        self.words = np.clip(rng.lognormal(3.0, 0.5, count), 8, 60).astype(int)
        self.tokens = (self.words * 0.36 * 25).astype(int)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def lengths(self) -> Lengths:
        return Lengths(self.frames, self.words * 14 + 130, self.tokens)

    def load(self, item: int, audio: bool = True) -> Sample:
        rng = np.random.default_rng(item)
        labels = {"emotion": "sad", "gender": "female", "age": "adult", "event": "none"}
        query, reply = (" ".join(rng.choice(_WORDS, count)) for count in (10, self.words[item]))
        mel = torch.from_numpy(rng.normal(size=(self.frames[item], 80)).astype(np.float32))
        tokens = rng.integers(0, self.codebook, self.tokens[item]).astype(np.int32)
        tag = render_tag(query, labels, "comforting")
        turn = Turn(
            query_text=query, reply_text=reply, think_tag=tag, reply_emotion="comforting", labels=labels,
            frames=int(self.frames[item]), mel=mel, reply_tokens=tokens,
        )  # fmt: skip
        return Sample(str(item), (turn,))


def plain_loss(model: EChat, batch: Batch) -> torch.Tensor:
    """Mean loss as a plain loop has it: scores at every place of a padded batch."""
    logits_BLV = model.logits(model.hidden(batch))
    labels_M = torch.full((batch.ids_BL.numel(),), -100, device=batch.ids_BL.device)
    labels_M[batch.asked_N] = batch.targets_N
    return F.cross_entropy(logits_BLV.flatten(0, 1).float(), labels_M)


def our_loss(model: EChat, batch: Batch) -> torch.Tensor:
    """Mean loss of ours."""
    loss, targets = model(batch)
    return loss / targets


def plain_batches(loader: Loader, size: int) -> Iterator[Batch]:
    """Batches of `size` dialogues in random order, a padded row each."""
    order = np.random.default_rng(1).permutation(len(loader.dataset)).tolist()
    for start in range(0, len(order) - size + 1, size):
        yield collate([loader.sequence(0, item) for item in order[start : start + size]], packed=False)


def run(
    model: EChat, steps: list[list[Batch]], loss_of: Callable[[EChat, Batch], torch.Tensor], device: torch.device
) -> dict[str, Any]:
    """Train on some batches, one or more a step; the first two steps warm up and do not count."""
    ours = loss_of is our_loss
    optimizer = optimizer_of(model, OptimizerRecipe(), 1e-5) if ours else torch.optim.AdamW(model.parameters(), 1e-5)
    cost, flops = Cost.of(model), 0.0
    useful = places = 0
    started = 0.0
    model.train()
    for number, batches in enumerate(steps):
        if number == 2:
            _wait(device)
            started, useful, places, flops = time.perf_counter(), 0, 0, 0.0
        for batch in batches:
            moved = batch.to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = loss_of(model, moved) / len(batches)
            loss.backward()
            useful += int((batch.segments_BL >= 0).sum())
            places += batch.ids_BL.numel()
            flops += cost(batch)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    _wait(device)
    seconds = time.perf_counter() - started
    result = {"tokens_per_s": round(useful / seconds, 1), "padding": round(1 - useful / places, 4)}
    peak = peak_flops(device)
    if peak:
        result["mfu"] = round(flops / seconds / peak, 4)
        result["gpu_gb"] = round(torch.cuda.max_memory_allocated(device) / 1e9, 2)
        torch.cuda.reset_peak_memory_stats(device)
    return result


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    """Measure both, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    gpu = torch.cuda.is_available()
    parser.add_argument("--preset", default="3b" if gpu else "nano")
    parser.add_argument("--device", default="cuda" if gpu else "cpu")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=3700, help="places in a batch of ours; the paper's limit")
    parser.add_argument("--plain-rows", type=int, default=8, help="most dialogues in a batch of the plain loop")
    parser.add_argument("--compile", action="store_true", help="torch.compile ours, as a manifest's `compile: true`")
    parser.add_argument("--dialogues", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.manual_seed(0)
    with device:
        model = EChat(preset(options.preset))
    assembler = Assembler(TextTokenizer.load(), model.vocabulary)
    data = Drawn(options.dialogues, model.config.codebook_size)
    loader = Loader(data, assembler, LoaderConfig(TASKS, tokens=options.tokens, packed=device.type == "cuda"))
    began = time.perf_counter()
    ours = [[batch] for batch, _ in islice(loader.batches(State()), options.steps)]
    making = (time.perf_counter() - began) / len(ours)
    size = max(1, round(sum(group[0].num_sequences for group in ours) / len(ours)))
    # A plain loop holds fewer dialogues at once; it accumulates until it has seen as many in a step.
    rows = min(size, options.plain_rows)
    parts = max(1, round(size / rows))
    padded = list(islice(plain_batches(loader, rows), options.steps * parts))
    plain = [padded[start : start + parts] for start in range(0, len(padded), parts)]
    if options.compile:
        model.compile_parts()
    rounds = []
    for _ in range(options.rounds):
        one = {"ours": run(model, ours, our_loss, device)}
        with torch.compiler.set_stance("force_eager"):
            one["plain"] = run(model, plain, plain_loss, device)
        rounds.append(one)
        print(json.dumps(one), flush=True)
    ratios = sorted(r["ours"]["tokens_per_s"] / r["plain"]["tokens_per_s"] for r in rounds)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    document = {
        "preset": options.preset, "device": name, "parameters": sum(p.numel() for p in model.parameters()),
        "torch": torch.__version__, "threads": torch.get_num_threads(), "load": os.getloadavg()[0],
        "places": options.tokens, "compile": options.compile, "dialogues_in_a_step": size, "plain_rows": rows,
        "seconds_to_make_a_batch": round(making, 3), "rounds": rounds, "ratio": round(ratios[len(ratios) // 2], 3),
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }  # fmt: skip
    print(f"{options.preset} on {name}: {document['ratio']} times the plain loop")
    RESULTS.mkdir(exist_ok=True)
    where = f"gpu_{options.tokens}" if device.type == "cuda" else "cpu"
    path = RESULTS / f"trainer_{options.preset}_{where}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

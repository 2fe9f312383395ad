"""Trainer: useful tokens a second, against a plain loop over the same model and the same dialogues in the same run.

The plain loop is what one writes first with Hugging Face: batches of a fixed number of dialogues in random order,
padded to the longest, scores of the whole vocabulary at every place, labels of -100 where nothing is asked. Ours
sorts by length (or packs, on a GPU) and makes scores only where the loss asks for them. Both see dialogues whose
lengths are drawn like those of a spoken-dialogue set; weights are random. Claims, on a GPU with the preset 3b: twice
the plain loop, and half of the card's peak (MFU). On a CPU the preset nano is run and the ratio printed.

    python benchmarks/trainer.py [--preset nano] [--device cpu] [--steps 12]
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
from model.optimize import flops_per_place, peak_flops
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
        turn = Turn(query, reply, tag, "", "comforting", labels, int(self.frames[item]), mel, tokens)
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
    model: EChat, batches: list[Batch], loss_of: Callable[[EChat, Batch], torch.Tensor], device: torch.device
) -> dict[str, Any]:
    """Train on some batches; the first two warm up and do not count."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-5)
    useful = places = 0
    started = 0.0
    model.train()
    for number, batch in enumerate(batches):
        if number == 2:
            _wait(device)
            started, useful, places = time.perf_counter(), 0, 0
        moved = batch.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = loss_of(model, moved)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        useful += int((batch.segments_BL >= 0).sum())
        places += batch.ids_BL.numel()
    _wait(device)
    seconds = time.perf_counter() - started
    result = {"tokens_per_s": round(useful / seconds, 1), "padding": round(1 - useful / places, 4)}
    peak = peak_flops(device)
    if peak:
        result["mfu"] = round(flops_per_place(model) * useful / seconds / peak, 4)
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
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.manual_seed(0)
    model = EChat(preset(options.preset)).to(device)
    text = TextTokenizer.load()
    assembler = Assembler(text, model.vocabulary)
    data = Drawn(600, model.config.codebook_size)
    loader = Loader(data, assembler, LoaderConfig(TASKS, tokens=options.tokens, packed=device.type == "cuda"))
    ours = [batch for batch, _ in islice(loader.batches(State()), options.steps)]
    size = max(1, round(sum(batch.num_sequences for batch in ours) / len(ours)))
    plain = list(islice(plain_batches(loader, size), options.steps))
    rounds = []
    for _ in range(options.rounds):
        rounds.append({"ours": run(model, ours, our_loss, device), "plain": run(model, plain, plain_loss, device)})
        print(json.dumps(rounds[-1]), flush=True)
    ratios = sorted(r["ours"]["tokens_per_s"] / r["plain"]["tokens_per_s"] for r in rounds)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    document = {
        "preset": options.preset, "device": name, "parameters": sum(p.numel() for p in model.parameters()),
        "torch": torch.__version__, "threads": torch.get_num_threads(), "load": os.getloadavg()[0],
        "dialogues_in_a_batch": size, "rounds": rounds, "ratio": round(ratios[len(ratios) // 2], 3),
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }  # fmt: skip
    print(f"{options.preset} on {name}: {document['ratio']} times the plain loop")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"trainer_{options.preset}_{'gpu' if device.type == 'cuda' else 'cpu'}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

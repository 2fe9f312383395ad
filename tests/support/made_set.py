"""Sets of shards made by hand: any texts, labels, turns and ids, without a build."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

QUERY_RATE, REPLY_RATE = 24_000, 16_000


def tone(hz: float, seconds: float, rate: int) -> bytes:
    """A pure tone as FLAC."""
    wave = 0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    stream = io.BytesIO()
    soundfile.write(stream, wave, rate, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def turn(
    number: int = 0, query: str = "Where is my scarf?", reply: str = "On the chair.", **changes: Any
) -> dict[str, Any]:
    """The JSON of a turn; `changes` go to `requested`, but for `cues`, `reply_emotion`, `speaker`, `think_tag`."""
    requested = {"age": "adult", "gender": "female", "emotion": "sad", "event": "none", "intensity": 0.5}
    requested |= {name: value for name, value in changes.items() if name in requested}
    emotion = changes.get("reply_emotion", "comforting")
    words = query.replace("<", " ").replace(">", " ")
    tag = (
        f"<think>heard: {words} | age=<ADULT> | gender=<FEMALE> | emotion=<SAD> | sound=<OTHER>"
        f" | reply_emotion=<{emotion}>; answer<think end>"
    )
    return {
        "turn": number,
        "cues": changes.get("cues", ["emotion"]),
        "think_text": f"They say: {words}. It sounds heavy.",
        "think_tag": changes.get("think_tag", tag),
        "query": {
            "text": query, "synthetic": True, "wer": 0.0, "seconds": 0.5 + 0.1 * number, "sample_rate": QUERY_RATE,
            "voice": "v1", "speaker": changes.get("speaker", "s1"), "requested": requested, "quality": {"snr_db": 30.0},
        },
        "reply": {
            "text": reply, "synthetic": True, "wer": 0.0, "seconds": 0.8, "sample_rate": REPLY_RATE,
            "voice": "assistant", "emotion": emotion, "quality": {"snr_db": 35.0},
            "num_tokens": 20, "token_rate": 25, "codebook_size": 1024,
        },
    }  # fmt: skip


def dialogue(
    name: str, turns: Iterable[Mapping[str, Any]] = (), split: str = "train", **changes: Any
) -> dict[str, Any]:
    """The JSON of a dialogue, of one turn unless `turns` are given."""
    several = [dict(item) for item in turns] or [turn()]
    return {
        "id": name, "split": split, "task": "emotion", "language": "en", "query_language": "en",
        "source": "synthetic", "pair": "", "num_turns": len(several),
        "corpus": {"name": "", "licence": "", "consent": ""}, "turns": several,
    } | changes  # fmt: skip


def sound(document: Mapping[str, Any], number: int, role: str) -> bytes:
    """The FLAC of a turn, as `members` has it: a tone of a pitch of its own."""
    hz = 200 + int(hashlib.sha256(f"{document['id']}{number}{role}".encode()).hexdigest()[:4], 16) % 800
    spoken = document["turns"][number][role]
    return tone(hz, spoken["seconds"], QUERY_RATE if role == "query" else REPLY_RATE)


def codes(document: Mapping[str, Any], number: int) -> np.ndarray:
    """The speech tokens of a turn's reply."""
    return ((np.arange(document["turns"][number]["reply"]["num_tokens"]) * 7 + number) % 1024).astype(np.int32)


def members(document: Mapping[str, Any]) -> dict[str, bytes]:
    """Names and contents of a dialogue in a tar."""
    out = {}
    for number in range(len(document["turns"])):
        stream = io.BytesIO()
        np.save(stream, codes(document, number))
        out[f"{document['id']}.{number}.query.flac"] = sound(document, number, "query")
        out[f"{document['id']}.{number}.reply.flac"] = sound(document, number, "reply")
        out[f"{document['id']}.{number}.reply_tokens.npy"] = stream.getvalue()
    out[f"{document['id']}.json"] = json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return out


def write_tar(path: Path, contents: Iterable[tuple[str, bytes]]) -> None:
    """A tar of any members."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in contents:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def make_set(folder: Path, documents: Iterable[Mapping[str, Any]], **changes: Any) -> Path:
    """A folder of shards with the dialogues; `changes` go to `dataset.json`."""
    folder.mkdir(parents=True)
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for document in documents:
        groups[document["split"], len(document["turns"])].append(document)
    shards = []
    for (split, turns), own in groups.items():
        path = folder / f"{split}-{turns}turn-00000.tar"
        write_tar(path, (item for document in own for item in members(document).items()))
        data = path.read_bytes()
        shards.append({
            "name": path.name, "split": split, "num_turns": turns, "rows": len(own), "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(), "query_seconds": 0.0, "reply_seconds": 0.0,
        })  # fmt: skip
    dataset = {
        "format": "echat-shards", "version": 4, "name": "made", "language": "en", "publishable": True,
        "rows": sum(shard["rows"] for shard in shards), "seconds": 0.0, "shards": shards,
        "engines": {"tokenize": ["kmeans/1"]}, "licences": {"voices": ["CC0-1.0"]},
    } | changes  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(dataset, ensure_ascii=False))
    return folder

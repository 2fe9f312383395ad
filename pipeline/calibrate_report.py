"""The outcome of a calibration for people: tables, and a picture of each annotator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from manifests.labels import family_of

CONSISTENCY = "consistency check only"

Rows = list[tuple[Any, ...]]


def summary(document: Mapping[str, Any], slots: Sequence[str]) -> tuple[list[str], Rows]:
    """Headers and a row an annotator; `document` is that of `pipeline.calibrate`."""
    headers = ["annotator", "engine", "clips", "accuracy", "UAR", "among its labels", "chance", "ECE", "note"]
    rows = []
    for slot in slots:
        one = document[slot]
        note = [CONSISTENCY] if one["consistency_only"] else []
        note += [one["trained"]] if one["trained"] != "as shipped" else []
        values = [one.get(name) for name in ("accuracy", "uar", "uar_shared", "chance", "ece")]
        figures = ["-" if value is None else f"{value:.3f}" for value in values]
        rows.append((slot, one["engine"], one["clips"], *figures, "; ".join(note)))
    return headers, rows


def confusion(one: Mapping[str, Any]) -> tuple[list[str], Rows]:
    """Headers and a row a true label: recall, then the number of clips by answer."""
    matrix = one["confusion"]
    answers = list(next(iter(matrix.values())))
    rows = [
        (label, sum(counts.values()), f"{one['recall'][label]:.3f}", *counts.values())
        for label, counts in matrix.items()
    ]
    return ["label", "clips", "recall", *(f"heard {answer}" for answer in answers)], rows


def remarks(document: Mapping[str, Any], slots: Sequence[str]) -> list[str]:
    """What the figures leave out, a sentence each."""
    corpus, said = document["corpus"], [f"Enrolment: {document['enrolment']['protocol']}."]
    number = document["enrolment"]["scored_without_reference"]
    if document["enrolment"]["clips_per_speaker"] and number:
        said.append(f"{number} clips were scored without a reference of their speaker.")
    for family in sorted({family_of(slot) for slot in slots} & corpus["unknown_labels"].keys()):
        labels = corpus["unknown_labels"][family]
        counts = ", ".join(f"{label} ({clips})" for label, clips in labels.items())
        said.append(f"Left out of {family}, as they are none of our labels: {counts}.")
    for kind, how in (("broken", "could not be read"), ("duplicates", "sound the same as an earlier one")):
        files = corpus[kind]
        if files:
            first = "; ".join(f"{one['file']} ({one.get('why') or one['of']})" for one in files[:5])
            said.append(f"{len(files)} files {how}: {first}{' ...' if len(files) > 5 else ''}.")
    said += [f"Left out {pair}: {why}." for pair, why in document["skipped"].items()]
    for slot in slots:
        other = document[slot].get("unlabelled")
        if other:
            counts = ", ".join(f"{label} {clips}" for label, clips in other["answers"].items())
            said.append(f"{slot}: {other['clips']} clips have no label; heard in them: {counts}.")
        if document[slot]["consistency_only"]:
            said.append(
                f"{slot}: checks that our own synthesis is consistent; it says nothing reliable about real people."
            )
    return said


def draw(slot: str, one: Mapping[str, Any], corpus: str, path: Path) -> None:
    """Draw the confusion and the reliability diagram of one annotator.

    Args:
        slot: Its name.
        one: Its scores, of at least one clip.
        corpus: Name of the corpus.
        path: The PNG to write.
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    matrix = one["confusion"]
    truths, answers = list(matrix), list(next(iter(matrix.values())))
    counts = np.array([list(row.values()) for row in matrix.values()])
    figure = Figure(figsize=(11, 5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=[1.3, 1])
    trained = "" if one["trained"] == "as shipped" else f", {one['trained']}"
    note = f" ({CONSISTENCY})" if one["consistency_only"] else ""
    figure.suptitle(f"{slot} by {one['engine']} on {corpus}{trained}{note}", fontsize=11)

    shares = counts / counts.sum(axis=1, keepdims=True)
    left.imshow(shares, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for row, column in np.ndindex(counts.shape):
        shade = "white" if shares[row, column] > 0.6 else "black"
        left.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=8, color=shade)
    left.set_xticks(range(len(answers)), answers, rotation=40, ha="right")
    left.set_yticks(range(len(truths)), [f"{name} ({one['recall'][name]:.2f})" for name in truths])
    left.set_xlabel("heard")
    left.set_ylabel("label (recall)")
    left.set_title(f"{one['clips']} clips: accuracy {one['accuracy']:.3f}, UAR {one['uar']:.3f}", fontsize=10)

    bins = one["reliability"]
    width = 1 / len(bins)
    filled = [(place, entry) for place, entry in enumerate(bins) if entry["clips"]]
    places = [(place + 0.5) * width for place, _ in filled]
    right.bar(places, [entry["accuracy"] for _, entry in filled], width * 0.92, color="#3b75af")
    right.plot([0, 1], [0, 1], "--", color="grey", linewidth=1)
    for place, entry in filled:
        where = ((place + 0.5) * width, entry["accuracy"] + 0.01)
        right.annotate(str(entry["clips"]), where, ha="center", va="bottom", fontsize=7)
    right.set(xlim=(0, 1), ylim=(0, 1.08), xlabel="confidence", ylabel="accuracy (clips above the bar)")
    right.set_title(f"calibration error {one['ece']:.3f}", fontsize=10)
    figure.savefig(path, metadata={"Software": None})

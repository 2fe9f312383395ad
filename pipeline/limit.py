"""A small run in the proportions of a large one, to see that all of it works before it costs anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from manifests.run import RunManifest


def limited(
    manifest: RunManifest, quotas: Mapping[tuple[str, str], int], labels: Mapping[str, Sequence[str]], number: int
) -> RunManifest:
    """The manifest with quotas that sum to `number`, each label's in proportion (largest remainders, in order).

    The ids are those of the large run's first dialogues: building on in the same folder without a limit keeps them.

    Args:
        quotas: Of the manifest, by task and label.
        labels: Those that the pairs of each task are drawn from (`Planner.rivals`): they stay named, if by 0, or the
            dialogues would be others.
    """
    total = sum(quotas.values())
    if number >= total:
        return manifest
    shares = {key: number * count / total for key, count in quotas.items()}
    counts = {key: int(share) for key, share in shares.items()}
    by_remainder = sorted(shares, key=lambda key: counts[key] - shares[key])
    for key in by_remainder[: number - sum(counts.values())]:
        counts[key] += 1
    small = {task: {label: counts.get((task, label), 0) for label in names} for task, names in labels.items()}
    return manifest.model_copy(update={"plan": manifest.plan.model_copy(update={"quotas": small})})

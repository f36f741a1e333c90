"""What the seed alone changes: runs of the same config, and how far their scores lie apart."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from fashion_jax.config import flatten

SCORES = ("loss", "accuracy", "macro_f1", "auroc")


def seed_groups(configs: Sequence[ConfigDict]) -> list[list[int]]:
    """Indices of the runs, two or more, whose configs differ in nothing but the seed; of equal seeds the first run."""
    groups: dict[str, dict[int, int]] = {}
    for i, config in enumerate(configs):
        others = repr(sorted(pair for pair in flatten(config).items() if pair[0] != "seed"))
        groups.setdefault(others, {}).setdefault(config.seed, i)
    return [list(members.values()) for members in groups.values() if len(members) > 1]


def spread(scores: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """SCORES -> mean and std of runs: the sample standard deviation, by n - 1."""
    values = {name: [float(x[name]) for x in scores] for name in SCORES}
    return {name: {"mean": statistics.mean(x), "std": statistics.stdev(x)} for name, x in values.items()}


def over_seeds(configs: Sequence[ConfigDict], assessments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each of the seed_groups: the runs' indices, their seeds, and level -> spread.

    Args:
        configs: of the runs.
        assessments: of the runs, as assessment.assess makes them.
    """
    found = []
    for group in seed_groups(configs):
        scores = [assessments[i]["levels"] for i in group]
        levels = {level: spread([x[level] for x in scores]) for level in scores[0]}
        found.append({"runs": group, "seeds": [configs[i].seed for i in group], "levels": levels})
    return found

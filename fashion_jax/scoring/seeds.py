"""What the seed alone changes: runs of the same config, and how far their scores lie apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fashion_jax.config.loading import flatten

_ELSEWHERE = ("data.path", "data.cache", "data.cache_dir", "log_every_steps")  # the same run at another place
SCORES = ("loss", "accuracy", "macro_f1", "auroc")


def seed_groups(configs: Sequence[ConfigDict], ids: Sequence[Sequence[str]]) -> list[list[int]]:
    """Indices of the runs, two or more, that differ in nothing but the seed; of equal seeds the first run.

    Args:
        configs: of the runs; where the data lie and are cached does not count.
        ids: of the images that each was measured on.
    """
    groups: dict[Any, dict[int, int]] = {}
    for i, (config, measured) in enumerate(zip(configs, ids, strict=True)):
        others = repr(sorted((field, x) for field, x in flatten(config).items() if field not in ("seed", *_ELSEWHERE)))
        groups.setdefault((others, tuple(measured)), {}).setdefault(config.seed, i)
    return [list(members.values()) for members in groups.values() if len(members) > 1]


def spread(scores: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """SCORES -> mean and std of runs: the sample standard deviation, by n - 1; NaN where a run's score is."""
    values = {name: np.array([x[name] for x in scores], np.float64) for name in SCORES}
    return {name: {"mean": float(x.mean()), "std": float(x.std(ddof=1))} for name, x in values.items()}


def over_seeds(runs: Iterable[tuple[ConfigDict, Sequence[str], Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Of each of the seed_groups: the runs' indices, their seeds, and level -> spread.

    Args:
        runs: config, ids of the images that were measured, and what assessment.assess makes of them.
    """
    configs, ids, assessments = zip(*runs, strict=True)
    found = []
    for group in seed_groups(configs, ids):
        scores = [assessments[i]["levels"] for i in group]
        levels = {level: spread([x[level] for x in scores]) for level in scores[0]}
        found.append({"runs": group, "seeds": [configs[i].seed for i in group], "levels": levels})
    return found

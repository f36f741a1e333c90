"""Groups runs that differ only in the seed, and measures how far their scores lie apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fashion_jax.config.combinations import LEVEL_METRICS
from fashion_jax.scoring.assessment import Assessment

# May differ between runs of one config; the fields that time_limit has chosen are compared.
_ELSEWHERE = ("data.path", "data.cache", "data.cache_dir", "log_every_steps", "time_limit")

Spread = Mapping[str, Mapping[str, float]]  # one of LEVEL_METRICS -> mean and std


@dataclasses.dataclass(frozen=True)
class SeedGroup:
    """Runs that differ only in the seed.

    Attributes:
        runs: indices of the runs.
        seeds: seed of each.
        levels: level -> how far the scores lie apart.
        same_images: whether all were measured on the same images; not if the seed divides the images into splits.
    """

    runs: Sequence[int]
    seeds: Sequence[int]
    levels: dict[str, Spread]
    same_images: bool = True


def seed_groups(configs: Sequence[Mapping[str, Any]], ids: Sequence[Sequence[str]]) -> list[list[int]]:
    """Returns the indices of runs, two or more, that differ only in the seed; the first run of equal seeds counts.

    Args:
        configs: the flattened configs of the runs; where the data lie and where they are cached does not count.
        ids: ids of the images that each run was measured on. Runs belong together if these are equal or, where the seed
            divides the images into splits, if their data lie in the same place.
    """
    groups: list[dict[int, int]] = []  # seed -> index of a run
    for i, config in enumerate(configs):
        group = next((members for members in groups if _belong(i, min(members.values()), configs, ids)), None)
        if group is None:
            groups.append(group := {})
        group.setdefault(config["seed"], i)
    return [list(members.values()) for members in groups if len(members) > 1]


def _belong(i: int, j: int, configs: Sequence[Mapping[str, Any]], ids: Sequence[Sequence[str]]) -> bool:
    """Returns whether two runs differ only in the seed, and in what follows from it."""
    one, other = ({x: value for x, value in configs[k].items() if x not in ("seed", *_ELSEWHERE)} for k in (i, j))
    same_place = configs[i]["data.path"] == configs[j]["data.path"] and _is_divided_by_seed(configs[i])
    return repr(sorted(one.items())) == repr(sorted(other.items())) and (same_place or list(ids[i]) == list(ids[j]))


def _is_divided_by_seed(config: Mapping[str, Any]) -> bool:
    splits = config["data.splits"]
    return isinstance(splits, Mapping) and all(isinstance(share, float) for share in splits.values())


def spread(scores: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Returns the mean and sample standard deviation (n - 1) of LEVEL_METRICS over runs; NaN where a run's is."""
    values = {name: np.array([x[name] for x in scores], np.float64) for name in LEVEL_METRICS}
    return {name: {"mean": float(x.mean()), "std": float(x.std(ddof=1))} for name, x in values.items()}


def over_seeds(runs: Iterable[tuple[Mapping[str, Any], Sequence[str], Assessment]]) -> list[SeedGroup]:
    """Returns for each of the `seed_groups` how far the scores of its runs lie apart.

    Args:
        runs: flattened config, ids of the measured images, and the result of `assessment.assess`.
    """
    configs, ids, assessments = zip(*runs, strict=True)
    found = []
    for group in seed_groups(configs, ids):
        assessed = [assessments[i].levels for i in group]
        levels: dict[str, Spread] = {level: spread([x[level].scores for x in assessed]) for level in assessed[0]}
        same_images = all(list(ids[i]) == list(ids[group[0]]) for i in group)
        found.append(SeedGroup(group, [configs[i]["seed"] for i in group], levels, same_images))
    return found

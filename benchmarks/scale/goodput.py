"""Computes which share of the time a run with failures trains, and how often it should save.

After a failure the run needs `restart` seconds, and goes on from the last checkpoint. A save costs `cost` seconds after
every `every` seconds of training. Failures are a Poisson process with `mean` seconds between them.
"""

from __future__ import annotations

import math

import numpy as np


def simulated_goodput(gaps: np.ndarray, every: float, cost: float, restart: float) -> float:
    """Returns the share of the time whose training was not lost, for given seconds between failures, float [n]."""
    periods = np.floor(np.maximum(gaps - restart, 0) / (every + cost))
    return float(every * periods.sum() / gaps.sum())


def failures(mean: float, count: int, seed: int) -> np.ndarray:
    """Draws the seconds between failures, float64 [count]."""
    return np.random.default_rng(seed).exponential(mean, count)


def expected_goodput(mean: float, every: float, cost: float, restart: float) -> float:
    """Returns what `simulated_goodput` tends to: the mean training in whole periods of a gap, over the mean gap."""
    return every * math.exp(-restart / mean) / math.expm1((every + cost) / mean) / mean


def young_interval(mean: float, cost: float) -> float:
    """Returns the best seconds between saves to first order (Young 1974)."""
    return math.sqrt(2 * cost * mean)


def daly_interval(mean: float, cost: float) -> float:
    """Returns the best seconds between saves to a higher order (Daly 2006)."""
    if cost >= 2 * mean:
        return mean
    x = cost / (2 * mean)
    return young_interval(mean, cost) * (1 + math.sqrt(x) / 3 + x / 9) - cost

"""Counts the epochs in which a run's metric has not improved, and says why it ended early: config.early_stopping."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fashion_jax.scoring.metrics import score


def best_so_far(lines: Iterable[Mapping[str, Any]], metric: str) -> tuple[float, int]:
    """Returns the best score of a metric so far and the number of epochs since then.

    Args:
        lines: the lines of metrics.jsonl.
        metric: such as validation/sub/macro_f1. A score is higher where it is better: a loss is negated.

    Returns:
        The score, and the epochs after the first one that had it; -inf and 0 before any epoch has a score.
    """
    best, count = -math.inf, 0
    for line in lines:
        found = score(line, metric)
        best, count = (found, 0) if found > best else (best, count + math.isfinite(best))
    return best, count


def is_defined(lines: Iterable[Mapping[str, Any]], metric: str) -> bool:
    """Returns whether an epoch has a score of a metric, which a level without known labels has not."""
    return math.isfinite(best_so_far(lines, metric)[0])


def is_exhausted(early_stopping: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]) -> bool:
    """Returns whether the epochs of some lines of metrics.jsonl exhaust the patience of the config's early_stopping."""
    return bool(early_stopping) and best_so_far(lines, early_stopping["metric"])[1] >= early_stopping["patience"]


def stopped_early(early_stopping: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], num_epochs: int) -> str:
    """Returns in words why a run ended before its last epoch, without a full stop; "" if it did not.

    Args:
        early_stopping: the field of the config.
        lines: the lines of metrics.jsonl.
        num_epochs: of the config.
    """
    if not lines or lines[-1]["epoch"] >= num_epochs or not is_exhausted(early_stopping, lines):
        return ""
    return (
        f"the run stopped early, after epoch {lines[-1]['epoch']} of {num_epochs}: {early_stopping['metric']} has not "
        f"improved for {early_stopping['patience']} epochs (early_stopping)"
    )

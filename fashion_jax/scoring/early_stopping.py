"""Counts the epochs in which a run's metric has not improved, and says why it ended early: config.early_stopping."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fashion_jax.scoring.metrics import score


def progress(lines: Iterable[Mapping[str, Any]], metric: str) -> tuple[float, int]:
    """Returns the best score of a metric so far and the number of epochs since then.

    Args:
        lines: the lines of metrics.jsonl.
        metric: such as validation/sub/macro_f1. A score is higher where it is better: a loss is negated.

    Returns:
        The score, -inf before the first epoch that has one, and the epochs after the first one that had it.
    """
    best, count = -math.inf, 0
    for line in lines:
        found = score(line, metric)
        best, count = (found, 0) if found > best else (best, count + 1)
    return best, count


def stopped_early(early_stopping: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], num_epochs: int) -> str:
    """Returns in words why a run ended before its last epoch, without a full stop; "" if it did not.

    Args:
        early_stopping: the field of the config.
        lines: the lines of metrics.jsonl.
        num_epochs: of the config.
    """
    if not early_stopping or not lines or lines[-1]["epoch"] >= num_epochs:
        return ""
    metric, patience = early_stopping["metric"], early_stopping["patience"]
    if progress(lines, metric)[1] < patience:
        return ""
    return (
        f"the run stopped early, after epoch {lines[-1]['epoch']} of {num_epochs}: {metric} has not improved for "
        f"{patience} epochs (early_stopping)"
    )

"""The section of the report page with a row for each class: scores, images, confidence, what it is confused with."""

from __future__ import annotations

from typing import Any

import numpy as np

from fashion_jax import metrics
from fashion_jax.hierarchy import UNKNOWN
from fashion_jax.report.confusions import confusion_counts
from fashion_jax.report.contents import PageContents, class_names
from fashion_jax.report.figures import file_stem


def classes(contents: PageContents) -> dict[str, Any]:
    """The scores of each class, the weakest first."""
    levels = [_level(contents, level) for level in reversed(contents.taxonomy.levels)]
    frequent, rare = contents.thresholds
    return {
        "levels": levels,
        "number": sum(len(level["rows"]) for level in levels),
        "frequent": frequent,
        "rare": rare,
        "split": contents.split_name,
    }


def _level(contents: PageContents, level: str) -> dict[str, Any]:
    names = class_names(contents.taxonomy, level)
    scores = metrics.per_class(contents.log_probs[level], contents.split.labels[level])
    counts, trained = confusion_counts(contents, level), contents.train_counts(level).tolist()
    excess = excess_confidence(contents.calibrated[level], contents.split.labels[level])
    rows = []
    for k, (name, row) in enumerate(zip(names, scores, strict=True)):
        wrong = np.where(np.arange(len(names)) == k, 0, counts[k])
        rival = int(wrong.argmax()) if wrong.any() else None
        rows.append(
            {
                "name": name,
                **row,
                "training": trained[k],
                "excess": float(excess[k]),
                "rival": None if rival is None else (names[rival], int(wrong[rival])),
                "group": _group(trained[k], *contents.thresholds),
            }
        )
    rows.sort(key=lambda row: np.nan_to_num(row["f1"], nan=np.inf))
    nested = level != contents.taxonomy.levels[0]
    return {"level": level, "rows": rows, "nested": nested, "file": f"classes_{file_stem(level)}.csv"}


def _group(images: int, frequent: int, rare: int) -> str:
    return "head" if images > frequent else "tail" if images < rare else "middle"


def excess_confidence(log_probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float64 [C]: mean probability minus share right of the images that are called a class, NaN where none is.

    Args:
        log_probs: [images, C].
        labels: int [images], UNKNOWN (-1) where not known; those are left out.
    """
    known = labels != UNKNOWN
    log_probs, labels = np.asarray(log_probs, np.float64)[known], labels[known]
    predicted, size = log_probs.argmax(1), log_probs.shape[1]
    called = np.bincount(predicted, minlength=size)
    difference = np.exp(log_probs.max(1)) - (predicted == labels)
    total = np.bincount(predicted, weights=difference, minlength=size)
    return np.divide(total, called, out=np.full(size, np.nan), where=called > 0)

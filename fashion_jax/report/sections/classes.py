"""Describes the page's table of classes: scores, images, confidence, and the class each is confused with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fashion_jax.report.contents import PageContents, class_names
from fashion_jax.report.figures.curves import file_stem
from fashion_jax.report.sections.confusion import confusion_counts
from fashion_jax.scoring import metrics
from fashion_jax.scoring.blocks import Table, likeliest
from fashion_jax.taxonomy import UNKNOWN

if TYPE_CHECKING:
    from scipy.sparse import csr_array


MAX_ROWS = 200  # of a table on the page; the CSV file lists all classes


def classes(contents: PageContents) -> dict[str, Any]:
    """Describes the scores of each class, the weakest first."""
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
    chosen = _weakest(scores)
    rows = []
    for k in chosen:
        rival = _rival(counts, k)
        rows.append(
            {
                "name": names[k],
                **scores[k],
                "training": trained[k],
                "excess": float(excess[k]),
                "rival": None if rival is None else (names[rival[0]], rival[1]),
                "group": _group(trained[k], *contents.thresholds),
            }
        )
    nested = level != contents.taxonomy.levels[0]
    file = f"classes_{file_stem(level)}.csv"
    return {"level": level, "rows": rows, "classes": len(names), "nested": nested, "file": file}


def _weakest(scores: Sequence[Mapping[str, float]]) -> list[int]:
    """Returns the ids of at most MAX_ROWS classes, lowest F1 first.

    If not all equally weak classes fit, those with more images are taken, since their scores are more certain.
    """
    f1 = np.nan_to_num([row["f1"] for row in scores], nan=np.inf)
    order = np.lexsort([-np.array([row["support"] for row in scores]), f1])[:MAX_ROWS]
    return sorted(sorted(order.tolist()), key=f1.__getitem__)


def _rival(counts: csr_array, k: int) -> tuple[int, int] | None:
    """Returns the class that images of class k are most often predicted as, and how often; None if all are right."""
    start, end = counts.indptr[k : k + 2]
    others = counts.indices[start:end]
    wrong = np.where(others == k, 0, counts.data[start:end])
    return (int(others[wrong.argmax()]), int(wrong.max())) if wrong.any() else None


def _group(images: int, frequent: int, rare: int) -> str:
    return "head" if images > frequent else "tail" if images < rare else "middle"


def excess_confidence(log_probs: Table, labels: np.ndarray) -> np.ndarray:
    """Returns the overconfidence of each predicted class, float64 [C]: mean probability minus accuracy.

    It is NaN for a class that is never predicted.

    Args:
        log_probs: [images, C].
        labels: int [images]; images whose label is UNKNOWN (-1) are left out.
    """
    known, size = labels != UNKNOWN, log_probs.shape[1]
    values, predicted = (column[known] for column in likeliest(log_probs))
    called = np.bincount(predicted, minlength=size)
    total = np.bincount(predicted, weights=np.exp(values) - (predicted == labels[known]), minlength=size)
    return np.divide(total, called, out=np.full(size, np.nan), where=called > 0)

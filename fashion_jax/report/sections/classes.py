"""Describes the page's classes: a table of scores, images and confidence, and typical and wrong images of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fashion_jax.report import advice
from fashion_jax.report.class_table import class_data_uri
from fashion_jax.report.contents import PageContents, class_names
from fashion_jax.report.examples import Examples
from fashion_jax.report.file_names import class_file
from fashion_jax.scoring.blocks import Table, likeliest
from fashion_jax.taxonomy import UNKNOWN

MAX_ROWS = 200  # of a table on the page; the CSV file lists all classes

_MAX_PICTURED = 200  # classes with images
_MAX_IMAGES = 3  # typical images of a class, and as many wrong ones
_ALL_IMAGES = 150  # about as many typical images of all classes together, but at least one of each
_MAX_OPEN = 25  # largest number of classes of a level whose images are shown at once


def classes(contents: PageContents) -> dict[str, Any]:
    """Describes the scores and images of each class, the weakest first."""
    levels = [_level(contents, level) for level in reversed(contents.taxonomy.levels)]
    number = min(sum(len(level["rows"]) for level in levels), _MAX_PICTURED)
    each, left = min(max(_ALL_IMAGES // max(number, 1), 1), _MAX_IMAGES), number
    for level in levels:
        level["pictured"] = _pictured(contents, level, each, left)
        level["open"] = len(level["pictured"]) <= _MAX_OPEN
        left -= len(level["pictured"])
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
    scores, counts = contents.class_scores[level], contents.confusion_counts[level]
    trained = contents.train_counts(level).tolist()
    excess = excess_confidence(contents.calibrated[level], contents.split.labels[level])
    chosen = _weakest(scores)
    rows = []
    for k in chosen:
        rival = advice.taken_for(counts, k)
        rows.append(
            {
                "id": k,
                "name": names[k],
                **scores[k],
                "training": trained[k],
                "excess": float(excess[k]),
                "rival": None if rival is None else (names[rival[0]], rival[1]),
                "group": _group(trained[k], *contents.thresholds),
            }
        )
    nested = level != contents.taxonomy.levels[0]
    return {
        "level": level,
        "number": contents.taxonomy.levels.index(level),
        "rows": rows,
        "classes": len(names),
        "nested": nested,
        "file": class_file(level),
        "table": class_data_uri(contents, level),
    }


def _pictured(contents: PageContents, level: Mapping[str, Any], each: int, most: int) -> dict[int, dict[str, Any]]:
    """Shows typical and wrong images of the first `most` classes of the table, `each` of both kinds.

    Typical images are right and the most certain; wrong ones are predicted as another class, the most certain first.
    """
    examples, found = Examples(contents, level["level"]), {}
    right_rows = examples.most_confident((examples.labels != UNKNOWN) & (examples.labels == examples.predicted))
    for row in level["rows"][:most]:
        k = row["id"]
        right, wrong = (rows[examples.labels[rows] == k][:each].tolist() for rows in (right_rows, examples.wrong_rows))
        if right or wrong:
            found[k] = {
                "row": row,
                "typical": [examples.answer(i, heat=False) for i in right],
                "wrong": [examples.answer(i, heat=False) for i in wrong],
            }
    return found


def _weakest(scores: Sequence[Mapping[str, float]]) -> list[int]:
    """Returns the ids of at most MAX_ROWS classes, lowest F1 first.

    If not all equally weak classes fit, those with more images are taken, since their scores are more certain.
    """
    f1 = np.nan_to_num([row["f1"] for row in scores], nan=np.inf)
    order = np.lexsort([-np.array([row["support"] for row in scores]), f1])[:MAX_ROWS]
    return sorted(sorted(order.tolist()), key=f1.__getitem__)


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

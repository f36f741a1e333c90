"""The section of the report page on confusions: a matrix for each level, and what is confused most often."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fashion_jax import metrics
from fashion_jax.report.contents import ClassName, PageContents, class_names
from fashion_jax.report.drawing import shown
from fashion_jax.report.figures import file_stem
from fashion_jax.report.rendering import text

MAX_PAIRS = 10
_MAX_OPEN = 70  # classes, up to which a matrix is shown without being asked for
_MAX_NAMED = 200  # classes, up to which the names fit
_MAX_LABEL = 22  # characters


class Pair(NamedTuple):
    """Images of a class that were taken for another: their number, and that of all images of the class."""

    true: int
    predicted: int
    count: int
    support: int


def confusions(contents: PageContents) -> dict[str, Any]:
    """The confusion matrix of each level, the finest first, and its largest cells off the diagonal."""
    levels = []
    for level in reversed(contents.taxonomy.levels):
        names = class_names(contents.taxonomy, level)
        counts = confusion_counts(contents, level)
        levels.append(
            {
                "level": level,
                "names": names,
                "images": int(counts.sum()),
                "wrong": int(counts.sum() - np.trace(counts)),
                "pairs": confused_pairs(counts),
                "matrix": matrix(counts, names),
                "open": len(names) <= _MAX_OPEN,
                "file": f"confusion_{file_stem(level)}.png",
            }
        )
    return {"levels": levels, "finest": contents.taxonomy.levels[-1]}


def confusion_counts(contents: PageContents, level: str) -> np.ndarray:
    """int64 [C, C], rows true, columns predicted, of the images whose class is known."""
    predicted = np.argmax(contents.log_probs[level], axis=1)
    return metrics.confusion_matrix(contents.split.labels[level], predicted, contents.taxonomy.num_classes(level))


def confused_pairs(counts: np.ndarray) -> list[Pair]:
    """The largest cells off the diagonal of a confusion matrix, int [C, C], at most MAX_PAIRS."""
    wrong, support = counts - np.diag(np.diagonal(counts)), counts.sum(1)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_PAIRS]
    places = [divmod(int(k), len(counts)) for k in order if wrong.flat[k]]
    return [Pair(i, j, int(counts[i, j]), int(support[i])) for i, j in places]


def matrix(counts: np.ndarray, names: Sequence[ClassName]) -> dict[str, Any]:
    """A confusion matrix as matrix.js reads it: names as text, margin in pixels, cells as [row, column, count, ...]."""
    labels = [text(shown(name.label, _MAX_LABEL)) for name in names] if len(names) <= _MAX_NAMED else []
    rows, columns = np.nonzero(counts)
    return {
        "labels": labels,
        "names": [text(name.short) for name in names],
        "parents": [text(name.parent) for name in names],
        "support": counts.sum(1).tolist(),
        "margin": max((_width(label) for label in labels), default=0),
        "cells": np.stack([rows, columns, counts[rows, columns]], axis=1).ravel().tolist(),
    }


def _width(label: str) -> int:
    """In narrow characters."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in label)

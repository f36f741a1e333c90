"""Describes the page's section on confusions: a matrix for each level, and the most frequent confusions."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fashion_jax.report.contents import ClassName, PageContents, class_names
from fashion_jax.report.figures.confusion import excerpt, legible_classes
from fashion_jax.report.figures.style import shown
from fashion_jax.report.file_names import confusion_file
from fashion_jax.report.rendering import text

if TYPE_CHECKING:
    from scipy.sparse import csr_array


MAX_PAIRS = 10

_MAX_OPEN = 70  # largest number of classes of a matrix that is shown at once

_MAX_LABEL = 22  # characters


class Pair(NamedTuple):
    """Images of one class that were predicted as another: their number, and that of all images of the class."""

    true: int
    predicted: int
    images: int
    support: int


def confusions(contents: PageContents) -> dict[str, Any]:
    """Describes the confusion matrix of each level, the finest first, and its largest cells off the diagonal."""
    levels = []
    for level in reversed(contents.taxonomy.levels):
        names = class_names(contents.taxonomy, level)
        counts = contents.confusion_counts[level]
        chosen = legible_classes(counts)
        levels.append(
            {
                "level": level,
                "names": names,
                "images": int(counts.sum()),
                "wrong": int(counts.sum() - counts.trace()),
                "pairs": [(pair, pair_anchor(contents, level, pair)) for pair in confused_pairs(counts)],
                "places": {k: place for place, k in enumerate(chosen.tolist())},
                "left_out": len(names) - len(chosen),
                "matrix": matrix(counts, names, chosen),
                "open": len(names) <= _MAX_OPEN,
                "file": confusion_file(level),
            }
        )
    return {"levels": levels}


def pair_anchor(contents: PageContents, level: str, pair: Pair) -> str:
    """Returns the anchor of the gallery with the images of a confused pair."""
    return f"pair-{contents.taxonomy.levels.index(level)}-{pair.true}-{pair.predicted}"


def confused_pairs(counts: csr_array) -> list[Pair]:
    """Returns the largest cells off the diagonal of a confusion matrix, int [C, C]; at most MAX_PAIRS."""
    cells, support = counts.tocoo(), counts.sum(1)
    wrong = np.where(cells.row == cells.col, 0, cells.data)
    order = [k for k in np.argsort(-wrong, kind="stable")[:MAX_PAIRS] if wrong[k]]
    return [Pair(*(int(x) for x in (cells.row[k], cells.col[k], wrong[k], support[cells.row[k]]))) for k in order]


def matrix(counts: csr_array, names: Sequence[ClassName], chosen: np.ndarray) -> dict[str, Any]:
    """Returns the chosen classes' part of a confusion matrix in the form that matrix.js reads.

    Names are texts, the margin is in pixels, cells are [row, column, count, ...], and support counts all images of each
    class.
    """
    names, part = [names[k] for k in chosen], excerpt(counts, chosen)
    labels = [text(shown(name.label, _MAX_LABEL)) for name in names]
    rows, columns = np.nonzero(part)
    return {
        "labels": labels,
        "names": [text(name.short) for name in names],
        "parents": [text(name.parent) for name in names],
        "support": counts.sum(1)[chosen].tolist(),
        "margin": max(map(_width, labels)),
        "cells": np.stack([rows, columns, part[rows, columns]], axis=1).ravel().tolist(),
    }


def _width(label: str) -> int:
    """Returns the width of a label in narrow characters."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in label)

"""Compares two runs on the images that both were measured on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fashion_jax.scoring.assessment import compare
from fashion_jax.scoring.blocks import Table, chosen_rows
from fashion_jax.taxonomy import Taxonomy


class Measured(NamedTuple):
    """A run's predictions on images: ids, level -> labels [images] and level -> calibrated log-probabilities."""

    ids: Sequence[str]
    labels: Mapping[str, np.ndarray]
    log_probs: Mapping[str, Table]


def compare_shared(first: Measured, second: Measured, taxonomy: Taxonomy) -> tuple[int, dict[str, Any]]:
    """Returns the number of images that two runs share, and `compare` on them; an empty dict if they share none.

    Args:
        first: the run that is the baseline of the comparison.
        second: the run compared with it.
        taxonomy: the levels that both have, with the same classes.
    """
    here, there = shared_images(first.ids, second.ids)
    if not len(here):
        return 0, {}
    tables_a, tables_b = (
        {level: chosen_rows(run.log_probs[level], rows) for level in taxonomy.levels}
        for run, rows in ((first, here), (second, there))
    )
    labels = {level: first.labels[level][here] for level in taxonomy.levels}
    return len(here), compare(tables_a, tables_b, labels, taxonomy)


def shared_images(first: Sequence[str], second: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the positions of shared ids in two lists, int [shared] each, in the order of the second list.

    An id may occur several times, for example if rows of a table have several images: occurrences are matched in order.
    """
    places = {key: i for i, key in enumerate(_numbered(first))}
    pairs = [(places[key], i) for i, key in enumerate(_numbered(second)) if key in places]
    here, there = np.array(pairs, int).reshape(-1, 2).T
    return here, there


def _numbered(ids: Sequence[str]) -> list[tuple[str, int]]:
    """Pairs each id with the number of its earlier occurrences."""
    seen: Counter[str] = Counter()
    numbers = []
    for image_id in ids:
        numbers.append((image_id, seen[image_id]))
        seen[image_id] += 1
    return numbers

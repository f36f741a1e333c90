"""Two runs on the images that both were measured on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fashion_jax.scoring.assessment import compare
from fashion_jax.scoring.blocks import Table, chosen_rows
from fashion_jax.taxonomy import Taxonomy


class Measured(NamedTuple):
    """A run on images: their ids, level -> labels [images] and calibrated log-probabilities [images, classes]."""

    ids: Sequence[str]
    labels: Mapping[str, np.ndarray]
    log_probs: Mapping[str, Table]


def compare_shared(first: Measured, second: Measured, taxonomy: Taxonomy) -> tuple[int, dict[str, Any]]:
    """How many images two runs share, and compare() of the runs on them; nothing where there are none.

    Args:
        first: a run.
        second: the run that may differ from it.
        taxonomy: of the levels that both have, with the same classes.
    """
    here, there = shared_images(first.ids, second.ids)
    if not len(here):
        return 0, {}
    log_probs = [
        {level: chosen_rows(run.log_probs[level], rows) for level in taxonomy.levels}
        for run, rows in ((first, here), (second, there))
    ]
    labels = {level: first.labels[level][here] for level in taxonomy.levels}
    return len(here), compare(*log_probs, labels, taxonomy)


def shared_images(first: Sequence[str], second: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The places, int [shared], in two lists of ids of what both have, in the order of the second one.

    An id may stand for several images, as where rows of a table have more than one: they are taken in turn.
    """
    places = {key: i for i, key in enumerate(_numbered(first))}
    pairs = [(places[key], i) for i, key in enumerate(_numbered(second)) if key in places]
    here, there = np.array(pairs, int).reshape(-1, 2).T
    return here, there


def _numbered(ids: Sequence[str]) -> list[tuple[str, int]]:
    """Each id, and how often it has stood before it."""
    seen: Counter[str] = Counter()
    numbers = []
    for image_id in ids:
        numbers.append((image_id, seen[image_id]))
        seen[image_id] += 1
    return numbers

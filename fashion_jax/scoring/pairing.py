"""Compares two runs on the images that both were measured on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fashion_jax.scoring.assessment import compare
from fashion_jax.scoring.blocks import Table, chosen_rows
from fashion_jax.scoring.evaluation import Comparison
from fashion_jax.taxonomy import UNKNOWN, Taxonomy

_ALL_RELABELED = "has other labels than the first run for all images that both have"


class Measured(NamedTuple):
    """A run's classes, and its predictions on images.

    Attributes:
        taxonomy: the classes.
        ids: of the images.
        labels: level -> labels [images].
        log_probs: level -> calibrated log-probabilities [images, classes].
        contents: uint64 [images], digests of the images' contents; None if not known.
    """

    taxonomy: Taxonomy
    ids: Sequence[str]
    labels: Mapping[str, np.ndarray]
    log_probs: Mapping[str, Table]
    contents: np.ndarray | None = None


def compare_runs(first: Measured, second: Measured) -> Comparison:
    """Tests whether a run differs from the first one, on the images and at the levels that both have.

    An image with two different labels, for example since one run's table was corrected, is left out: whichever was
    taken would favor the run that has it.

    Args:
        first: the run that is the baseline of the comparison.
        second: the run compared with it.
    """
    taxonomy = first.taxonomy.common(second.taxonomy)
    if taxonomy is None:
        return Comparison(untested="has other classes than the first run")
    contents = None if first.contents is None or second.contents is None else (first.contents, second.contents)
    here, there = shared_images(first.ids, second.ids, contents)
    if not len(here):
        return Comparison(untested="has no image in common with the first run")
    is_same = np.ones(len(here), bool)
    for level in taxonomy.levels:
        a, b = first.labels[level][here], second.labels[level][there]
        is_same &= (a == b) | (a == UNKNOWN) | (b == UNKNOWN)
    if not is_same.any():
        return Comparison(untested=_ALL_RELABELED, relabeled_images=len(here))
    relabeled, here, there = int((~is_same).sum()), here[is_same], there[is_same]
    tables_a, tables_b = (
        {level: chosen_rows(run.log_probs[level], rows) for level in taxonomy.levels}
        for run, rows in ((first, here), (second, there))
    )
    labels = {level: first.labels[level][here] for level in taxonomy.levels}
    tests = compare(tables_a, tables_b, labels, taxonomy)
    return Comparison(tests, len(here), relabeled_images=relabeled)


def shared_images(
    first: Sequence[str], second: Sequence[str], contents: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the positions of shared images in two lists of ids, int [shared] each, in the order of the second list.

    An id may occur several times, for example if it is that of a product with several photos. Its images are those of
    the same content; where contents are not known, they are matched in order.

    Args:
        first: ids.
        second: ids.
        contents: digests of the contents of both, uint64 [images] each.
    """
    keys: list[list[Hashable]] = [list(first), list(second)]
    if contents:
        repeated = {key for ids in keys for key, number in Counter(ids).items() if number > 1}
        keys = [
            [(x, digest) if x in repeated else x for x, digest in zip(ids, digests.tolist(), strict=True)]
            for ids, digests in zip((first, second), contents, strict=True)
        ]
    here, there = map(_numbered, keys)
    places = {key: i for i, key in enumerate(here)}
    pairs = [(places[key], i) for i, key in enumerate(there) if key in places]
    both = np.array(pairs, int).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _numbered(keys: Sequence[Hashable]) -> list[tuple[Hashable, int]]:
    """Pairs each key with the number of its earlier occurrences."""
    seen: Counter[Hashable] = Counter()
    numbers = []
    for key in keys:
        numbers.append((key, seen[key]))
        seen[key] += 1
    return numbers

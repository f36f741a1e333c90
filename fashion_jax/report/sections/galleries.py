"""Describes the page's galleries of images worth a look: errors, confused pairs, suspected labels, doubts."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np

from fashion_jax.report.contents import PageContents
from fashion_jax.report.examples import Example, Examples
from fashion_jax.report.sections.confusion import confused_pairs, pair_anchor
from fashion_jax.scoring.blocks import LazyRows, row_blocks
from fashion_jax.scoring.label_errors import verdict
from fashion_jax.taxonomy import UNKNOWN

_MAX_IMAGES = 24  # per gallery

_MAX_PER_PAIR = 4


def galleries(contents: PageContents) -> dict[str, Any]:
    """Describes the galleries of images from which a person learns most: of the finest level, and all levels' pairs."""
    finest, *coarser = [Examples(contents, level) for level in reversed(contents.taxonomy.levels)]
    shown = [_errors(finest), _pairs([finest, *coarser]), _suspects(finest), _doubts(finest)]
    return {
        "galleries": shown,
        "level": finest.level,
        "split": contents.split_name,
        "workdir": "" if contents.command else shlex.quote(str(contents.workdir)),
        "explained_from": contents.explained_from,
    }


def _gallery(name: str, title: str, words: str, groups: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "title": title, "text": words, "groups": [group for group in groups if group["examples"]]}


def _group(examples: list[Example], **heading: Any) -> dict[str, Any]:
    return {"heading": None, **heading, "examples": examples}


def _errors(examples: Examples) -> dict[str, Any]:
    """Describes the wrong predictions with the highest probability."""
    known, worst = int((examples.labels != UNKNOWN).sum()), examples.wrong_rows[:_MAX_IMAGES].tolist()
    if not known:
        words = f"No image has a known label of {examples.level}."
    elif not worst:
        words = f"There are no errors: all {known:,} images are right at {examples.level}."
    else:
        wrong = len(examples.wrong_rows)
        words = f"{wrong:,} of {known:,} images are wrong at {examples.level}; the {len(worst)} most confident:"
    return _gallery("errors", "Worst errors", words, [_group([examples.answer(row) for row in worst])])


def _pairs(levels: Sequence[Examples]) -> dict[str, Any]:
    """Describes images of the most frequently confused pairs of classes of each level, the most confident first."""
    groups = []
    for examples in levels:
        for pair in confused_pairs(examples.contents.confusion_counts[examples.level]):
            anchor = pair_anchor(examples.contents, examples.level, pair)
            rows = examples.wrong_rows
            rows = rows[(examples.labels[rows] == pair.true) & (examples.predicted[rows] == pair.predicted)]
            shown = [examples.answer(row) for row in rows[:_MAX_PER_PAIR].tolist()]
            heading = examples.names[pair.true], examples.names[pair.predicted]
            groups.append(_group(shown, heading=heading, id=anchor, count=pair.images, level=examples.level))
    words = "If even people cannot tell two classes apart, consider joining them."
    return _gallery("pairs", "Most confused classes", words if groups else "No classes are confused.", groups)


def _suspects(examples: Examples) -> dict[str, Any]:
    """Describes the images whose label is probably wrong, by confident learning."""
    errors = examples.contents.label_errors.get(examples.level)
    if errors is None:
        return _gallery("suspects", "Suspected wrong labels", "There is only one class.", [])
    images, suggested = errors.images[errors.suspected], errors.suggested[errors.suspected]
    words = verdict(errors)
    words = words[0].upper() + words[1:]
    if len(images):
        words += (
            " Confident learning counts them to another class, which holds only for images that the model was not "
            "trained on. If it is right, correct the labels in the data."
        )
    shown = [
        examples.example(row, other, int(examples.labels[row]), "labelled")
        for row, other in zip(images[:_MAX_IMAGES].tolist(), suggested[:_MAX_IMAGES].tolist(), strict=True)
    ]
    return _gallery("suspects", "Suspected wrong labels", words, [_group(shown)])


def _doubts(examples: Examples) -> dict[str, Any]:
    """Describes the images whose two likeliest classes are closest in probability."""
    words = "The two likeliest classes have nearly the same probability. More training images like these help most."
    if examples.log_probs.shape[1] < 2:
        return _gallery("doubts", "Least certain", "There is only one class.", [])
    first, second, margin = _two_likeliest(examples.log_probs)
    known = np.flatnonzero(examples.labels != UNKNOWN)
    rows = known[np.argsort(margin[known], kind="stable")][:_MAX_IMAGES].tolist()
    shown = [examples.example(row, int(first[row]), int(second[row]), "or") for row in rows]
    return _gallery("doubts", "Least certain", words, [_group(shown)])


def _two_likeliest(log_probs: LazyRows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the likeliest class and the next, int [images], and the difference of their probabilities, [images]."""
    classes, values = np.empty((2, len(log_probs)), int), np.empty((2, len(log_probs)))
    for rows in row_blocks(*log_probs.shape):
        block, every = log_probs[rows], np.arange(len(rows))
        for i in range(2):
            classes[i, rows] = block.argmax(1)
            values[i, rows] = block[every, classes[i, rows]]
            block[every, classes[i, rows]] = -np.inf
    return *classes, np.exp(values[0]) - np.exp(values[1])

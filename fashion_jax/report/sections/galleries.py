"""Describes the page's galleries of images worth a look: errors, confused pairs, suspected labels, doubts."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np

from fashion_jax.report.contents import PageContents, class_names
from fashion_jax.report.sections.confusion import confused_pairs, confusion_counts
from fashion_jax.report.thumbnails import data_uri, thumbnail
from fashion_jax.scoring.blocks import LazyRows, likeliest, probabilities, row_blocks
from fashion_jax.scoring.label_errors import rank_label_errors, verdict
from fashion_jax.taxonomy import UNKNOWN

_MAX_IMAGES = 24  # per gallery

_MAX_PER_PAIR = 4


class _Shots:
    """The images of the galleries; each gets one picture and one heat map, however many galleries show it."""

    def __init__(self, contents: PageContents):
        self.level = contents.taxonomy.levels[-1]
        self.contents = contents
        self.names = class_names(contents.taxonomy, self.level)
        self.labels = contents.split.labels[self.level]
        self.log_probs = contents.calibrated[self.level]
        self.confidences, self.predicted = likeliest(self.log_probs)
        self.pictures: dict[int, str | None] = {}
        self.shots: list[dict[str, Any]] = []

    def shot(self, row: int, said: int, other: int, other_text: str) -> dict[str, Any]:
        """Returns an image with the class named first, and another class."""
        if row not in self.pictures:
            self.pictures[row] = thumbnail(self.contents.split.picture(row))
        label, (log_probs,) = int(self.labels[row]), self.log_probs[np.array([row])]
        shot = {
            "row": row,
            "id": self.contents.split.ids[row],
            "picture": self.pictures[row],
            "heat": None,
            "predicted": self.names[self.predicted[row]],
            "said": self.names[said],
            "probability": float(np.exp(log_probs[said])),
            "right": label == said,
            "label": self.names[label],
            "other": self.names[other],
            "other_text": other_text,
            "other_probability": float(np.exp(log_probs[other])),
        }
        self.shots.append(shot)
        return shot

    def wrong(self, row: int) -> dict[str, Any]:
        """Returns an image whose predicted class is not its label."""
        return self.shot(row, int(self.predicted[row]), int(self.labels[row]), "labelled")

    def add_heat(self) -> None:
        """Adds the heat map to every picture; the maps of all pictures are computed at once."""
        rows = sorted({shot["row"] for shot in self.shots if shot["picture"]})
        if self.contents.explain is None or not rows:
            return
        classes = {level: np.argmax(x[rows], axis=1) for level, x in self.contents.log_probs.items()}
        maps = self.contents.explain(rows, classes)[self.level]
        heat = {row: None if image is None else data_uri(image) for row, image in zip(rows, maps, strict=True)}
        for shot in self.shots:
            shot["heat"] = heat.get(shot["row"])


def galleries(contents: PageContents) -> dict[str, Any]:
    """Describes the galleries of images at the finest level from which a person learns most."""
    shots = _Shots(contents)
    shown = [_errors(shots), _pairs(shots), _suspects(shots), _doubts(shots)]
    shots.add_heat()
    return {
        "galleries": shown,
        "level": shots.level,
        "split": contents.split_name,
        "workdir": "" if contents.command else shlex.quote(str(contents.workdir)),
        "explained": any(shot["heat"] for shot in shots.shots),
        "explained_from": contents.explained_from,
    }


def _gallery(name: str, title: str, words: str, groups: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "title": title, "text": words, "groups": [group for group in groups if group["shots"]]}


def _group(shots: list[dict[str, Any]], **heading: Any) -> dict[str, Any]:
    return {"heading": None, **heading, "shots": shots}


def _errors(shots: _Shots) -> dict[str, Any]:
    """Describes the wrong predictions with the highest probability."""
    known = int((shots.labels != UNKNOWN).sum())
    wrong = np.flatnonzero((shots.labels != UNKNOWN) & (shots.predicted != shots.labels))
    worst = wrong[np.argsort(-shots.confidences[wrong], kind="stable")][:_MAX_IMAGES].tolist()
    if not known:
        words = f"No image has a known label of {shots.level}."
    elif not worst:
        words = f"There are no errors: all {known:,} images are right at {shots.level}."
    else:
        words = f"{len(wrong):,} of {known:,} images are wrong at {shots.level}; the {len(worst)} most confident:"
    return _gallery("errors", "Worst errors", words, [_group([shots.wrong(row) for row in worst])])


def _pairs(shots: _Shots) -> dict[str, Any]:
    """Describes images of the most frequently confused pairs of classes, the most confident first."""
    groups = []
    for number, pair in enumerate(confused_pairs(confusion_counts(shots.contents, shots.level)), 1):
        rows = np.flatnonzero((shots.labels == pair.true) & (shots.predicted == pair.predicted))
        rows = rows[np.argsort(-shots.confidences[rows], kind="stable")][:_MAX_PER_PAIR].tolist()
        heading = shots.names[pair.true], shots.names[pair.predicted]
        shown = [shots.wrong(row) for row in rows]
        groups.append(_group(shown, heading=heading, id=f"pair-{number}", count=pair.images))
    words = "If even people cannot tell two classes apart, consider merging them."
    return _gallery("pairs", "Most confused classes", words if groups else "No classes are confused.", groups)


def _suspects(shots: _Shots) -> dict[str, Any]:
    """Describes the images whose label is probably wrong, by confident learning."""
    errors = rank_label_errors(probabilities(shots.log_probs), shots.labels)
    images, suggested = errors.images[errors.suspected], errors.suggested[errors.suspected]
    words = verdict(errors)
    words = words[0].upper() + words[1:]
    if len(images):
        words += (
            " Confident learning counts them to another class, which holds only for images that the model was not "
            "trained on. If it is right, correct the labels in the data."
        )
    shown = [
        shots.shot(row, other, int(shots.labels[row]), "labelled")
        for row, other in zip(images[:_MAX_IMAGES].tolist(), suggested[:_MAX_IMAGES].tolist(), strict=True)
    ]
    return _gallery("suspects", "Suspected wrong labels", words, [_group(shown)])


def _doubts(shots: _Shots) -> dict[str, Any]:
    """Describes the images whose two likeliest classes are closest in probability."""
    words = "The two likeliest classes have nearly the same probability. More training images like these help most."
    if shots.log_probs.shape[1] < 2:
        return _gallery("doubts", "Least certain", "There is only one class.", [])
    first, second, margin = _two_likeliest(shots.log_probs)
    known = np.flatnonzero(shots.labels != UNKNOWN)
    rows = known[np.argsort(margin[known], kind="stable")][:_MAX_IMAGES].tolist()
    shown = [shots.shot(row, int(first[row]), int(second[row]), "or") for row in rows]
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

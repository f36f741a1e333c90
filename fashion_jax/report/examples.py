"""Describes images of the measured split with what the model says about them."""

from __future__ import annotations

import dataclasses

import numpy as np

from fashion_jax.report.album import Slot
from fashion_jax.report.contents import ClassName, PageContents, class_names
from fashion_jax.taxonomy import UNKNOWN


@dataclasses.dataclass(frozen=True)
class Example:
    """An image with two classes and their probabilities.

    Attributes:
        slot: where the page shows it.
        row: of the image in the split.
        id: the user's name of the image.
        label: its class.
        predicted: the likeliest class.
        explained: the likeliest class of the finest level, which the heat map explains.
        said: the class that is named first, with its probability.
        right: whether that class is the label.
        other: another class, with its probability.
        other_text: what the other class is, such as "labelled".
    """

    slot: Slot
    row: int
    id: str
    label: ClassName
    predicted: ClassName
    explained: ClassName
    said: ClassName
    probability: float
    right: bool
    other: ClassName
    other_text: str
    other_probability: float


class Examples:
    """The images of a level.

    Attributes:
        names: of the classes.
        labels: int [images], UNKNOWN (-1) if not known.
        log_probs: calibrated, [images, classes].
        confidences: probability of the likeliest class as a logarithm, [images].
        predicted: the likeliest class, int [images].
        wrong_rows: int, the images that are predicted wrongly, the most confident first.
    """

    def __init__(self, contents: PageContents, level: str):
        self.contents = contents
        self.level = level
        self.names = class_names(contents.taxonomy, level)
        self._finest_names = class_names(contents.taxonomy, contents.taxonomy.levels[-1])
        self.labels = contents.split.labels[level]
        self.log_probs = contents.calibrated[level]
        self.confidences, self.predicted = contents.likeliest[level]
        self.wrong_rows = self.most_confident((self.labels != UNKNOWN) & (self.predicted != self.labels))

    def most_confident(self, chosen: np.ndarray) -> np.ndarray:
        """Returns the rows of the chosen images, bool [images], the most confident first."""
        rows = np.flatnonzero(chosen)
        return rows[np.argsort(-self.confidences[rows], kind="stable")]

    def example(self, row: int, said: int, other: int, other_text: str, heat: bool = True) -> Example:
        """Shows an image with the class named first, and another class."""
        label, (log_probs,) = int(self.labels[row]), self.log_probs[np.array([row])]
        slot = self.contents.album.show((self.contents.split_name, row), heat)
        self._link(row, slot.anchor)
        return Example(
            slot=slot,
            row=row,
            id=self.contents.split.ids[row],
            label=self.names[label],
            predicted=self.names[self.predicted[row]],
            explained=self._finest_names[self.contents.likeliest[self.contents.taxonomy.levels[-1]][1][row]],
            said=self.names[said],
            probability=float(np.exp(log_probs[said])),
            right=label == said,
            other=self.names[other],
            other_text=other_text,
            other_probability=float(np.exp(log_probs[other])),
        )

    def answer(self, row: int, heat: bool = True) -> Example:
        """Shows an image with its predicted class and its label."""
        return self.example(row, int(self.predicted[row]), int(self.labels[row]), "labelled", heat)

    def _link(self, row: int, anchor: str) -> None:
        """Lets the image's cell of each level's confusion matrix lead to it."""
        for level, (_, predicted) in self.contents.likeliest.items():
            label = int(self.contents.split.labels[level][row])
            if label != UNKNOWN:
                self.contents.album.link(level, label, int(predicted[row]), anchor)

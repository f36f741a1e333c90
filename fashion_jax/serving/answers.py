"""Holds what a classifier says of one image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Answer:
    """The classes of an image at every level, or the reason why there are none.

    Attributes:
        path: the name of the image; empty for an array, an opened image or bytes.
        error: why there is no prediction; empty if there is one.
        classes: level -> the best guess, a class's path from the root such as Apparel/Topwear. A level below a class
            without children is absent. Empty if there is no prediction.
        probabilities: level -> the probability of that class, from 0 to 1.
        answer: with `min_probability` or `precision`, the finest class that is sure, or "unsure"; otherwise None.
        top: level -> the `top_k` likeliest classes of the level with their probabilities, the likeliest first; empty
            without `top_k`.
        all_probabilities: level -> float32 [classes], in the order of the classifier's `labels`; None unless asked for.
        embedding: float32 [features], the trunk's output; None unless asked for.
        contradicts: whether the model's likeliest class of some level does not lie below that of the level above, so
            that only the decoding made the classes agree.

    Example:
        >>> answer = Answer("a.jpg", classes={"main": "Apparel"}, probabilities={"main": 0.75})
        >>> answer.classes["main"], answer.probabilities["main"], answer.error
        ('Apparel', 0.75, '')
        >>> answer.to_dict()
        {'path': 'a.jpg', 'error': '', 'classes': {'main': 'Apparel'}, 'probabilities': {'main': 0.75}, 'answer': None}
    """

    path: str
    error: str = ""
    classes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    probabilities: Mapping[str, float] = dataclasses.field(default_factory=dict)
    answer: str | None = None
    top: Mapping[str, list[tuple[str, float]]] = dataclasses.field(default_factory=dict)
    all_probabilities: Mapping[str, np.ndarray] | None = None
    embedding: np.ndarray | None = None
    contradicts: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Returns the attributes as values that json.dumps takes; what was not asked for is left out.

        `top` has an object with `class` and `probability` for each class.
        """
        fields: dict[str, Any] = {
            "path": self.path,
            "error": self.error,
            "classes": dict(self.classes),
            "probabilities": dict(self.probabilities),
            "answer": self.answer,
        }
        if self.top:
            fields["top"] = {
                level: [{"class": name, "probability": value} for name, value in classes]
                for level, classes in self.top.items()
            }
        if self.all_probabilities is not None:
            fields["all_probabilities"] = {level: x.tolist() for level, x in self.all_probabilities.items()}
        if self.embedding is not None:
            fields["embedding"] = self.embedding.tolist()
        return fields

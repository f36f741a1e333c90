"""What predict answers: calibrated, consistent over the tree, of least cost, and no finer than is sure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fashion_jax.scoring.blocks import Table, likeliest, map_levels, stacked
from fashion_jax.scoring.calibration import Abstention, answers, path_probabilities
from fashion_jax.scoring.temperature import apply_temperatures
from fashion_jax.scoring.tree_decoding import (
    contradiction_rate,
    decode,
    leaf_classes,
    leaf_log_probs,
    minimum_risk,
    predicted_classes,
)
from fashion_jax.taxonomy import Taxonomy


class Decisions(NamedTuple):
    """Of some images: level -> classes (UNKNOWN (-1) where there is none) and their probabilities (0 there).

    answers are the deepest sure classes by name; contradiction_rate is that of each head's own likeliest class.
    """

    classes: dict[str, np.ndarray]
    probabilities: dict[str, np.ndarray]
    answers: list[str]
    contradiction_rate: float


@dataclasses.dataclass(frozen=True)
class Decider:
    """How a model's log-probabilities become decisions.

    Attributes:
        taxonomy: of the classes.
        temperatures: level -> temperature, 1 where a level has none.
        how: one of DECODES.
        costs: [leaves, leaves] of mistakes; None for the likeliest path. Not with independent.
        abstention: None to answer at every level.
    """

    taxonomy: Taxonomy
    temperatures: Mapping[str, float]
    how: str
    costs: np.ndarray | None = None
    abstention: Abstention | None = None

    def decide(self, log_probs: Mapping[str, np.ndarray]) -> Decisions:
        """The decisions on images, by their level -> log-probabilities [images, classes]."""
        log_probs = {level: log_probs[level] for level in self.taxonomy.levels}
        parts = map_levels(self._decide, log_probs)
        classes, probabilities = (stacked(columns) for columns in zip(*parts, strict=True))
        independent = {level: likeliest(x)[1] for level, x in log_probs.items()}
        rate = contradiction_rate(independent, self.taxonomy)
        return Decisions(classes, probabilities, answers(classes, self.taxonomy), rate)

    def _decide(self, log_probs: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Level -> classes, and level -> their probabilities, of a few images."""
        decoded, classes = self._decoded(log_probs)
        if self.abstention:
            candidates = self._candidates(decoded, classes)
            probabilities = _probabilities(decoded, candidates)
            consistent = self.how != "independent"
            classes = self.abstention.sure(probabilities, candidates, self.taxonomy, consistent=consistent)
        return classes, _probabilities(decoded, classes)

    def for_precision(
        self, log_probs: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], precision: float
    ) -> Decider:
        """The same, abstaining so that the answers at each level on these images have the wanted precision."""
        parts = map_levels(self._answerable, {level: log_probs[level] for level in self.taxonomy.levels})
        probabilities, candidates = (stacked(columns) for columns in zip(*parts, strict=True))
        abstention = Abstention.of_precision(probabilities, candidates, labels, precision)
        return dataclasses.replace(self, abstention=abstention)

    def _answerable(self, log_probs: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Level -> the probabilities of what could be answered on a few images, and level -> these classes."""
        decoded, classes = self._decoded(log_probs)
        candidates = dict(self._candidates(decoded, classes))
        return _probabilities(decoded, candidates), candidates

    def _candidates(
        self, decoded: Mapping[str, np.ndarray], classes: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        """What could be answered at each level: its likeliest class, which need not lie on the likeliest path; of
        least cost, the classes of that path."""
        return classes if self.costs is not None else {level: decoded[level].argmax(1) for level in classes}

    def _decoded(self, log_probs: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        decoded = decode(apply_temperatures(log_probs, self.temperatures), self.taxonomy, self.how)
        if self.costs is None:
            return decoded, predicted_classes(decoded, self.taxonomy, self.how)
        leaves = minimum_risk(np.exp(leaf_log_probs(decoded, self.taxonomy)), self.costs)
        return decoded, leaf_classes(leaves, self.taxonomy)


def _probabilities(decoded: Mapping[str, np.ndarray], classes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {level: path_probabilities(decoded[level], x) for level, x in classes.items()}


def decoded_classes(
    log_probs: Mapping[str, Table], taxonomy: Taxonomy, how: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What predicted_classes makes of decode, level -> int [images], and level -> the probabilities of these classes.

    Args:
        log_probs: level -> [images, classes], calibrated; all levels of the taxonomy.
        taxonomy: of the classes.
        how: one of DECODES.
    """

    def decoded_block(block: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        decoded = decode(block, taxonomy, how)
        classes = predicted_classes(decoded, taxonomy, how)
        return classes, _probabilities(decoded, classes)

    parts = map_levels(decoded_block, {level: log_probs[level] for level in taxonomy.levels})
    classes, probabilities = (stacked(columns) for columns in zip(*parts, strict=True))
    return classes, probabilities

"""Turns log-probabilities into the answers of predict: calibrated, consistent over the tree, no finer than is sure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fashion_jax.scoring.blocks import Table, likeliest, map_levels, stacked
from fashion_jax.scoring.calibration import Abstention, answers, path_probabilities
from fashion_jax.scoring.temperature import apply_temperatures
from fashion_jax.scoring.tree_decoding import (
    contradictions,
    decode,
    down_to_leaves,
    leaf_classes,
    leaf_log_probs,
    likeliest_leaves,
    minimum_risk,
    predicted_classes,
)
from fashion_jax.taxonomy import Taxonomy


class Decisions(NamedTuple):
    """The classes that were decided on for some images, and their probabilities.

    Attributes:
        classes: level -> int [images], the best guess, sure or not; UNKNOWN (-1) below a class without children.
        probabilities: level -> [images], 0 where there is no class.
        answers: the name of each image's deepest sure class, or UNSURE.
        contradicts: bool [images], whether the heads' own likeliest classes contradict each other.
    """

    classes: dict[str, np.ndarray]
    probabilities: dict[str, np.ndarray]
    answers: list[str]
    contradicts: np.ndarray


@dataclasses.dataclass(frozen=True)
class Decider:
    """Turns a model's log-probabilities into decisions.

    Attributes:
        taxonomy: the classes.
        temperatures: level -> temperature, 1 where a level has none.
        how: one of DECODES.
        costs: [leaves, leaves] of mistakes; None to predict the likeliest path. Not with independent.
        abstention: None to answer at every level.
    """

    taxonomy: Taxonomy
    temperatures: Mapping[str, float]
    how: str
    costs: np.ndarray | None = None
    abstention: Abstention | None = None

    def decide(self, log_probs: Mapping[str, np.ndarray]) -> Decisions:
        """Decides on images, given level -> log-probabilities [images, classes]."""
        log_probs = {level: log_probs[level] for level in self.taxonomy.levels}
        parts = map_levels(self._decide, log_probs)
        classes, probabilities, sure = (stacked(columns) for columns in zip(*parts, strict=True))
        independent = {level: likeliest(x)[1] for level, x in log_probs.items()}
        contradicts = contradictions(independent, self.taxonomy)
        return Decisions(classes, probabilities, answers(sure, self.taxonomy), contradicts)

    def decoded(self, log_probs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns level -> float64 log-probabilities [images, classes], calibrated and made to agree by `how`."""
        return decode(apply_temperatures(log_probs, self.temperatures), self.taxonomy, self.how)

    def _decide(self, log_probs: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], ...]:
        """Returns, for a block of images, level -> best guesses, their probabilities, and the classes that are sure."""
        decoded, classes = self._decoded(log_probs)
        sure = classes
        if self.abstention:
            candidates = self._candidates(decoded, classes)
            probabilities = _probabilities(decoded, candidates)
            consistent = self.how != "independent"
            sure = self.abstention.sure(probabilities, candidates, self.taxonomy, consistent=consistent)
            if consistent and self.costs is None:
                classes = leaf_classes(likeliest_leaves(decoded, sure, self.taxonomy), self.taxonomy)
        return classes, _probabilities(decoded, classes), sure

    def for_precision(
        self, log_probs: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], precision: float
    ) -> Decider:
        """Returns a decider that abstains so that the answers at each level reach a precision on these images."""
        parts = map_levels(self._answerable, {level: log_probs[level] for level in self.taxonomy.levels})
        probabilities, candidates = (stacked(columns) for columns in zip(*parts, strict=True))
        abstention = Abstention.of_precision(probabilities, candidates, labels, precision, self.taxonomy)
        return dataclasses.replace(self, abstention=abstention)

    def _answerable(self, log_probs: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Returns level -> probabilities of the candidates, and level -> candidates, for a block of images."""
        decoded, classes = self._decoded(log_probs)
        candidates = dict(self._candidates(decoded, classes))
        return _probabilities(decoded, candidates), candidates

    def _candidates(
        self, decoded: Mapping[str, np.ndarray], classes: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        """Returns the class that each level could answer.

        This is its likeliest class, which need not lie on the likeliest path. With costs it is the class on the path of
        least cost. Levels that are independent answer nothing below a class without children.
        """
        if self.costs is not None or self.how == "independent":
            return classes
        return {level: decoded[level].argmax(1) for level in classes}

    def _decoded(self, log_probs: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        decoded = self.decoded(log_probs)
        if self.costs is None:
            return decoded, down_to_leaves(predicted_classes(decoded, self.taxonomy, self.how), self.taxonomy)
        leaves = minimum_risk(np.exp(leaf_log_probs(decoded, self.taxonomy)), self.costs)
        return decoded, leaf_classes(leaves, self.taxonomy)


def _probabilities(decoded: Mapping[str, np.ndarray], classes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {level: path_probabilities(decoded[level], x) for level, x in classes.items()}


def decoded_classes(
    log_probs: Mapping[str, Table], taxonomy: Taxonomy, how: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Decodes log-probabilities over the tree.

    Args:
        log_probs: level -> [images, classes], calibrated; all levels of the taxonomy.
        taxonomy: the classes.
        how: one of DECODES.

    Returns:
        Level -> predicted class, int [images], and level -> its probability, [images].
    """

    def decoded_block(block: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        decoded = decode(block, taxonomy, how)
        classes = down_to_leaves(predicted_classes(decoded, taxonomy, how), taxonomy)
        return classes, _probabilities(decoded, classes)

    parts = map_levels(decoded_block, {level: log_probs[level] for level in taxonomy.levels})
    classes, probabilities = (stacked(columns) for columns in zip(*parts, strict=True))
    return classes, probabilities

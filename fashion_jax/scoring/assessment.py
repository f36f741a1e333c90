"""Computes all scores of predictions on a split, for `evaluate`, its JSON and its page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from fashion_jax.scoring.blocks import LazyRows, Table, likeliest, picked
from fashion_jax.scoring.calibration import adaptive_calibration_error, calibration_error, confidence_error
from fashion_jax.scoring.decider import decoded_classes
from fashion_jax.scoring.intervals import Interval, paired_test, score_intervals, share_interval
from fashion_jax.scoring.scores import level_scores, paths_known, predicted_scores, shot_scores, tree_scores
from fashion_jax.scoring.temperature import calibrated_levels, cross_fitted
from fashion_jax.scoring.tree_decoding import DECODES, DEFAULT_DECODE, contradiction_rate, down_to_leaves
from fashion_jax.taxonomy import UNKNOWN, Taxonomy

PATH = "path"  # stands beside the levels' names for tests of whole paths


@dataclasses.dataclass(frozen=True)
class LevelAssessment:
    """The scores of a level.

    Attributes:
        scores: one of LEVEL_SCORES -> value, of the probabilities as the model returns them; NaN for what is undefined.
        intervals: score -> [low, high].
        shots: head, middle, tail -> accuracy, or None without such images.
        temperature: temperature of the run at this level; None if it has none.
        calibrated: loss, ece and adaptive_ece with that temperature; None without one.
    """

    scores: Mapping[str, float]
    intervals: Mapping[str, Interval]
    shots: Mapping[str, float | None]
    temperature: float | None
    calibrated: Mapping[str, float] | None

    def to_json(self) -> dict[str, Any]:
        """Returns the level's object in the JSON of evaluate."""
        rest = {"temperature": self.temperature, "calibrated": self.calibrated}
        return {**self.scores, "intervals": self.intervals, **self.shots, **rest}


@dataclasses.dataclass(frozen=True)
class DecodeAssessment:
    """The scores of a way to decode the tree, from calibrated probabilities.

    Attributes:
        scores: TREE_SCORES and contradiction_rate -> value; NaN for what is undefined.
        intervals: path_accuracy -> [low, high].
        levels: level -> accuracy, macro_f1 and ece (of the path's probability).
    """

    scores: Mapping[str, float]
    intervals: Mapping[str, Interval]
    levels: Mapping[str, Mapping[str, float]]

    def to_json(self) -> dict[str, Any]:
        """Returns the decode's object in the JSON of evaluate."""
        return {**self.scores, "intervals": self.intervals, "levels": self.levels}


@dataclasses.dataclass(frozen=True)
class Assessment:
    """All scores of predictions on a split.

    Attributes:
        levels: level -> its scores.
        decodes: one of DECODES -> its scores.
    """

    levels: Mapping[str, LevelAssessment]
    decodes: Mapping[str, DecodeAssessment]

    def decoded_by(self, how: str) -> Assessment:
        """Returns the scores of one way to decode the tree, which the probabilities have been through already."""
        return Assessment(self.levels, {how: self.decodes[how]})

    def to_json(self) -> dict[str, Any]:
        """Returns the assessment's object in the JSON of evaluate."""
        return {
            "levels": {level: assessed.to_json() for level, assessed in self.levels.items()},
            "decodes": {how: assessed.to_json() for how, assessed in self.decodes.items()},
        }


def assess(
    log_probs: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    taxonomy: Taxonomy,
    train_counts: Mapping[str, np.ndarray],
    temperatures: Mapping[str, float] | None = None,
    *,
    thresholds: tuple[int, int] = (1000, 100),
    cross_fit: bool = False,
) -> Assessment:
    """Computes the scores of each level and of each way to decode the tree.

    Args:
        log_probs: level -> [images, classes], as the model returns them, not calibrated.
        labels: level -> int [images], UNKNOWN (-1) where not known.
        taxonomy: the classes of both.
        train_counts: level -> int [classes], training images.
        temperatures: level -> temperature of the run; None if the run has none.
        thresholds: numbers of training images, as in `shot_scores`.
        cross_fit: whether the temperatures were fitted on these very images. The calibrated scores of a level are then
            cross-fitted: each fold is calibrated by a temperature fitted on the other folds.
    """
    calibrated = {**calibrated_levels(log_probs, temperatures or {})}
    levels = {}
    for level in taxonomy.levels:
        x, true = log_probs[level], labels[level]
        temperature = (temperatures or {}).get(level)
        after = cross_fitted(x, true, temperature) if temperature is not None and cross_fit else calibrated[level]
        levels[level] = LevelAssessment(
            scores=level_scores(x, true),
            intervals=score_intervals(x, true),
            shots=shot_scores(x.argmax(1), true, train_counts[level], thresholds),
            temperature=temperature,
            calibrated=_calibration(after, true) if temperature is not None else None,
        )
        calibrated[level] = after
    return Assessment(levels, {how: _decoded(calibrated, labels, taxonomy, how) for how in DECODES})


def _calibration(log_probs: LazyRows, labels: np.ndarray) -> dict[str, float]:
    own = picked(log_probs, labels)[labels != UNKNOWN]
    return {
        "loss": float(-own.mean()) if len(own) else float("nan"),
        "ece": calibration_error(log_probs, labels),
        "adaptive_ece": adaptive_calibration_error(log_probs, labels),
    }


def _decoded(
    log_probs: Mapping[str, LazyRows], labels: Mapping[str, np.ndarray], taxonomy: Taxonomy, how: str
) -> DecodeAssessment:
    predicted, probabilities = decoded_classes(log_probs, taxonomy, how)
    levels = {}
    for level in taxonomy.levels:
        known = labels[level] != UNKNOWN
        ece = confidence_error(probabilities[level][known], (predicted[level] == labels[level])[known])
        scores = predicted_scores(predicted[level], labels[level], taxonomy.num_classes(level))
        levels[level] = scores | {"ece": ece}
    return DecodeAssessment(
        scores={
            **tree_scores(predicted, labels, taxonomy),
            "contradiction_rate": contradiction_rate(predicted, taxonomy),
        },
        intervals={"path_accuracy": share_interval(right_paths(predicted, labels, taxonomy))},
        levels=levels,
    )


def right_paths(
    predicted: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], taxonomy: Taxonomy
) -> np.ndarray:
    """Returns bool [images whose labels are known down to a leaf]: whether every level is predicted correctly."""
    known, said = paths_known(labels, taxonomy), down_to_leaves(predicted, taxonomy)
    return np.all([said[level][known] == labels[level][known] for level in taxonomy.levels], axis=0)


def compare(
    first: Mapping[str, Table],
    second: Mapping[str, Table],
    labels: Mapping[str, np.ndarray],
    taxonomy: Taxonomy,
) -> dict[str, Any]:
    """Tests at each level, and for whole paths, whether two runs differ in accuracy on the same images.

    Args:
        first: level -> calibrated log-probabilities [images, classes] of the first run.
        second: the same for the second run.
        labels: level -> labels [images].
        taxonomy: the classes of these levels; the path is decoded by DEFAULT_DECODE.

    Returns:
        Level -> `paired_test`, and, if there are several levels, PATH -> `paired_test` too.
    """
    tests = {}
    for level in taxonomy.levels:
        known = labels[level] != UNKNOWN
        right = [likeliest(x[level])[1][known] == labels[level][known] for x in (first, second)]
        tests[level] = paired_test(*right)
    if len(taxonomy.levels) == 1:
        return tests
    decoded = [decoded_classes(x, taxonomy, DEFAULT_DECODE)[0] for x in (first, second)]
    tests[PATH] = paired_test(*(right_paths(predicted, labels, taxonomy) for predicted in decoded))
    return tests

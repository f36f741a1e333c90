"""Describes the page's head, and its section with every score, its interval, and the ways to decode the tree."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from fashion_jax.command_line.formats import duration
from fashion_jax.config.combinations import best_metric
from fashion_jax.report.contents import PageContents, class_names
from fashion_jax.report.rendering import decimal, percent
from fashion_jax.report.timings import validation_seconds
from fashion_jax.scoring.assessment import DecodeAssessment, LevelAssessment
from fashion_jax.scoring.scores import SHOTS
from fashion_jax.scoring.tree_decoding import DEFAULT_DECODE
from fashion_jax.taxonomy import UNKNOWN


class Metric(NamedTuple):
    """A score as the page shows it; `better` is 1 if higher values are better, -1 if lower."""

    key: str
    title: str
    meaning: str
    shown: Callable[[float | None], str]
    better: int = 1


METRICS = (
    Metric("accuracy", "Accuracy", "share of the images whose class is predicted correctly", percent),
    Metric("top5", "Top-5 accuracy", "share of the images whose class is among the five likeliest", percent),
    Metric("macro_f1", "Macro-F1", "mean F1 of the classes, each counted equally", decimal),
    Metric("weighted_f1", "Weighted F1", "mean F1 of the classes, weighted by their images", decimal),
    Metric("balanced_accuracy", "Balanced accuracy", "mean recall of the classes", percent),
    Metric("auroc", "AUROC", "how well scores separate each class from the others: 1 at best, 0.5 by chance", decimal),
    Metric("average_precision", "Average precision", "mean area under the classes' precision-recall curves", decimal),
    Metric("loss", "Log loss", "0 at best; confident errors cost most", decimal, -1),
    Metric("brier", "Brier score", "squared error of the probabilities: 0 at best, 2 at worst", decimal, -1),
    Metric("ece", "Calibration error", "mean gap between raw confidence and accuracy (ECE)", percent, -1),
    Metric(
        "corrected_ece",
        "Calibration error, calibrated",
        "the same for the calibrated confidences of the level by itself",
        percent,
        -1,
    ),
    Metric("adaptive_ece", "Adaptive calibration error", "raw confidences, in equally full bins", percent, -1),
)

TREE_METRICS = (
    Metric("path_accuracy", "Path accuracy", "share of the images that are right at every level", percent),
    Metric("contradiction_rate", "Contradictions", "share whose class is no child of the coarser class", percent, -1),
    Metric("consistency", "Consistency", "share whose predictions do not contradict each other", percent),
    Metric("hierarchical_f1", "Hierarchical F1", "F1 over the classes and all their ancestors", decimal),
    Metric(
        "mistake_severity",
        "Mistake severity",
        "mean over wrong predictions: 1 if only the finest level is wrong, 2 if the level above is too, and so on",
        decimal,
        -1,
    ),
)

_DECODES = {
    "independent": "the likeliest class of each level's head",
    "marginal": "the likeliest path, where a parent's probability is the sum of its children's",
    "conditional": "the likeliest path, where a class's probability within its parent is multiplied by its parent's",
    "joint": "the path with the largest product of the levels' probabilities",
}


def header(contents: PageContents) -> dict[str, Any]:
    """Describes the name, the result in a sentence, and the key figures of each level."""
    line = contents.line
    return {
        "levels": [_key_scores(contents, level) for level in contents.taxonomy.levels],
        "images": len(contents.split),
        "split": contents.split_name,
        "training_images": contents.data["splits"]["train"]["images"],
        "unknown": any((labels == UNKNOWN).any() for labels in contents.split.labels.values()),
        "epoch": line.get("epoch"),
        "step": contents.step,
        "epochs": contents.config.num_epochs,
        "metric": best_metric(contents.config),
        "model": contents.config.model.name,
        "devices": contents.devices,
        "time": duration(contents.training_seconds + validation_seconds(contents.lines)),
        "compares_training": len(contents.comparable_levels) == len(contents.taxonomy.levels),
        "note": contents.note[:1].upper() + contents.note[1:],
    }


def _key_scores(contents: PageContents, level: str) -> dict[str, Any]:
    heads, assessed = contents.config.model.heads, contents.assessment.levels[level]
    counts = contents.counts(level)
    frequent = int(contents.train_counts(level).argmax())
    return {
        "level": level,
        "classes": contents.taxonomy.num_classes(level),
        "images": int(counts.sum()),
        "derived": bool(heads) and level not in heads,
        "scores": assessed.scores,
        "interval": None if math.isnan(assessed.scores["accuracy"]) else assessed.intervals.get("accuracy"),
        "train_accuracy": contents.line.get(f"train/{level}/accuracy") if level in contents.comparable_levels else None,
        "frequent": class_names(contents.taxonomy, level)[frequent],
        "frequent_share": counts[frequent] / counts.sum() if counts.sum() else None,
    }


def results(contents: PageContents) -> dict[str, Any]:
    """Describes every score of every level with its interval, by rarity, and over the tree for every decode."""
    levels = {level: level_estimates(assessed) for level, assessed in contents.assessment.levels.items()}
    decodes = [
        {
            "name": name,
            "meaning": _DECODES[name],
            "default": name == DEFAULT_DECODE,
            "cells": [cell(metric, decode_estimates(assessed)) for metric in TREE_METRICS],
        }
        for name, assessed in contents.assessment.decodes.items()
    ]
    return {
        "split": contents.split_name,
        "levels": list(levels),
        "rows": [
            (metric, [cell(metric, estimates) for estimates in levels.values()])
            for metric in METRICS
            if any(metric.key in estimates for estimates in levels.values())
        ],
        "decodes": decodes if len(levels) > 1 else [],
        "tree_metrics": TREE_METRICS,
        "shots": SHOTS,
        "rarity": [
            (level, [assessed.shots[name] for name in SHOTS]) for level, assessed in contents.assessment.levels.items()
        ],
        "thresholds": contents.thresholds,
    }


class Estimate(NamedTuple):
    """A score and its interval, each None if it is not known."""

    value: float | None = None
    interval: Sequence[float] | None = None


def level_estimates(assessed: LevelAssessment) -> dict[str, Estimate]:
    """Returns the estimates of a level by the keys of the metrics.

    They include the scores by rarity and, as corrected_NAME, the calibrated scores, which are cross-fitted on images
    that the temperatures were fitted on.
    """
    estimates = {name: Estimate(value, assessed.intervals.get(name)) for name, value in assessed.scores.items()}
    estimates |= {name: Estimate(value) for name, value in assessed.shots.items()}
    return estimates | {f"corrected_{name}": Estimate(value) for name, value in (assessed.calibrated or {}).items()}


def decode_estimates(assessed: DecodeAssessment) -> dict[str, Estimate]:
    """Returns the estimates of a way to decode the tree by the keys of the metrics."""
    return {name: Estimate(value, assessed.intervals.get(name)) for name, value in assessed.scores.items()}


def cell(metric: Metric, estimates: Mapping[str, Estimate]) -> tuple[str, str]:
    """Returns a score and its confidence interval as two texts."""
    value, interval = estimates.get(metric.key, Estimate())
    words = "" if interval is None else f"{metric.shown(interval[0])} to {metric.shown(interval[1])}"
    return metric.shown(value), words

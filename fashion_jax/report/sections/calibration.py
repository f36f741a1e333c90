"""Describes the page's section on calibration: whether confidences are right, and coverage against accuracy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fashion_jax.report.contents import PageContents
from fashion_jax.report.figures import charts
from fashion_jax.report.rendering import percent
from fashion_jax.scoring.calibration import coverage_curve, reliability

_TARGETS = (0.9, 0.95, 0.99)  # accuracies that users ask for

_MAX_POINTS = 200  # per curve


def calibration(contents: PageContents) -> dict[str, Any]:
    """Describes reliability and coverage of each level, the finest first."""
    return {
        "levels": [_level(contents, level) for level in reversed(contents.taxonomy.levels)],
        "fitted": bool(contents.temperatures),
    }


def _level(contents: PageContents, level: str) -> dict[str, Any]:
    labels, raw = contents.split.labels[level], contents.log_probs[level]
    temperature = contents.temperatures.get(level)
    corrected = contents.calibrated[level]
    diagram, curve = reliability(corrected, labels), coverage_curve(corrected, labels)
    images = int(diagram["count"].sum())
    if not images:
        return {"level": level, "images": 0}
    series = {"ideal": (np.array([0.0, 1.0]), np.array([0.0, 1.0]))}
    if temperature is not None:
        uncalibrated = reliability(raw, labels)
        series["before"] = uncalibrated["confidence"], uncalibrated["accuracy"]
    series["validation"] = diagram["confidence"], diagram["accuracy"]
    assessed = contents.assessment.levels[level]
    before = assessed.scores["ece"]
    error = before if temperature is None or assessed.calibrated is None else assessed.calibrated["ece"]
    return {
        "level": level,
        "images": images,
        "temperature": temperature,
        "error_before": before,
        "error_after": error,
        "reliability": charts.shares(_without_gaps(series), histogram=diagram["count"] / images),
        "reliability_label": f"Accuracy against confidence, {level}: expected calibration error {error:.1%}",
        "coverage": _coverage_chart(curve),
        "coverage_label": f"Accuracy of the most confident images, {level}: {percent(curve['accuracy'][-1])} over all",
        "targets": [answered_at(curve, accuracy) for accuracy in _TARGETS],
    }


def _without_gaps(series: dict[str, charts.Points]) -> dict[str, charts.Points]:
    """Removes NaN points, so that a line goes on over bins without images."""
    return {name: (x[np.isfinite(y)], y[np.isfinite(y)]) for name, (x, y) in series.items()}


def _coverage_chart(curve: dict[str, np.ndarray]) -> charts.Chart:
    points = np.unique(np.linspace(0, len(curve["coverage"]) - 1, _MAX_POINTS).round().astype(int))
    coverage, accuracy = curve["coverage"][points], curve["accuracy"][points]
    lowest = float(np.floor(5 * min(accuracy.min(), 0.99)) / 5)
    return charts.shares({"validation": (coverage, accuracy)}, low=lowest)


def answered_at(curve: dict[str, np.ndarray], accuracy: float) -> dict[str, float | None]:
    """Returns the share of images answered at a wanted accuracy and the confidence needed, None if out of reach."""
    good = np.flatnonzero(curve["accuracy"] >= accuracy)
    if not len(good):
        return {"accuracy": accuracy, "coverage": None, "threshold": None}
    return {
        "accuracy": accuracy,
        "coverage": float(curve["coverage"][good[-1]]),
        "threshold": math.ceil(1e4 * float(curve["threshold"][good[-1]])) / 1e4,
    }

"""Describes a classifier to the page: its levels, classes and canvas, and from which probability an answer is sure."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Mapping
from typing import Any

from fashion_jax.taxonomy import Taxonomy

BEST = 5  # classes per level with their probabilities

MIN_PROBABILITY = 0.8  # of a sure answer, unless the user names another or a precision


def describe(
    name: str,
    taxonomy: Taxonomy,
    canvas: tuple[int, int],
    resize: str,
    thresholds: Mapping[str, float],
    *,
    has_heat_maps: bool,
    is_calibrated: bool | None,
) -> dict[str, Any]:
    """Returns what GET /api/model answers, as plain JSON values.

    Args:
        name: of the model, for people.
        taxonomy: its levels and classes.
        canvas: (height, width) of the images that it takes.
        resize: how an image fits the canvas.
        thresholds: level -> lowest probability of a sure answer; infinity where none is sure.
        has_heat_maps: whether POST /api/explain shows what speaks for a class.
        is_calibrated: whether the probabilities are calibrated; None if it is not known.
    """
    return {
        "name": name,
        "fashion_jax": importlib.metadata.version("fashion_jax"),
        "levels": list(taxonomy.levels),
        "labels": {level: list(taxonomy.classes[level]) for level in taxonomy.levels},
        "parents": {level: list(taxonomy.parents[level]) for level in taxonomy.levels},
        "canvas": {"height": canvas[0], "width": canvas[1]},
        "resize": resize,
        "thresholds": {level: value if math.isfinite(value) else None for level, value in thresholds.items()},
        "best": BEST,
        "calibrated": is_calibrated,
        "heat_maps": has_heat_maps,
    }

"""Adds up how long a run took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def training_seconds(lines: Sequence[Mapping[str, Any]], batch_size: int) -> float | None:
    """Returns the seconds that all epochs have trained, from the speed of each; None if no epoch has one.

    Of an epoch that was resumed only a part was timed, so that the times of metrics.jsonl add up to too little. An
    epoch without a speed, as it was resumed after its last step, counts with the mean speed of the others.

    Args:
        lines: of metrics.jsonl.
        batch_size: images of a step.
    """
    steps = np.diff([0, *(line["step"] for line in lines)])
    per_image = np.array([1 / line["timing"].get("images_per_second", np.nan) for line in lines])
    if np.isnan(per_image).all():
        return None
    per_image[np.isnan(per_image)] = np.nanmean(per_image)
    return float(np.sum(steps * batch_size * per_image))


def validation_seconds(lines: Sequence[Mapping[str, Any]]) -> float:
    """Returns the seconds of all evaluations of the validation split at the ends of epochs."""
    return sum(line["timing"].get("validation_seconds", 0.0) for line in lines)

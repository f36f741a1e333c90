"""Adds up how long a run took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def training_seconds(lines: Sequence[Mapping[str, Any]], batch_size: int) -> float | None:
    """Returns the seconds that all epochs have trained, from the speed of each; None if no epoch has one.

    Of an epoch that was resumed only a part was timed, with the start of the program in it, or nothing if it was
    resumed after its last step. It counts with the mean speed of the whole epochs, if there are any.

    Args:
        lines: of metrics.jsonl.
        batch_size: images of a step, in epochs of earlier versions, whose lines do not tell it.
    """
    sizes = [line["timing"].get("batch_size", batch_size) for line in lines]
    images = np.diff([0, *(line["step"] for line in lines)]) * sizes
    speeds = np.array([line["timing"].get("images_per_second", np.nan) for line in lines])
    if np.isnan(speeds).all():
        return None
    timed = speeds * [line["timing"].get("train_seconds", np.nan) for line in lines]
    is_whole = timed > 0.99 * images
    per_image = 1 / speeds
    other = per_image[is_whole] if is_whole.any() else per_image
    per_image[~is_whole if is_whole.any() else np.isnan(per_image)] = np.nanmean(other)
    return float(np.sum(images * per_image))


def validation_seconds(lines: Sequence[Mapping[str, Any]]) -> float:
    """Returns the seconds of all evaluations of the validation split at the ends of epochs."""
    return sum(line["timing"].get("validation_seconds", 0.0) for line in lines)

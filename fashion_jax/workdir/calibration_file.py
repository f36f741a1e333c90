"""Reads and writes calibration.json: the temperatures of a run, fitted on its validation predictions."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fashion_jax.atomic import read_text, write_text
from fashion_jax.data.strings import digest_of_ids
from fashion_jax.json_text import parse_json
from fashion_jax.scoring.calibration import calibration_error
from fashion_jax.scoring.temperature import calibrated, cross_fitted, fit_temperature
from fashion_jax.taxonomy import UNKNOWN, Taxonomy
from fashion_jax.workdir.paths import calibration_path
from fashion_jax.workdir.reading import reading


@dataclasses.dataclass(frozen=True)
class RunCalibration:
    """The contents of calibration.json.

    Attributes:
        temperatures: level -> temperature.
        step: of the checkpoint whose predictions they were fitted on.
        digest: of the ids of the images that they were fitted on.
    """

    temperatures: dict[str, float]
    step: int
    digest: str

    def fitted_on(self, ids: Sequence[str]) -> bool:
        """Returns whether these are the images that the temperatures were fitted on."""
        return self.digest == digest_of_ids(ids)


def write_calibration(
    workdir: Path,
    step: int,
    ids: Sequence[str],
    log_probs: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
) -> RunCalibration:
    """Fits a temperature per level, and writes it with the calibration errors without and with it; returns it.

    Args:
        workdir: of the run.
        step: of the checkpoint.
        ids: of the validation images.
        log_probs: level -> [images, classes].
        labels: level -> int [images].
    """
    temperatures = {level: fit_temperature(x, labels[level]) for level, x in log_probs.items()}
    levels = {level: _level(x, labels[level], temperatures[level]) for level, x in log_probs.items()}
    digest = digest_of_ids(ids)
    split = {"split": "validation", "step": step, "images": len(ids), "ids_sha256": digest}
    write_text(calibration_path(workdir), json.dumps(split | {"levels": levels}, indent=1))
    return RunCalibration(temperatures, step, digest)


def _level(log_probs: np.ndarray, labels: np.ndarray, temperature: float) -> dict[str, float | None]:
    """Returns a level's entry; ece_cross_fitted is computed by cross-fitting over five folds."""
    errors = {
        "ece_before": calibration_error(log_probs, labels),
        "ece_after": calibration_error(calibrated(log_probs, temperature), labels),
        "ece_cross_fitted": calibration_error(cross_fitted(log_probs, labels, temperature), labels),
    }
    known = int((labels != UNKNOWN).sum())
    values = {name: value if math.isfinite(value) else None for name, value in errors.items()}
    return {"temperature": temperature, "known_labels": known} | values


def read_calibration(workdir: Path, taxonomy: Taxonomy) -> RunCalibration | None:
    """Reads the run's calibration; returns None if it has none.

    Raises:
        UserError: the file is damaged.
    """
    path = calibration_path(workdir)
    with reading(path, "restore it, or delete it to do without"):
        try:
            text = read_text(path)
        except FileNotFoundError:
            return None
        found: dict[str, Any] = parse_json(text)
        temperatures = {level: float(found["levels"][level]["temperature"]) for level in taxonomy.levels}
        if not all(0 < temperature < math.inf for temperature in temperatures.values()):
            raise ValueError("a temperature is not above 0")
        return RunCalibration(temperatures, int(found["step"]), str(found["ids_sha256"]))

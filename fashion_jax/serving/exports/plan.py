"""What is exported, and how: the checkpoint, its temperatures, the format and the images that it is compared on."""

from __future__ import annotations

import dataclasses

import numpy as np

from fashion_jax.serving.calibration_notes import other_temperatures_notes
from fashion_jax.serving.exports.check_images import CheckImages, spread
from fashion_jax.workdir.calibration_file import RunCalibration
from fashion_jax.workdir.trained import Trained

_VECTORS = 16  # images of test_vectors.npz


@dataclasses.dataclass(frozen=True)
class ExportPlan:
    """What is exported, and how.

    Attributes:
        trained: the checkpoint.
        calibration: of the run; None if it has none.
        otherwise: config fields by which the export predicts differently from the run's validation.
        format: one of MODELS.
        int8: whether it computes in 8-bit integers.
        images: to compare it on.
    """

    trained: Trained
    calibration: RunCalibration | None
    otherwise: list[str]
    format: str
    int8: bool
    images: CheckImages

    @property
    def temperatures(self) -> dict[str, float]:
        """Returns level -> temperature; empty if the run has none."""
        return self.calibration.temperatures if self.calibration else {}

    @property
    def other_temperatures(self) -> list[str]:
        """Returns sentences on temperatures that were fitted to other predictions; none if they belong to these."""
        if not self.calibration:
            return []
        return other_temperatures_notes(self.calibration, self.trained.step, self.otherwise)

    @property
    def is_calibrated(self) -> bool:
        """Returns whether the temperatures were fitted to this checkpoint as it predicts in the export."""
        return self.calibration is not None and not self.other_temperatures

    @property
    def dtype(self) -> str:
        """Returns what the run computes in; the export computes in float32."""
        return str(self.trained.config.dtype)

    @property
    def vectors(self) -> np.ndarray:
        """Returns the indices of those of the images that test_vectors.npz holds, int [n]."""
        return spread(len(self.images.canvases), _VECTORS)

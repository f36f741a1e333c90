"""Says whether the temperatures of a run calibrate the checkpoint that is used, and predicts as it is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fashion_jax.workdir.paths import CALIBRATION

if TYPE_CHECKING:
    from fashion_jax.workdir.calibration_file import RunCalibration


def no_calibration_note(run: str) -> str:
    """Returns the sentence on a run without calibration.json.

    Args:
        run: what the sentence calls it.
    """
    return f"{run} has no {CALIBRATION}, so the probabilities are not calibrated."


def other_temperatures_notes(calibration: RunCalibration, step: int, otherwise: Sequence[str]) -> list[str]:
    """Returns sentences on temperatures that were fitted to other predictions; none if they belong to these.

    Args:
        calibration: of the run.
        step: of the checkpoint.
        otherwise: config fields by which it predicts differently from the run's validation.
    """
    notes = []
    if calibration.step != step:
        notes.append(
            f"The probabilities of step {step} are calibrated with temperatures that were fitted at step "
            f"{calibration.step}."
        )
    if otherwise:
        other = f"{'another value' if len(otherwise) == 1 else 'other values'} of {', '.join(otherwise)}"
        notes.append(
            f"The temperatures were fitted to predictions with {other}, so the probabilities may be miscalibrated."
        )
    return notes

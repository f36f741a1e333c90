"""Computes a run's position in its data, and the steps at which its epochs end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fashion_jax.errors import UserError

_SMALLEST_BATCH = 2  # images


class Position(NamedTuple):
    """A run's position in its data: step, epoch and seen of its state."""

    step: int
    epoch: int
    seen: int


BEGINNING = Position(0, 0, 0)


def epoch_ends(position: Position, num_images: int, batch_size: int, num_epochs: int) -> dict[int, int]:
    """Returns step -> epoch, counted from 1, for each epoch that ends at a position or after it, in order.

    Raises:
        UserError: the position is after the last epoch, or fewer images are left in its epoch than a batch takes.
    """
    step, epoch, seen = position
    if epoch > num_epochs or (epoch == num_epochs and seen):
        raise UserError(
            f"The run is in its epoch {epoch + bool(seen)} after {step} steps, more than num_epochs = {num_epochs}: "
            "raise num_epochs, or use another --workdir."
        )
    left = num_images - seen
    if seen and left < batch_size:
        if left < _SMALLEST_BATCH:
            raise UserError(
                f"Of epoch {epoch + 1}, {seen} images are done after step {step}, but the training split has only "
                f"{num_images} now: restore the data, or use another --workdir."
            )
        raise UserError(
            f"batch_size is {batch_size}, but after step {step} only {left} of the {num_images} images of epoch "
            f"{epoch + 1} are left: lower it, at least until that epoch ends."
        )
    ends = {step: epoch} if epoch and not seen else {}
    for number in range(epoch, num_epochs):
        step += (num_images - seen) // batch_size
        ends[step], seen = number + 1, 0
    return ends


def check_epochs(epochs: Sequence[Any], position: Position, path: Path) -> None:
    """Checks that metrics.jsonl has a line for each epoch that is done at a position.

    The last one may lack its line if the run was killed between its checkpoint and its line: it is evaluated again.

    Args:
        epochs: those of the lines up to the position, in order.
        position: where the run resumes.
        path: of the file.

    Raises:
        UserError: lines are missing or repeated.
    """
    expected = list(range(1, position.epoch + 1))
    if epochs == expected or (not position.seen and epochs == expected[:-1]):
        return
    wrong = next((epoch for epoch in expected if epochs.count(epoch) != 1), "others")
    raise UserError(
        f"{path} must have one line for each of the {position.epoch} epochs that are done after step {position.step}, "
        f"but has {epochs.count(wrong)} for epoch {wrong}: restore it from a copy, or use another --workdir."
    )

"""Where a run is in its data, and the steps at which its epochs end."""

from __future__ import annotations

from typing import NamedTuple

from fashion_jax.errors import UserError


class Position(NamedTuple):
    """Where a run is in its data: step, epoch and seen of its state."""

    step: int
    epoch: int
    seen: int


BEGINNING = Position(0, 0, 0)


def epoch_ends(position: Position, num_images: int, batch_size: int, num_epochs: int) -> dict[int, int]:
    """Step → epoch, counted from 1, of each epoch that ends at a position or after it, in order.

    Raises:
        UserError: the position is behind the last epoch, or too few images are left in its epoch for a batch.
    """
    step, epoch, seen = position
    if epoch > num_epochs or (epoch == num_epochs and seen):
        raise UserError(
            f"The run is in its epoch {epoch + bool(seen)} after {step} steps, more than num_epochs = {num_epochs}: "
            "raise num_epochs, or use another --workdir."
        )
    if seen and seen + batch_size > num_images:
        raise UserError(
            f"batch_size is {batch_size}, but epoch {epoch + 1}, in which the run stopped, has only "
            f"{max(num_images - seen, 0)} of its {num_images} images left: lower it, at least until that epoch ends."
        )
    ends = {step: epoch} if epoch and not seen else {}
    for number in range(epoch, num_epochs):
        step += (num_images - seen) // batch_size
        ends[step], seen = number + 1, 0
    return ends

"""Chooses the image size, the epochs and the batch size of a run that has to end at a given time."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from fashion_jax.command_line import about
from fashion_jax.errors import UserError

Shape = tuple[int, int]  # (height, width) of the network's input

FEWEST_STEPS = 600  # of a whole run; below them, batches are halved
SMALLEST_BATCH = 16  # that halving leads to
MOST_PIXELS = 224 * 224

_GRID = 4  # pixels between the heights of two candidates
_NEAR = 8  # pixels between the heights of a measured size and one that is chosen without another measurement
_MOST_EPOCHS = 1 << 16
_USUAL_EXPONENT = 0.9  # of the seconds per image as a power of the pixels, as long as only one size is measured


class Plan(NamedTuple):
    """What a run trains: images of a shape, for a number of epochs, in batches of a size."""

    shape: Shape
    num_epochs: int
    batch_size: int

    @property
    def pixels(self) -> int:
        """The pixels of an image."""
        return self.shape[0] * self.shape[1]


class Measured(NamedTuple):
    """What images of a size take on the run's devices, in seconds.

    Attributes:
        shape: of the images.
        train: of a training step, for each of its images.
        evaluate: of a step of evaluation, for each of its images.
        decode: to read and decode an image.
        is_streamed: whether images are decoded in every epoch; otherwise once.
        compilation: of the programs of a plan, which XLA compiles unless they have been.
        tracing: of the same programs, by JAX, whenever a run begins.
    """

    shape: Shape
    train: float
    evaluate: float
    decode: float
    is_streamed: bool
    compilation: float
    tracing: float

    @property
    def pixels(self) -> int:
        """The pixels of an image."""
        return self.shape[0] * self.shape[1]


@dataclasses.dataclass(frozen=True)
class Work:
    """What a run does whatever its plan is.

    Attributes:
        num_images: the training images.
        num_validation: the validation images.
        every_steps: steps from a checkpoint within an epoch to the next one.
        save: seconds of saving a checkpoint.
        start: seconds from the choice of the plan to the first step, without tracing, compilation and decoding.
        end: seconds from the last evaluation to the end of the program: scores, figures and the page.
        is_shared: whether the processors that decode also train, so that the times add up.
    """

    num_images: int
    num_validation: int
    every_steps: int
    save: float
    start: float
    end: float
    is_shared: bool


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The plans that a config allows.

    Attributes:
        shapes: of the images, in ascending order.
        batch_size: of the config, which is halved where a run would have too few steps.
        unit: what every batch size is a multiple of.
        fewest_epochs: that the schedule of learning rates allows.
    """

    shapes: Sequence[Shape]
    batch_size: int
    unit: int
    fewest_epochs: int

    def plan(self, shape: Shape, num_epochs: int, num_images: int) -> Plan:
        """Returns the plan of so many epochs, with the largest batches that make enough steps."""
        size = self.batch_size
        while num_epochs * (num_images // size) < FEWEST_STEPS and self._can_halve(size):
            size //= 2
        return Plan(shape, num_epochs, size)

    def _can_halve(self, size: int) -> bool:
        return size % (2 * self.unit) == 0 and size // 2 >= SMALLEST_BATCH


def shapes_of(own: Shape, most_pixels: float, smallest: int, canvas: Shape | None) -> list[Shape]:
    """Returns the candidates for the shape of the network's input, in ascending order.

    Args:
        own: the shape of the config; it is a candidate, and all others have its aspect ratio.
        most_pixels: of a candidate, unless the config's own shape has more.
        smallest: the fewest pixels of a side.
        canvas: the shape of decoded images, which no candidate exceeds; None if it follows from the candidate.
    """
    most = max(most_pixels, own[0] * own[1])
    highest = math.floor(math.sqrt(most * own[0] / own[1]))
    heights = {own[0], *range(smallest + -smallest % _GRID, highest + 1, _GRID)}
    shapes = [(height, round(height * own[1] / own[0])) for height in sorted(heights)]
    limits = canvas or (highest, math.inf)
    return [x for x in shapes if min(x) >= smallest and x[0] <= limits[0] and x[1] <= limits[1]]


def expected_error(pixels: int, passes: int, num_images: int) -> float:
    """Returns the expected share of wrong labels at the finest level, by which plans are ranked.

    Its constants are fitted to the validation errors of the recipe on the product images ("Accuracy for compute" in
    docs/results.md). Of another data set the errors differ, but more passes and more pixels pay off alike. Passes over
    the same images pay off less and less.

    Args:
        pixels: of an image.
        passes: images that are trained on, in all epochs together.
        num_images: the different images among them.
    """
    repeated = 16 * num_images  # passes after which repeating the images has almost no effect
    effective = repeated * -math.expm1(-passes / repeated)
    return 0.002 + 0.033 * (effective / 94_000) ** -0.7 + 0.026 * (pixels / 48**2) ** -0.75


def tolerance(limit: float) -> float:
    """Returns by how many seconds a run may end before or after its limit: 10 % or 60 s, and at most 20 %."""
    return min(max(60, 0.1 * limit), 0.2 * limit)


def seconds_of(plan: Plan, measured: Sequence[Measured], work: Work, compiled: Plan | None = None) -> float:
    """Returns the seconds that a plan takes from now on, by the sizes that have been measured; see `choose`."""
    latest = measured[-1]
    train = _train_seconds(plan.pixels, measured)
    evaluate = train * latest.evaluate / latest.train
    steps = work.num_images // plan.batch_size
    trained, decoded = steps * plan.batch_size, work.num_images + work.num_validation
    training, decoding = trained * train + work.num_validation * evaluate, decoded * latest.decode
    saves = 1 + steps // work.every_steps
    if latest.is_streamed:
        epoch, once = (training + decoding if work.is_shared else max(training, decoding)), 0.0
    else:
        epoch, once = training, decoding
    start = work.start + latest.tracing + (latest.compilation if plan != compiled else 0) + once
    return start + plan.num_epochs * (epoch + saves * work.save) + work.num_validation * evaluate + work.end


def choose(
    candidates: Candidates,
    measured: Sequence[Measured],
    work: Work,
    *,
    limit: float,
    elapsed: float,
    compiled: Plan | None = None,
) -> Plan:
    """Returns the plan of the lowest expected error among those that fill the time, or the one that fills it best.

    A plan whose programs are compiled stays if it still suits; otherwise another one near it is chosen.

    Args:
        candidates: the plans to choose from.
        measured: one size, or two, of which the second is that of the compiled plan.
        work: what else the run does.
        limit: seconds of the program from its start to its end.
        elapsed: seconds since its start.
        compiled: the plan whose programs have been compiled and timed, if there is one.

    Raises:
        UserError: no plan is short enough.
    """
    spare = tolerance(limit)
    least, most = limit - 0.7 * spare, limit - 0.2 * spare  # a delay is likelier than the opposite

    def end_of(plan: Plan) -> float:
        return elapsed + seconds_of(plan, measured, work, compiled)

    shapes, every = candidates.shapes, candidates.shapes
    if compiled is not None:
        if least <= end_of(compiled) <= limit:
            return compiled
        shapes = [shape for shape in every if abs(shape[0] - compiled.shape[0]) <= _NEAR]
    count = work.num_images
    plans = _longest(candidates, shapes, count, end_of, most) or _longest(candidates, every, count, end_of, most)
    if not plans:
        shortest = min((candidates.plan(shape, candidates.fewest_epochs, count) for shape in every), key=end_of)
        possible = min(shortest, compiled or shortest, key=end_of)
        if end_of(possible) > limit + spare / 2:
            raise _too_short(shortest, end_of(shortest), limit)
        return possible
    full = [plan for plan in plans if end_of(plan) >= least]
    return min(full, key=lambda plan: _error_of(plan, work.num_images)) if full else max(plans, key=end_of)


def _longest(
    candidates: Candidates, shapes: Iterable[Shape], num_images: int, end_of: Callable[[Plan], float], most: float
) -> list[Plan]:
    """Returns for each shape the plan of most epochs that ends in time, if there is one."""
    plans = []
    for shape in shapes:

        def end(epochs: int, shape: Shape = shape) -> float:
            return end_of(candidates.plan(shape, epochs, num_images))

        fitting = bisect.bisect_right(range(candidates.fewest_epochs, _MOST_EPOCHS), most, key=end)
        if fitting:
            plans.append(candidates.plan(shape, candidates.fewest_epochs + fitting - 1, num_images))
    return plans


def _error_of(plan: Plan, num_images: int) -> float:
    passes = plan.num_epochs * (num_images // plan.batch_size * plan.batch_size)
    return expected_error(plan.pixels, passes, num_images)


def _too_short(plan: Plan, seconds: float, limit: float) -> UserError:
    epochs = "an epoch" if plan.num_epochs == 1 else f"{plan.num_epochs} epochs"
    return UserError(
        f"time_limit is {about(limit)}, but {epochs} of the smallest images, {in_words(plan.shape)}, would take about "
        f"{about(seconds)} on these devices, with the start and the page: raise it, or train on fewer images."
    )


def in_words(shape: Shape) -> str:
    """Returns a shape as 64 px, or 80x60 px if the height differs from the width."""
    height, width = shape
    return f"{height} px" if height == width else f"{height}x{width} px"


def _train_seconds(pixels: int, measured: Sequence[Measured]) -> float:
    """Returns the seconds of an image in training: a power of its pixels, since large images use a device better."""
    first, latest = measured[0], measured[-1]
    exponent = _USUAL_EXPONENT
    if first.pixels != latest.pixels:
        found = math.log(latest.train / first.train) / math.log(latest.pixels / first.pixels)
        exponent = min(max(found, 0.2), 1.2)  # sizes that are close, or a machine with other work, give any number
    return latest.train * (pixels / latest.pixels) ** exponent

"""Chooses the image size, the epochs and the batch size of a run that has to end at a given time."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fashion_jax.command_line.formats import about
from fashion_jax.config.architectures import VGGS
from fashion_jax.devices.mesh import eval_batch_size
from fashion_jax.errors import UserError

Shape = tuple[int, int]  # (height, width) of the network's input

FEWEST_STEPS = 600  # of a whole run, below which the error grows
SMALLEST_BATCH = 16  # that is chosen instead of the config's own
MOST_PIXELS = 224 * 224

_GRID = 4  # pixels between the longer sides of two candidates
_NEAR = 8  # pixels between the longer sides of a measured size and one that its time predicts well
_NEARLY = 1.1  # a plan whose time is predicted well may have an expected error this many times the lowest one
_MOST_EPOCHS = 1 << 16
# The shares of a network's operations by the stride of the maps that they compute. ResNet-34 rounds the sides of its
# maps up, so that images of 68 px take a third more time for each of their pixels than those of 64 px; VGG-16, which
# also does most of the work of the hybrid, rounds them down.
_STRIDES = {2: 0.03, 4: 0.19, 8: 0.24, 16: 0.36, 32: 0.18}
_STRIDES_OF_VGG = {1: 0.13, 2: 0.18, 4: 0.30, 8: 0.30, 16: 0.09}
# A step takes as long as so many more pixels would, for its update and for the transformation of its kernels: ResNet-34
# on two cores, whose steps of 32 images take 291 ms at 64 px and 930 ms at 128 px (docs/speed.md). Muon's update
# multiplies the matrices of all kernels with themselves ("What each choice gains" in docs/recipes.md).
_STEP_PIXELS = {"sgd": 48_000, "adamw": 48_000, "muon": 1_200_000}
_EVALUATED_STEP_PIXELS = 48_000
# The error grows with the square of the learning rate of the last epoch, relative to the highest one. With a cosine per
# epoch the last of two has half of it: their error was 1.22 times what is expected otherwise, of which batches of 16
# may be a part (91.34 % of sub right at 64 px, with configs/product_images.py and time_limit=15m at commit 7edccdd).
# Four epochs, whose last one has 0.15 of it, and eight were as expected.
_ERROR_BY_LAST_RATE = 0.9
_TRAIN_BY_EVALUATION = 3.3  # seconds of an image in training / in evaluation, both without the fixed cost of a step


class TimePlan(NamedTuple):
    """What a run trains: images of a shape, for a number of epochs, in batches of a size."""

    shape: Shape
    num_epochs: int
    batch_size: int

    @property
    def pixels(self) -> int:
        """The pixels of an image."""
        return self.shape[0] * self.shape[1]


class CostModel(NamedTuple):
    """The relative costs of the network and its optimizer, by which the times of all sizes follow from the time of one.

    Attributes:
        model: the field model.name.
        optimizer: the field.
        accumulate: the field.
    """

    model: str
    optimizer: str
    accumulate: int

    def image_cost(self, shape: Shape, batch_size: int) -> float:
        """Returns the time of an image in training, relative to that of images of other shapes or in other batches.

        Args:
            shape: (height, width) of the image.
            batch_size: images of a step.
        """
        return self._computed_pixels(shape) + _STEP_PIXELS[self.optimizer] / batch_size

    def cost(self, plan: TimePlan) -> float:
        """Returns `image_cost` of a plan."""
        return self.image_cost(plan.shape, plan.batch_size)

    def cost_of_evaluation(self, plan: TimePlan) -> float:
        """Returns the time of an image in evaluation, relative to that of other plans."""
        return self._computed_pixels(plan.shape) + _EVALUATED_STEP_PIXELS / self.evaluated_together(plan)

    def evaluated_together(self, plan: TimePlan) -> int:
        """Returns the images of a step of evaluation on one device."""
        return eval_batch_size(plan.batch_size, 1, self.accumulate)

    def guessed_train_seconds(self, plan: TimePlan, evaluate: float) -> float:
        """Returns the seconds of an image in training, guessed from those of its evaluation without mirror images."""
        return _TRAIN_BY_EVALUATION * evaluate * self.cost(plan) / self.cost_of_evaluation(plan)

    def _computed_pixels(self, shape: Shape) -> float:
        """Returns the pixels of an image, as many as its maps would have without rounding."""
        is_vgg = self.model in (*VGGS, "hybrid")
        strides, rounded = (_STRIDES_OF_VGG, math.floor) if is_vgg else (_STRIDES, math.ceil)
        height, width = shape
        return sum(share * rounded(height / s) * rounded(width / s) * s**2 for s, share in strides.items())


class Timings(NamedTuple):
    """What images of a size take on the run's devices, in seconds.

    Attributes:
        plan: whose steps were timed.
        train: of a training step, for each of its images.
        evaluate: of a step of evaluation, for each of its images.
        decode: to read and decode an image, by one process.
        compilation: of the programs of a plan, which XLA compiles unless they have been.
        tracing: of the same programs, by JAX, whenever a run begins.
        step_bytes: memory that a training step needs for each pixel of its images, in bytes.
    """

    plan: TimePlan
    train: float
    evaluate: float
    decode: float
    compilation: float
    tracing: float
    step_bytes: float


class SaveCosts(NamedTuple):
    """What saving a checkpoint takes, in seconds.

    Attributes:
        waited: by which it delays the training.
        whole: until it is on disk.
    """

    waited: float
    whole: float


@dataclasses.dataclass(frozen=True)
class Work:
    """What a run takes and has, whatever its plan is.

    Attributes:
        num_images: the training images.
        num_validation: the validation images.
        every_steps: steps from a checkpoint within an epoch to the next one.
        save: what saving a checkpoint takes.
        reading: seconds that have gone into reading and checking the data, which another start need not check again.
        start: seconds from the choice of the plan to the first step, without tracing, compilation and decoding.
        scores: seconds of the scores after each evaluation.
        end: seconds from the last evaluation to the end of the program: scores, figures and the page, whose images are
            decoded in the time of `shown`.
        shown: images that the page shows, which are decoded once more.
        is_shared: whether the processors that decode also train, so that the times add up.
        most_cached: pixels of the largest training images that are decoded once and kept; larger ones are decoded every
            epoch.
        most_on_devices: likewise, of those that are kept on the devices.
        most_cached_validation: likewise, of validation images that are decoded once and kept.
        num_processes: which divide the images among themselves.
        free_memory: bytes that the devices have together for a step.
        keeps_programs: whether a program that has been compiled is found again in the compilation cache.
        costs: of the network that is trained, and of its optimizer.
    """

    num_images: int
    num_validation: int
    every_steps: int
    save: SaveCosts
    reading: float
    start: float
    scores: float
    end: float
    shown: int
    is_shared: bool
    most_cached: float
    most_on_devices: float
    most_cached_validation: float
    num_processes: int
    free_memory: float
    keeps_programs: bool
    costs: CostModel

    def decoding(self, plan: TimePlan, decode: float) -> tuple[float, float, float]:
        """Returns the seconds of decoding at the start, while an epoch trains, and in a pass over validation.

        Each process decodes its share of the images, but nearly all of those that it keeps in its memory for training,
        as every epoch has another order.

        Args:
            plan: what is trained.
            decode: seconds of an image.
        """
        train, validation = (count * decode / self.num_processes for count in (self.num_images, self.num_validation))
        if self.most_on_devices < plan.pixels <= self.most_cached:
            train *= self.num_processes
        keeps_validation = plan.pixels <= self.most_cached_validation
        once = (train if plan.pixels <= self.most_cached else 0.0) + (validation if keeps_validation else 0.0)
        streamed = 0.0 if keeps_validation else validation
        return once, train + validation - once - streamed, streamed


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The plans that a config allows.

    Attributes:
        shapes: of the images, in ascending order.
        batch_sizes: that of the config, which is the largest, and smaller ones, in descending order.
        fewest_epochs: that the schedule of learning rates allows.
        falls_by_epoch: whether the learning rate falls along a cosine, once per epoch.
        warmup_epochs: whole epochs before it falls.
    """

    shapes: Sequence[Shape]
    batch_sizes: Sequence[int]
    fewest_epochs: int
    falls_by_epoch: bool
    warmup_epochs: int

    def error_factor(self, num_epochs: int) -> float:
        """Returns by what the expected error grows since the last epoch's learning rate is above 0."""
        falling = max(num_epochs - self.warmup_epochs, 1)
        last_rate = (1 + math.cos(math.pi * (falling - 1) / falling)) / 2 if self.falls_by_epoch else 0.0
        return 1 + _ERROR_BY_LAST_RATE * last_rate**2


def batch_sizes_of(own: int, unit: int) -> list[int]:
    """Returns the candidates for the size of batches, in descending order: the config's own, and down to a quarter.

    They are multiples of `unit`, which the devices and parts of a batch need. A step has a fixed part, so that an epoch
    of smaller batches takes a little longer, by which plans fill their time more exactly.
    """
    grid = math.lcm(unit, 4 * max(own // 64, 1))
    smaller = [size for size in range(grid, own, grid) if size >= max(SMALLEST_BATCH, own / 4)]
    return [own, *reversed(smaller)]


def shapes_of(own: Shape, most_pixels: float, smallest: int, canvas: Shape | None) -> list[Shape]:
    """Returns the candidates for the shape of the network's input, in ascending order.

    Args:
        own: the shape of the config; it is a candidate, and others have its aspect ratio, unless a side would be too
            small: then that side has the fewest pixels, so that there are candidates for short times.
        most_pixels: of a candidate, unless the config's own shape has more.
        smallest: the fewest pixels of a side.
        canvas: the shape of decoded images, which no candidate exceeds; None if it follows from the candidate.
    """
    most, longer = max(most_pixels, own[0] * own[1]), max(own)
    longest = math.floor(math.sqrt(most * longer / min(own)))
    sides = {longer, *range(smallest + -smallest % _GRID, longest + 1, _GRID)}
    scaled = [[max(smallest, round(side * size / longer)) for size in own] for side in sorted(sides)]
    shapes = [(height, width) for height, width in scaled]
    limits = canvas or (longest, longest)
    return [x for x in shapes if x[0] <= limits[0] and x[1] <= limits[1]]


def expected_error(pixels: int, passes: int, num_images: int, num_steps: int) -> float:
    """Returns the expected share of wrong labels at the finest level, by which plans are ranked.

    Its constants are fitted to the validation errors of the recipe on the product images ("Accuracy for compute" in
    docs/results.md), and what few steps cost to the table of "Larger batches and networks" in docs/recipes.md. Those of
    configs/best.py there are 0.77 to 0.80 times as large at each of four plans, from 0.28 to 1.95 times the recipe's
    compute. Of another data set the errors differ, but more passes and more pixels pay off alike. Passes over the same
    images pay off less and less.

    Args:
        pixels: of an image.
        passes: images that are trained on, in all epochs together.
        num_images: the different images among them.
        num_steps: of the run.
    """
    repeated = 16 * num_images  # passes after which repeating the images has almost no effect
    effective = repeated * -math.expm1(-passes / repeated)
    error = 0.002 + 0.033 * (effective / 94_000) ** -0.7 + 0.026 * (pixels / 48**2) ** -0.75
    return error * max(FEWEST_STEPS / num_steps, 1) ** 0.4


def tolerance(limit: float) -> float:
    """Returns by how many seconds a run may end before or after its limit: 10 % or 60 s, and at most 20 %."""
    return min(max(60, 0.1 * limit), 0.2 * limit)


def seconds_of(plan: TimePlan, measured: Timings, work: Work, compiled: TimePlan | None = None) -> float:
    """Returns the seconds that a plan takes from now on; see `choose` for the arguments."""
    cost, cost_of_evaluation = work.costs.cost, work.costs.cost_of_evaluation
    train = measured.train * cost(plan) / cost(measured.plan)
    evaluate = measured.evaluate * cost_of_evaluation(plan) / cost_of_evaluation(measured.plan)
    steps, batch = work.num_images // plan.batch_size, work.costs.evaluated_together(plan)
    evaluation = batch * math.ceil(work.num_validation / batch) * evaluate  # the last batch is filled up
    once, in_training, in_evaluation = work.decoding(plan, measured.decode)
    training, evaluated = (
        computing + decoding if work.is_shared else max(computing, decoding)
        for computing, decoding in ((steps * plan.batch_size * train, in_training), (evaluation, in_evaluation))
    )
    evaluated += work.scores
    saves = 1 + steps / work.every_steps
    compilation = 0 if plan == compiled and work.keeps_programs else measured.compilation
    start = work.start + measured.tracing + compilation + once
    end = work.end + work.shown * measured.decode
    # Checkpoints are written while the training goes on, but one after the other, and the last one to its end.
    epoch = max(training + evaluated + saves * work.save.waited, saves * work.save.whole)
    return start + plan.num_epochs * epoch + work.save.whole - work.save.waited + evaluated + end


def choose(
    candidates: Candidates,
    measured: Timings,
    work: Work,
    *,
    limit: float,
    elapsed: float,
    compiled: TimePlan | None = None,
) -> TimePlan:
    """Returns the plan of the lowest expected error among those that fill the time, or the one that fills it best.

    A plan whose programs are compiled stays if it still fills the time; if it nearly does, unless another is expected
    to be better. Otherwise one of the same size is chosen, or of a near one, if it fills the time and its expected
    error is at most a tenth above the lowest.

    Args:
        candidates: the plans to choose from.
        measured: the times of the compiled plan or, without one, of another.
        work: what else the run does.
        limit: seconds of the program from its start to its end.
        elapsed: seconds since its start.
        compiled: the plan whose programs have been compiled and timed, if there is one.

    Raises:
        UserError: no plan is short enough.
    """
    search = _Search(candidates, measured, work, limit, elapsed, compiled)
    return search.filling() or search.shortest()


@dataclasses.dataclass(frozen=True)
class _Search:
    """The search for a plan; see `choose` for the attributes."""

    candidates: Candidates
    measured: Timings
    work: Work
    limit: float
    elapsed: float
    compiled: TimePlan | None

    @property
    def _spare(self) -> float:
        return tolerance(self.limit)

    @property
    def _least(self) -> float:
        """When a plan ends at the earliest that fills the time."""
        return self.limit - 0.9 * self._spare

    @property
    def _most(self) -> float:
        """When a plan ends at the latest that leaves time for delays.

        On machines that others use too, runs were on time or took up to 13 % longer than their timed steps promised.
        """
        return self.limit - 0.4 * self._spare

    def filling(self) -> TimePlan | None:
        """Returns a plan that fills the time or, without one, that fills most of it; None if all plans are too long."""
        kept = self._kept()
        if kept and self._end_of(kept) >= self._least:
            return kept
        plans = [plan for size in self._sizes if (plan := self._longest(*size))]
        if full := [plan for plan in plans if self._end_of(plan) >= self._least]:
            enough = _NEARLY * min(map(self._error_of, full))
            for group in _groups(full, self.compiled):  # the last one has all plans, so that one is found
                best = min(group, key=self._error_of)
                if self._error_of(best) <= enough:
                    return kept if kept and self._error_of(kept) <= self._error_of(best) else best
        return max([*plans, *([kept] if kept else [])], key=self._end_of, default=None)

    def shortest(self) -> TimePlan:
        """Returns a plan that may end in time though it is expected to end late.

        Raises:
            UserError: there is none.
        """
        measured = self.measured if self.compiled else _trained_faster(self.measured)
        plans = [TimePlan(shape, self.candidates.fewest_epochs, size) for shape, size in self._sizes]
        plans = [self.compiled, *plans] if self.compiled else plans
        late = self.limit + self._spare / 2 - self.elapsed
        if fitting := [plan for plan in plans if seconds_of(plan, measured, self.work, self.compiled) <= late]:
            return min(fitting, key=lambda plan: (max(self._end_of(plan) - self._most, 0), self._error_of(plan)))
        plan = min(plans, key=self._end_of)
        raise _too_short(plan, self._end_of(plan), self.limit, self.work.reading, self.candidates)

    def _kept(self) -> TimePlan | None:
        """Returns the compiled plan if it ends in time, or nearly: to compile another would take as long."""
        latest = min(self.limit - 0.2 * self._spare, self._most + self.measured.compilation)
        is_kept = self.compiled and self.limit - 0.95 * self._spare <= self._end_of(self.compiled) <= latest
        return self.compiled if is_kept else None

    @functools.cached_property
    def _sizes(self) -> list[tuple[Shape, int]]:
        """The shapes and batch sizes whose steps fit into memory; the smallest ones do at any rate."""
        sizes = [*itertools.product(self.candidates.shapes, self.candidates.batch_sizes)]
        needed = [math.prod(shape) * size * self.measured.step_bytes for shape, size in sizes]
        return [x for x, size in zip(sizes, needed, strict=True) if size <= max(self.work.free_memory, min(needed))]

    def _longest(self, shape: Shape, batch_size: int) -> TimePlan | None:
        """Returns the plan of most epochs that ends in time; None if not even that of the fewest does."""
        possible = range(self.candidates.fewest_epochs, _MOST_EPOCHS)
        fitting = bisect.bisect_right(
            possible, self._most, key=lambda epochs: self._end_of(TimePlan(shape, epochs, batch_size))
        )
        return TimePlan(shape, possible[fitting - 1], batch_size) if fitting else None

    def _end_of(self, plan: TimePlan) -> float:
        return self.elapsed + seconds_of(plan, self.measured, self.work, self.compiled)

    def _error_of(self, plan: TimePlan) -> float:
        steps = plan.num_epochs * (self.work.num_images // plan.batch_size)
        error = expected_error(plan.pixels, steps * plan.batch_size, self.work.num_images, steps)
        return error * self.candidates.error_factor(plan.num_epochs)


def _trained_faster(guessed: Timings) -> Timings:
    """Returns the times if the guess of the training is too long, as it is where a trunk is frozen."""
    return guessed._replace(train=guessed.train / _TRAIN_BY_EVALUATION)


def _groups(plans: Sequence[TimePlan], compiled: TimePlan | None) -> Iterator[Sequence[TimePlan]]:
    """Yields the plans of the compiled one's size, those of shapes near it, and all, leaving out empty groups."""
    if compiled:
        same = [x for x in plans if (x.shape, x.batch_size) == (compiled.shape, compiled.batch_size)]
        near = [x for x in plans if abs(max(x.shape) - max(compiled.shape)) <= _NEAR]
        yield from filter(None, (same, near))
    yield plans


def read_too_long(limit: float, reading: float) -> UserError:
    """Returns the error of a run whose time has gone into reading and checking the data."""
    return UserError(
        f"time_limit is {about(limit)}, but it took {about(reading)} to read and check the data, whose files need "
        "not be checked again: run the same command again, and raise time_limit if it takes as long."
    )


def _too_short(plan: TimePlan, seconds: float, limit: float, reading: float, candidates: Candidates) -> UserError:
    if seconds - reading <= limit:
        return read_too_long(limit, reading)
    epochs = "an epoch" if plan.num_epochs == 1 else f"{plan.num_epochs} epochs"
    needs = ", lower warmup_epochs or, with one_cycle, set schedule_per to step (the schedule needs so many epochs)"
    fewer = needs if plan.num_epochs == candidates.fewest_epochs > 1 else ""
    size = in_words(plan.shape)
    images = f"the smallest images, {size}," if plan.shape == candidates.shapes[0] else f"images of {size}"
    return UserError(
        f"time_limit is {about(limit)}, but {epochs} of {images} would take about {about(seconds)} on these devices, "
        f"with the start and the page: raise it{fewer}, or use fewer images."
    )


def in_words(shape: Shape) -> str:
    """Returns a shape as 64 px, or 80x60 px if the height differs from the width."""
    height, width = shape
    return f"{height} px" if height == width else f"{height}x{width} px"

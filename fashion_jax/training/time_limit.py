"""Measures how fast this machine trains, and plans a run that ends at its time_limit."""

from __future__ import annotations

import bisect
import contextlib
import copy
import dataclasses
import functools
import math
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fashion_jax.command_line.formats import about, rate
from fashion_jax.config.combinations import batch_unit, fewest_epochs
from fashion_jax.config.fields import MIN_IMAGE_SIZE, seconds_in
from fashion_jax.config.loading import image_shape
from fashion_jax.data.batches.cache_mode import cache_mode, free_device_memory, free_memory
from fashion_jax.data.batches.pipeline import canvas_shape, stream_images
from fashion_jax.data.dataset import Dataset
from fashion_jax.data.fields import data_fields
from fashion_jax.data.records.prepared_use import enlarged
from fashion_jax.data.tensorflow_cpu import import_tensorflow
from fashion_jax.devices.compilation_cache import keeps_programs
from fashion_jax.devices.host import usable_processors
from fashion_jax.devices.mesh import eval_batch_size, fetch, in_turn, local_rows, put_batch, put_batches
from fashion_jax.devices.processes import barrier, decided
from fashion_jax.errors import UserError
from fashion_jax.step.program import Program, create_program
from fashion_jax.step.train_state import TrainState
from fashion_jax.terminal import Task, Terminal
from fashion_jax.training.dispatch import dispatches
from fashion_jax.training.start_up import start_beside
from fashion_jax.training.time_plan import (
    MOST_PIXELS,
    Candidates,
    CostModel,
    SaveCosts,
    Shape,
    TimePlan,
    Timings,
    Work,
    batch_sizes_of,
    choose,
    in_words,
    read_too_long,
    seconds_of,
    shapes_of,
    tolerance,
)
from fashion_jax.workdir.checkpoints.store import Checkpoints
from fashion_jax.workdir.checkpoints.writer import UNFINISHED
from fashion_jax.workdir.paths import checkpoints_path

# Seconds of what is timed, and at most their share of the time limit; of steps, one is timed at least, after another.
_TRAINING = 10.0, 1 / 30
_EVALUATION = 3.0, 1 / 100
_DECODING = 1.5, 1 / 200
_MOST_STEPS = 500
_DECODED = 16  # images that are decoded together; large ones may take a quarter of a second each
_SEEN = 32  # images whose size is looked at
_ENLARGED = 4 / 3  # sides of the largest candidate / sides of the original images

# Measured with ResNet-34 on two cores.
_TRACING_BY_EVALUATION = 5.0  # seconds to trace both steps / to trace the evaluation step
_COMPILATION_BY_EVALUATION = 4.2  # seconds to compile both steps / to compile the evaluation step
_COMPILATION_BY_TRACING = 22.0  # seconds to compile both steps / to trace the evaluation step
_STEP_BYTES = 8000  # memory of a training step per pixel of its images: three times what was measured at 64 px
_USED_MEMORY = 0.5  # share of the free memory that a step may take; decoded images may take nearly as much
_START = 4.0  # seconds from the plan to the first step, without what is measured
_END = 5.0  # seconds of scores, figures and the page
_END_PER_SCORE = 3e-6  # seconds added to _END for each validation image and class
_SHOWN, _SHOWN_PER_CLASS, _MOST_SHOWN = 150, 2, 550  # images on the page, by the classes of the largest level
_PER_SCORE = 6e-8  # seconds of the scores of an epoch, for each validation image and class


@dataclasses.dataclass(frozen=True)
class Planner:
    """Plans a run that has to end at its time_limit.

    Attributes:
        config: of the run, whose time_limit is not empty.
        dataset: of the run.
        mesh: its devices.
        terminal: on which the plan is told.
        began: when the program began, on the monotonic clock.
        reading: seconds of these that have gone into reading and checking the data.
        workdir: of the run.
    """

    config: ConfigDict
    dataset: Dataset
    mesh: Mesh
    terminal: Terminal
    began: float
    reading: float
    workdir: Path

    @property
    def limit(self) -> float:
        """The seconds that the program may take."""
        return seconds_in(self.config.time_limit)

    def fields(self) -> dict[str, Any]:
        """Returns the fields of the config that make the run end at its limit: image_size, num_epochs, batch_size.

        They are chosen in two rounds. The first one compiles and times only the evaluation, at the config's own image
        size, and guesses the time of training from it. The second one compiles and times the training of the plan that
        was found so. That plan is kept unless the run would end too early or too late; then another one is chosen from
        these times. All processes call this, and get the plan of the first one.

        Raises:
            UserError: the time is too short, or learning_rate_factors has an expression that decides nothing.
            RunError: the disk has no room for two checkpoints.
        """
        limit = self.limit
        if self._elapsed() >= limit:
            raise read_too_long(limit, self.reading)
        candidates = self._candidates()
        own = TimePlan(image_shape(self.config), self.config.num_epochs, candidates.batch_sizes[0])
        with self.terminal.doing(Task("Creating a model, to time it")):
            program = self._program(own)
            program.factors.check_order(program.abstract_state.params)
            state = program.create_state()
        work = self._work(state, candidates)
        with self.terminal.doing(Task(f"Compiling and timing the evaluation at {in_words(own.shape)}")):
            guessed = self._guessed(own, program, state)
        timing = guessed.tracing + sum(map(self._timing_budget, (_TRAINING, _EVALUATION, _DECODING)))
        compiled = _same(choose(candidates, guessed, work, limit=limit, elapsed=self._elapsed() + timing))
        with self.terminal.doing(Task(f"Compiling and timing the training at {in_words(compiled.shape)}")):
            measured = self._measured(compiled, self._program(compiled), state)
        # The timed steps have taken memory that the process keeps, so that less of it is left for decoded images.
        work = dataclasses.replace(work, **self._kept_pixels(candidates))
        plan = _same(choose(candidates, measured, work, limit=limit, elapsed=self._elapsed(), compiled=compiled))
        end = time.localtime(time.time() + seconds_of(plan, measured, work, compiled))
        speed = f"{rate(1 / measured.train)} images/s at {in_words(compiled.shape)}"
        day = "" if end[:3] == time.localtime()[:3] else "%A, %d %B, "
        epochs = f"{plan.num_epochs} epoch{'' if plan.num_epochs == 1 else 's'}"
        self.terminal.say(
            f"Planned for {self.config.time_limit}, by {speed}: {in_words(plan.shape)}, {epochs}, batches of "
            f"{plan.batch_size}, expected to end at {time.strftime(day + '%H:%M', end)}."
        )
        if work.reading > tolerance(limit):
            self.terminal.say(
                f"Note: {about(work.reading)} of it went into reading and checking the data, whose files need not be "
                "checked again: the same command with another --workdir would train so much longer."
            )
        return self._changes(plan)

    def _timing_budget(self, timed: tuple[float, float]) -> float:
        """Returns the seconds that a measurement may take: at most a share of the limit."""
        seconds, share = timed
        return min(seconds, share * self.limit)

    def _elapsed(self) -> float:
        return decided("seconds so far", lambda: time.monotonic() - self.began)

    def _candidates(self) -> Candidates:
        config, canvas = self.config, self.config.data.canvas_size
        shapes = shapes_of(
            image_shape(config),
            decided("the pixels of the images", self._most_pixels),
            MIN_IMAGE_SIZE,
            canvas_shape(config, image_shape(config)) if canvas else None,
        )
        if not canvas:
            data = data_fields(config)
            shapes = [x for x in shapes if not enlarged(data, canvas_shape(config, x))] or shapes[:1]
        unit = batch_unit(config.accumulate, config.batch_norm, config.batch_norm_group_size, self.mesh.size)
        count = len(self.dataset.splits["train"])
        if count < unit:
            raise UserError(
                f"The smallest batch for accumulate={config.accumulate} on {self.mesh.size} devices has {unit} images, "
                f"but the training split has only {count}: lower accumulate, or use fewer devices."
            )
        batch_sizes = batch_sizes_of(min(config.batch_size, count // unit * unit), unit)
        allowed = bisect.bisect_left(shapes, True, key=lambda shape: self._cache_mode(shape) is None)
        fewest = fewest_epochs(config.schedule, config.schedule_per, config.warmup_epochs)
        falls_by_epoch = (config.schedule, config.schedule_per) == ("cosine", "epoch")
        fitting = shapes[:allowed] or shapes[:1]
        return Candidates(fitting, batch_sizes, fewest, falls_by_epoch, round(config.warmup_epochs))

    def _cache_mode(self, shape: Shape, split: str = "train") -> str | None:
        """Returns where decoded images are kept if they are trained at a shape; None if too little memory is free."""
        (height, width), counts = canvas_shape(self.config, shape), {x: len(y) for x, y in self.dataset.splits.items()}
        count = counts[split]
        if self.config.data.cache != "auto":  # which leaves room for a step by itself, and streams what does not fit
            count = counts["train"] + max(counts["train"], counts["validation"])
        try:
            return cache_mode(self.config.data.cache, count * height * width * 3, self.mesh)
        except UserError:
            return None

    def _most_pixels(self) -> float:
        """Returns the pixels of the largest images that are worth their time: a little more than the originals have."""
        from PIL import Image

        split, sizes = self.dataset.splits["train"], []
        for i in np.linspace(0, len(split) - 1, _SEEN).astype(int):
            unusable = contextlib.suppress(OSError, ValueError, Image.DecompressionBombError)
            with unusable, Image.open(split.picture(int(i))) as image:
                sizes.append(image.width * image.height)
        return min(MOST_PIXELS, _ENLARGED**2 * statistics.median(sizes)) if sizes else MOST_PIXELS

    @property
    def _trains_on_cpus(self) -> bool:
        return self.mesh.devices.flat[0].platform == "cpu"

    def _work(self, state: TrainState, candidates: Candidates) -> Work:
        splits, classes = self.dataset.splits, self.dataset.taxonomy.classes
        num_scores = len(splits["validation"]) * sum(map(len, classes.values()))
        shown = _SHOWN + _SHOWN_PER_CLASS * max(map(len, classes.values()))
        return Work(
            num_images=len(splits["train"]),
            num_validation=len(splits["validation"]),
            every_steps=self.config.checkpoint.every_steps,
            save=self._save_costs(state),
            reading=decided("the seconds of reading", lambda: self.reading),
            start=_START,
            scores=_PER_SCORE * num_scores,
            end=_END + _END_PER_SCORE * num_scores,
            shown=min(_MOST_SHOWN, shown, sum(map(len, splits.values()))),
            is_shared=self._trains_on_cpus,
            num_processes=jax.process_count(),
            free_memory=decided("memory", self._free_memory),
            keeps_programs=decided("the compilation cache", keeps_programs),
            costs=self._costs,
            **self._kept_pixels(candidates),
        )

    def _kept_pixels(self, candidates: Candidates) -> dict[str, Any]:
        """Returns the fields of Work that say up to how many pixels decoded images are kept, by the memory free now."""

        def most_pixels(split: str, modes: tuple[str, ...]) -> int:
            """Returns the pixels of the largest shape whose decoded images are kept so; 0 if there is none."""
            shapes = candidates.shapes
            kept = bisect.bisect_left(shapes, True, key=lambda shape: self._cache_mode(shape, split) not in modes)
            return math.prod(shapes[kept - 1]) if kept else 0

        return {
            "most_cached": most_pixels("train", ("host", "device")),
            "most_on_devices": most_pixels("train", ("device",)),
            "most_cached_validation": most_pixels("validation", ("host", "device")),
        }

    def _save_costs(self, state: TrainState) -> SaveCosts:
        """Returns what saving a checkpoint takes: the second of two that are saved, timed and removed."""
        folder = checkpoints_path(self.workdir) / f"timed{UNFINISHED}"  # a later start removes it if this one is killed
        if not jax.process_index():
            folder.parent.mkdir(exist_ok=True)
            shutil.rmtree(folder, ignore_errors=True)  # of an earlier start
        with contextlib.closing(Checkpoints(folder, keep=1, say=self.terminal.say)) as checkpoints:
            state = _as_trained(state)
            checkpoints.check_room(state, saves=2)
            checkpoints.save_now(1, state)  # takes longer, once in a run
            began, began_working = time.monotonic(), time.process_time()
            checkpoints.save(2, state)
            waited = time.monotonic() - began
            checkpoints.save_now(2, state)
            whole, worked = time.monotonic() - began, time.process_time() - began_working
        if not jax.process_index():
            shutil.rmtree(folder, ignore_errors=True)
        if self._trains_on_cpus:  # which the thread that writes also needs
            waited = min(waited + max(worked - waited, 0) / usable_processors(), whole)
        return SaveCosts(*decided("the time of a checkpoint", lambda: [waited, whole]))

    @property
    def _costs(self) -> CostModel:
        return CostModel(self.config.model.name, self.config.optimizer, self.config.accumulate)

    def _free_memory(self) -> float:
        """Returns the bytes that all devices together have for a step."""
        device = free_device_memory(self.mesh)
        return _USED_MEMORY * (free_memory() if device is None else device * self.mesh.size)

    def _changes(self, plan: TimePlan) -> dict[str, Any]:
        size = plan.shape[0] if isinstance(self.config.image_size, int) else list(plan.shape)
        changes = {"image_size": size, "num_epochs": plan.num_epochs, "batch_size": plan.batch_size}
        if self.config.schedule == "exponential":  # ends at the learning rate at which the config's own epochs end
            own, planned = (self._decays(epochs) for epochs in (self.config.num_epochs, plan.num_epochs))
            changes["learning_rate_decay"] = self.config.learning_rate_decay ** (own / (planned or 1))
        return changes

    def _decays(self, num_epochs: int) -> float:
        """Returns how often a learning rate that changes per epoch decays, or about as often as one does per step."""
        is_fixed = self.config.schedule_per == "epoch"  # for the first epoch after the warm-up
        return max(num_epochs - self.config.warmup_epochs - is_fixed, 0)

    def _program(self, plan: TimePlan) -> Program:
        config, split = copy.deepcopy(self.config), self.dataset.splits["train"]
        config.update(self._changes(plan))
        counts = split.class_counts(self.dataset.taxonomy)
        return create_program(config, self.dataset.taxonomy, self.mesh, num_images=len(split), counts=counts)

    def _guessed(self, plan: TimePlan, program: Program, state: TrainState) -> Timings:
        """Times the evaluation of images of a plan's shape, and guesses the rest from it."""
        batch = self._evaluated(plan)
        began = time.monotonic()
        traced = program.eval_step.lower(*state.eval_variables, batch())
        tracing = time.monotonic() - began
        start_beside(import_tensorflow)
        began = time.monotonic()
        evaluate = traced.compile()
        compilation = time.monotonic() - began
        import_tensorflow()  # waits for the import beside the compiler, which would slow the steps down
        seconds = self._evaluate_seconds(plan, evaluate, state)
        passes = 2 if self.config.eval_flip else 1
        compilation = max(_COMPILATION_BY_EVALUATION * compilation, _COMPILATION_BY_TRACING * tracing)
        train = self._costs.guessed_train_seconds(plan, seconds / passes)
        times = [train, seconds, self._decode_seconds(plan, seed=0), compilation]
        return self._of_the_first_process(plan, [*times, _TRACING_BY_EVALUATION * tracing, _STEP_BYTES])

    def _measured(self, plan: TimePlan, program: Program, state: TrainState) -> Timings:
        """Compiles and times the steps of a plan."""
        together, every = self.config.steps_per_dispatch, self.config.checkpoint.every_steps
        _, count = next(dispatches(0, [len(self.dataset.splits["train"]) // plan.batch_size], together, every))
        jitted, batch = program.train_step, self._batch(plan.shape, plan.batch_size)
        dispatched = functools.partial(put_batch, batch, self.mesh)
        if count > 1:
            jitted, batches = program.train_steps, jax.tree.map(lambda x: np.stack([x] * count), batch)
            dispatched = functools.partial(put_batches, batches, self.mesh)
        began = time.monotonic()
        training = jitted.lower(state, dispatched())
        evaluation = program.eval_step.lower(*state.eval_variables, self._evaluated(plan)())
        tracing = time.monotonic() - began
        began = time.monotonic()
        train, evaluate = training.compile(), evaluation.compile()
        if count > 1:  # what is left of an epoch is dispatched step by step, by another program
            program.train_step.lower(state, put_batch(batch, self.mesh)).compile()
        compilation = max(time.monotonic() - began, _COMPILATION_BY_TRACING / _TRACING_BY_EVALUATION * tracing)
        evaluated = self._evaluate_seconds(plan, evaluate, state)

        def step() -> Any:
            nonlocal state
            state, outcome = in_turn(train(state, dispatched()), self.mesh)
            return outcome

        trained = _seconds(step, self._timing_budget(_TRAINING)) / (count * plan.batch_size)
        memory = train.memory_analysis()  # None where XLA does not tell
        needed = memory.temp_size_in_bytes * self.mesh.size / (plan.batch_size * plan.pixels) if memory else _STEP_BYTES
        times = [trained, evaluated, self._decode_seconds(plan, seed=1), compilation, tracing]
        return self._of_the_first_process(plan, [*times, needed])

    def _of_the_first_process(self, plan: TimePlan, times: list[float]) -> Timings:
        """Returns what the first process has measured."""
        return Timings(plan, *decided("times", lambda: times))

    def _evaluate_seconds(self, plan: TimePlan, evaluate: Callable[..., Any], state: TrainState) -> float:
        """Returns the seconds of a compiled step of evaluation for each of its images."""
        batch = self._evaluated(plan)

        def dispatch() -> Any:
            return in_turn(evaluate(*state.eval_variables, batch()), self.mesh)

        seconds = _seconds(dispatch, self._timing_budget(_EVALUATION))
        return seconds / self._evaluated_together(plan)

    def _evaluated(self, plan: TimePlan) -> Callable[[], Any]:
        """Returns a function that puts a batch of evaluation on the devices."""
        batch = self._batch(plan.shape, self._evaluated_together(plan))
        return functools.partial(put_batch, {"image": batch["image"]}, self.mesh)

    def _evaluated_together(self, plan: TimePlan) -> int:
        """Returns the images of a step of evaluation on all devices."""
        return eval_batch_size(plan.batch_size, self.mesh.size, self.config.accumulate)

    def _batch(self, shape: Shape, size: int) -> dict[str, Any]:
        """Returns this process's rows of a made-up batch: the time of a step does not depend on what images show."""
        count = len(local_rows(self.mesh, size))
        pixels = np.random.default_rng(0).integers(0, 256, (count, *canvas_shape(self.config, shape), 3), np.uint8)
        return {"image": pixels, "labels": {x: np.zeros(count, np.int32) for x in self.dataset.taxonomy.levels}}

    def _decode_seconds(self, plan: TimePlan, seed: int) -> float:
        """Returns the seconds that an image takes to be read and decoded by one of the processes, all being at work.

        The seed chooses the images: those that were read before are found in the system's memory, faster than others.
        """
        split, canvas = self.dataset.splits["train"], canvas_shape(self.config, plan.shape)
        order = np.random.default_rng(seed).permutation(len(split))
        chunks = np.split(order, range(_DECODED, len(order), _DECODED))
        reached = [(time.monotonic(), 0)]  # times, and how many images were decoded by then
        for pixels in stream_images(split, canvas, self.config.data.resize).batches(lambda: iter(chunks)):
            reached.append((time.monotonic(), reached[-1][1] + len(pixels)))
            if reached[-1][0] - reached[0][0] >= self._timing_budget(_DECODING):
                break
        (began, before), (end, count) = reached[1 if len(reached) > 2 else 0], reached[-1]  # the first ones take longer
        return (end - began) / (count - before)


def _as_trained(state: TrainState) -> TrainState:
    """Returns a state whose optimizer has noise in place of zeros, which would be compressed to almost nothing."""
    generator = np.random.default_rng(0)

    def filled(x: jax.Array) -> jax.Array:
        if not x.ndim or not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        noise = generator.standard_normal(x.shape, np.float32).astype(x.dtype)
        return jax.make_array_from_callback(x.shape, x.sharding, lambda index: noise[index])

    return state.replace(opt_state=jax.tree.map(filled, state.opt_state))


def _seconds(dispatch: Callable[[], Any], seconds: float) -> float:
    """Returns the mean seconds of a call, of as many as take about so long, at least one.

    A call before them is not counted: it may load libraries, or wait for processes that still compile. All processes
    make equally many calls.
    """

    def timed(count: int) -> float:
        began = time.monotonic()
        for _ in range(count):
            outcome = dispatch()
        fetch(outcome)
        return time.monotonic() - began

    barrier("programs are compiled")
    uncounted, first = timed(1), _agreed(timed(1))
    count = min(int((seconds - _agreed(uncounted) - first) / first), _MOST_STEPS)
    return _agreed((first + timed(count)) / (1 + count)) if count > 0 else first


def _same(plan: TimePlan) -> TimePlan:
    """Returns the plan of the first process: processors of another kind may compute the expected errors otherwise."""
    height, width, num_epochs, batch_size = decided("plan", lambda: [*plan.shape, *plan[1:]])
    return TimePlan((height, width), num_epochs, batch_size)


def _agreed(seconds: float) -> float:
    return decided("seconds", lambda: seconds)

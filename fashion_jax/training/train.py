"""Implements train_and_evaluate: sets a run up, restores or begins its state, trains it and writes its files."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fashion_jax.config.combinations import best_metric, head_names
from fashion_jax.config.fields import shape_of
from fashion_jax.config.loading import check_config, config_to_json, flatten, image_shape
from fashion_jax.data.batches.pipeline import canvas_shape, check_cache, open_images
from fashion_jax.data.dataset import (
    Dataset,
    check_fills_a_batch,
    check_fractions,
    check_tells_apart,
    load_dataset,
)
from fashion_jax.data.fields import data_fields
from fashion_jax.data.fingerprint import combined, read_images
from fashion_jax.data.leaks import leak_warning
from fashion_jax.data.tensorflow_cpu import import_tensorflow
from fashion_jax.devices.compilation_cache import share_compilation_cache
from fashion_jax.devices.mesh import check_batch_size, create_mesh
from fashion_jax.devices.processes import barrier, decided
from fashion_jax.errors import RunError, UserError, first_line
from fashion_jax.scoring.early_stopping import is_exhausted, stopped_early
from fashion_jax.scoring.metrics import epoch_scores
from fashion_jax.step.program import Program, create_program
from fashion_jax.step.train_state import TrainState, abstract_batch
from fashion_jax.terminal import Task, Terminal
from fashion_jax.training.agreement import check_agreement
from fashion_jax.training.announcements import first_rows
from fashion_jax.training.dispatch import steps_at_once
from fashion_jax.training.epoch_end import end_epoch
from fashion_jax.training.epoch_table import EpochTable
from fashion_jax.training.init_checks import check_initial_weights
from fashion_jax.training.initial_state import new_state
from fashion_jax.training.loop import train_to_end
from fashion_jax.training.notes import (
    dispatched_singly,
    notes_of,
    notes_of_weights,
    trained_on_before,
    trained_on_earlier,
    warnings_of,
)
from fashion_jax.training.progress import TrainingProgress
from fashion_jax.training.run import Run, StepFn, Stopwatch
from fashion_jax.training.run_end import has_results, write_results
from fashion_jax.training.schedule import Resizing, Schedule
from fashion_jax.training.start_up import Compiling, start_beside
from fashion_jax.training.time_limit import Planner
from fashion_jax.training.time_plan import CostModel
from fashion_jax.training.watchdog import Watchdog, end_stalled
from fashion_jax.workdir.checkpoints.identity import FREE_FIELDS, Identity, taxonomy_digest
from fashion_jax.workdir.checkpoints.step_folders import list_steps
from fashion_jax.workdir.checkpoints.store import Checkpoints, SavePlan
from fashion_jax.workdir.environment import code_digest, environment
from fashion_jax.workdir.files import has_checkpoint
from fashion_jax.workdir.metrics_file import EventWriter, MetricsFile, read_lines
from fashion_jax.workdir.open_directory import OpenDirectory
from fashion_jax.workdir.opening import check_workdir, opened
from fashion_jax.workdir.paths import checkpoints_path, config_path, images_path, metrics_path, page_path, report_path
from fashion_jax.workdir.position import check_epochs
from fashion_jax.workdir.run_identity import identify
from fashion_jax.workdir.same_data import check_same_data
from fashion_jax.workdir.start import check_is_whole, check_same_config, planned_fields, write_run_files


def train_and_evaluate(
    config: ConfigDict,
    workdir: str | Path,
    devices: Sequence[jax.Device] | None = None,
    began: float | None = None,
) -> list[dict[str, Any]]:
    """Trains, or resumes training, and writes the files of a run to workdir.

    Args:
        config: see configs/default.py.
        workdir: a new or empty directory, or that of an earlier start of the same run.
        devices: to train on; by default all.
        began: the time from which time_limit counts, on the monotonic clock; by default now.

    Returns:
        The lines of metrics.jsonl.

    Raises:
        UserError: config, data or workdir are wrong; nothing expensive has been done.
        RunError: the run cannot go on.
    """
    began = time.monotonic() if began is None else began
    check_config(config)
    mesh = create_mesh(devices)
    share_compilation_cache(mesh)
    workdir, config = Path(workdir), copy.deepcopy(config)
    terminal = Terminal() if jax.process_index() == 0 else Terminal(io.StringIO())
    check_workdir(workdir)
    planned = planned_fields(workdir, config.time_limit)
    config.update(planned)
    with _explain_plan(planned, config.time_limit, workdir) if planned else contextlib.nullcontext():
        check_batch_size(config.batch_size, mesh.size, config.accumulate, config.batch_norm)
    config.model.normalization = check_initial_weights(config, workdir)
    is_new = not has_checkpoint(workdir)  # runs that earlier versions began are not checked anew
    lost = check_is_whole(workdir, config.time_limit)
    changes = check_same_config(workdir, config)
    with contextlib.ExitStack() as stack:
        stack.enter_context(terminal.kept_alive())
        stack.enter_context(opened(workdir, terminal.say, leads=jax.process_index() == 0))
        held = stack.enter_context(OpenDirectory(workdir))
        stack.enter_context(held.blamed())
        with terminal.doing(Task("Reading the data")):
            if is_new:
                check_fractions(data_fields(config))
            dataset, seconds = _timed(lambda: load_dataset(config, is_divided=jax.process_count() > 1))
        if jax.process_count() > 1:
            check_agreement(_values_to_compare(flatten(config), dataset, workdir), workdir)
        changes += check_same_data(workdir, dataset)
        if is_new:
            check_tells_apart(dataset, data_fields(config))
        stack.enter_context(_explain_failed_devices())
        _apply_plan(Planner(config, dataset, mesh, terminal, began, seconds, workdir), planned)
        setup = _set_up(config, held, dataset, mesh, terminal)
        stack.enter_context(contextlib.closing(setup.checkpoints))
        return _run_to_end(setup, lost, changes)


def _timed(read: Callable[[], Dataset]) -> tuple[Dataset, float]:
    """Returns a dataset and the seconds that reading and checking it takes."""
    began = time.monotonic()
    return read(), time.monotonic() - began


@contextlib.contextmanager
def _explain_plan(planned: Mapping[str, Any], time_limit: str, workdir: Path) -> Iterator[None]:
    """Adds to a UserError how the fields can be changed that time_limit has chosen."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{error} {_plan_in_words(planned, time_limit, workdir)}") from error


def _plan_in_words(planned: Mapping[str, Any], time_limit: str, workdir: Path) -> str:
    plan = ", ".join(f"{field} {value}" for field, value in planned.items())
    fixed = " or ".join(field for field in planned if field not in FREE_FIELDS)
    return (
        f"The run was planned for time_limit {time_limit!r}, and keeps its plan ({plan}). To change num_epochs or "
        f"batch_size, start it with --config {config_path(workdir)} --config.time_limit= and the field; to change "
        f"{fixed}, use another --workdir."
    )


def _apply_plan(planner: Planner, planned: Mapping[str, Any]) -> None:
    """Sets the fields of the config that time_limit chooses, unless they are those that were planned before."""
    config = planner.config
    if planned:
        planner.terminal.say(_plan_in_words(planned, config.time_limit, planner.workdir))
        check_fills_a_batch(len(planner.dataset.splits["train"]), config.batch_size)  # there may be fewer images now
    elif config.time_limit:
        config.update(planner.fields())
        check_config(config)


def _values_to_compare(fields: Mapping[str, Any], dataset: Dataset, workdir: Path) -> dict[str, Any]:
    """Returns what all processes of a run must have in common, given the fields of its config."""
    made_with = environment()
    return (
        {**fields}
        | {f"version of {name}": version for name, version in made_with["packages"].items()}
        | {
            "commit": made_with["commit"],
            "digest of the code": code_digest(),
            "taxonomy": taxonomy_digest(dataset.taxonomy),
            "data": combined(dataset.digests),
            "number of training images": len(dataset.splits["train"]),
            "newest checkpoint": max(list_steps(checkpoints_path(workdir)), default=0),
        }
    )


@dataclasses.dataclass(frozen=True)
class _Setup:
    """The parts of a run that do not depend on the step from which it resumes."""

    program: Program
    workdir: Path
    dataset: Dataset
    schedule: Schedule
    checkpoints: Checkpoints
    identity: Identity
    terminal: Terminal

    @property
    def config(self) -> ConfigDict:
        return self.program.config


@contextlib.contextmanager
def _explain_failed_devices() -> Iterator[None]:
    """Reports in a sentence that the devices have too little memory, or that another process of the run has ended."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise RunError(
                f"The devices have too little memory ({first_line(error)}): lower batch_size or image_size, raise "
                "accumulate, or set remat, dtype=bfloat16 or data.cache=host. Once a run has a checkpoint, only "
                "batch_size and data.cache may change; to change another of these fields, use another --workdir."
            ) from error
        if jax.process_count() == 1:
            raise
        raise RunError(
            f"The processes of this run have lost each other ({first_line(error)}): run the same command again in each "
            "of them to resume."
        ) from error


def _run_to_end(setup: _Setup, lost: Sequence[str], changes: Sequence[str]) -> list[dict[str, Any]]:
    """Trains from the run's position to its end and writes all files.

    Args:
        setup: the parts of the run.
        lost: tells in words what was missing in the work directory.
        changes: tells in words what has changed in the config and in the data.

    Returns:
        The lines of metrics.jsonl.
    """
    say, schedule, config, workdir = setup.terminal.say, setup.schedule, setup.config, setup.workdir
    with setup.terminal.doing(Task("Looking for checkpoints")):
        step, state = setup.checkpoints.restore_latest(setup.program.abstract_state) or (0, None)
    schedule.start_at(state)
    metrics_file = _open_metrics(setup, step)
    if step in schedule.epoch_ends and is_exhausted(config.early_stopping, metrics_file.lines):
        schedule.end_at(step)
    is_trained = step == schedule.num_steps and len(metrics_file.lines) == schedule.num_epochs
    is_complete = is_trained and decided("results", lambda: has_results(workdir))
    if step < schedule.num_steps:
        saves = len(schedule.epoch_ends) + schedule.num_steps // config.checkpoint.every_steps
        setup.checkpoints.check_room(setup.program.abstract_state, saves)
    levels = setup.dataset.taxonomy.levels
    if not is_complete or (not changes and (lost or read_images(images_path(workdir), len(levels)) is None)):
        write_run_files(workdir, config, setup.dataset, schedule.position, setup.identity, [*lost, *changes])
    for loss in lost:
        say(f"Warning: {loss}.")
    stop = stopped_early(config.early_stopping, metrics_file.lines, config.num_epochs) or "the run is complete"
    effect = f"This has no effect, since {stop}." if is_complete else "This holds from now on."
    for change in changes:
        say(f"{change}. {effect}")
    if is_complete:
        say(f"The run in {workdir} is complete: {page_path(report_path(workdir))}")
        return metrics_file.lines
    _say_first_lines(setup, step)
    with contextlib.ExitStack() as stack:
        with setup.terminal.doing(Task("Creating the model")):
            progressive_step, train_step = _step_functions(setup.program, schedule)
            start_beside(import_tensorflow)  # seconds of Python, as tracing is: after it, beside the compiler
            state = new_state(setup.program, say) if state is None else state
            setup.checkpoints.check_place()  # TensorFlow makes the directory of its events where there is none
            events = EventWriter(workdir) if jax.process_index() == 0 else None
            if events:
                stack.callback(events.close)
                events.write_config(step, config_to_json(config))
            run = _create_run(setup, train_step, progressive_step, metrics_file, events)
        _train_and_write(run, state, step)
    return metrics_file.lines


def _say_first_lines(setup: _Setup, step: int) -> None:
    """Says what is trained, on what, and where the page will be."""
    config, dataset, schedule, workdir = setup.config, setup.dataset, setup.schedule, setup.workdir
    if step:
        lines = [f"Resuming {config.model.name} in {workdir} after step {step} of {schedule.num_steps}"]
    else:
        lines = [f"Training {config.model.name} in {workdir}"]
    steps = f"{config.num_epochs} epochs of {schedule.steps_per_epoch:,} steps, {config.batch_size} images each"
    if config.progressive.epochs:
        steps += ", the first {} at {}×{} px".format(
            config.progressive.epochs, *shape_of(config.progressive.image_size)
        )
    page = page_path(report_path(workdir))
    lines += first_rows(setup.program.mesh, dataset.splits, dataset.taxonomy, steps, page)
    setup.terminal.say("\n".join(lines), as_is=True)
    left_over = 0 if config.rare_classes.draw else len(dataset.splits["train"]) % config.batch_size
    notes = [*notes_of(dataset, left_over), *(notes_of_weights(setup.program) if not step else ())]
    notes.append(dispatched_singly(config.steps_per_dispatch, config.checkpoint.every_steps, schedule.steps_per_epoch))
    for note in filter(None, notes):
        setup.terminal.say(f"Note: {note}.")


def _create_run(
    setup: _Setup, train_step: StepFn, progressive_step: StepFn, metrics_file: MetricsFile, events: EventWriter | None
) -> Run:
    """Opens the validation images, and collects the parts that every step needs."""
    config, dataset = setup.config, setup.dataset
    table = EpochTable(dataset.taxonomy.levels, config.num_epochs, setup.terminal.columns)
    if table.unshown:
        levels = " and ".join(table.unshown)
        setup.terminal.say(
            f"Note: the table below is too narrow for the accuracy of {levels}; metrics.jsonl has every metric."
        )
    progress = TrainingProgress(setup.schedule, config.num_epochs, config.batch_size)
    end = functools.partial(end_stalled, setup.workdir)
    together = config.steps_per_dispatch
    watchdog = Watchdog(config.watchdog_minutes, lambda: together * progress.pace.step_seconds, end)
    split, mesh = dataset.splits["validation"], setup.program.mesh
    canvas = canvas_shape(config, image_shape(config))
    check_cache((split, dataset.splits["train"]), config.data.cache, canvas, mesh)
    return Run(
        program=setup.program,
        train_step=train_step,
        progressive_step=progressive_step,
        workdir=setup.workdir,
        dataset=dataset,
        validation=open_images(split, config, image_shape(config), mesh, watchdog.feed),
        schedule=setup.schedule,
        checkpoints=setup.checkpoints,
        metrics_file=metrics_file,
        events=events,
        terminal=setup.terminal,
        progress=progress,
        table=table,
        watchdog=watchdog,
    )


def _train_and_write(run: Run, state: TrainState, step: int) -> None:
    """Trains from the state of a step to the last step, and writes the results."""
    written = [line["step"] for line in run.metrics_file.lines]
    if step in run.schedule.epoch_ends and step not in written:
        end_epoch(run, state, step, Stopwatch())  # killed between an epoch's last step and its line
    if step < run.schedule.num_steps:
        split, mesh = run.dataset.splits["train"], run.program.mesh
        images = open_images(split, run.config, image_shape(run.config), mesh, run.watchdog.feed)
        with run.terminal.doing(run.progress), run.watchdog.watching():
            state = train_to_end(run, state, images)
    write_results(run, state)
    barrier("the results are written")  # by the first process, for which the others wait


def _step_functions(program: Program, schedule: Schedule) -> tuple[StepFn, StepFn]:
    """Returns the train step of the progressive epochs and that of the others.

    If steps are dispatched one at a time, those that are still needed begin to compile in the background.
    """
    config = program.config
    epochs = [epoch for end, epoch in schedule.epoch_ends.items() if end > schedule.position.step]
    at_once = steps_at_once(config.steps_per_dispatch, config.checkpoint.every_steps, schedule.steps_per_epoch)

    def step_function(part: Program, is_needed: bool) -> StepFn:
        return _compiling(part, program.abstract_state) if is_needed and at_once == 1 else part.train_step

    needs_small = any(schedule.is_progressive(epoch) for epoch in epochs)
    needs_whole = any(not schedule.is_progressive(epoch) for epoch in epochs)
    return step_function(program.progressive, needs_small), step_function(program, needs_whole)


def _compiling(program: Program, state: TrainState) -> StepFn:
    """Returns the train step, which compiles in the background for an abstract state."""
    config = program.config
    canvas = canvas_shape(config, image_shape(config))
    batch = abstract_batch(config.batch_size, program.taxonomy.levels, program.mesh, canvas)
    return Compiling(program.train_step, state, batch)


def _set_up(config: ConfigDict, held: OpenDirectory, dataset: Dataset, mesh: Mesh, terminal: Terminal) -> _Setup:
    """Says what may be wrong with the data, and creates the parts of the run."""
    workdir = held.directory
    dataset = _with_warnings(config, workdir, dataset)
    if warning := leak_warning(dataset.leaks, config.data.drop_leaks):
        terminal.say(warning)
    for warning in dataset.warnings:
        terminal.say(f"Warning: {warning}.")
    identity = identify(workdir, config, dataset)
    num_images = len(dataset.splits["train"])
    counts = dataset.splits["train"].class_counts(dataset.taxonomy)
    small, whole = (
        CostModel(config.model.name, config.optimizer, config.accumulate).image_cost(shape, config.batch_size)
        for shape in (shape_of(config.progressive.image_size), image_shape(config))
    )
    resizing = Resizing(config.progressive.epochs, small / whole)
    schedule = Schedule(num_images, config.batch_size, config.num_epochs, config.checkpoint.every_steps, resizing)
    rollback_steps = config.nonfinite.max_in_a_row if config.on_nonfinite == "rollback" else 0
    program = create_program(config, dataset.taxonomy, mesh, num_images=num_images, counts=counts)
    if not has_checkpoint(workdir):  # runs that earlier versions began go on
        program.factors.check_order(program.abstract_state.params)
    return _Setup(
        program=program,
        workdir=workdir,
        dataset=dataset,
        schedule=schedule,
        checkpoints=Checkpoints(
            checkpoints_path(workdir),
            config.checkpoint.keep,
            say=terminal.say,
            plan=SavePlan(schedule.is_scheduled, rollback_steps, 1 + schedule.most_scheduled(rollback_steps)),
            identity=identity,
            workdir=held,
        ),
        identity=identity,
        terminal=terminal,
    )


def _with_warnings(config: ConfigDict, workdir: Path, dataset: Dataset) -> Dataset:
    """Returns the dataset with all warnings of this run, which data.json and the page repeat."""
    data, resize, canvas = data_fields(config), config.data.resize, canvas_shape(config, image_shape(config))
    found = warnings_of(dataset, data, resize, canvas, head_names(config))
    found += trained_on_before(
        [*config.model.init_from.values(), config.model.init_heads_from], dataset.splits["validation"]
    )
    found += trained_on_earlier(workdir, dataset)
    return dataclasses.replace(dataset, warnings=found)


def _open_metrics(setup: _Setup, step: int) -> MetricsFile:
    """Opens metrics.jsonl, cut off after a step, and tells the checkpoints the scores of its epochs."""
    path = metrics_path(setup.workdir)
    lines = decided("metrics", lambda: read_lines(path, step))
    check_epochs([line.get("epoch") for line in lines], setup.schedule.position, path)
    metrics_file = MetricsFile(path, lines, writes=jax.process_index() == 0)
    setup.checkpoints.set_scores(epoch_scores(lines, best_metric(setup.config)))
    return metrics_file

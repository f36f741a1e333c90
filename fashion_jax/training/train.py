"""Implements train_and_evaluate: restore or start, run the steps, evaluate each epoch, write the run's files."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fashion_jax.config.combinations import best_metric, head_names, loss_weights
from fashion_jax.config.fields import shape_of
from fashion_jax.config.loading import check_config, config_to_json, flatten, image_shape
from fashion_jax.data.batches.pipeline import Images, canvas_shape, check_cache, open_images, train_batches
from fashion_jax.data.dataset import Dataset, check_fractions, check_tells_apart, load_dataset
from fashion_jax.data.fields import data_fields
from fashion_jax.data.fingerprint import combined, read_images
from fashion_jax.data.tensorflow_cpu import import_tensorflow
from fashion_jax.devices.compilation_cache import share_compilation_cache
from fashion_jax.devices.mesh import check_batch_size, create_mesh, put_batch, put_batches, ready
from fashion_jax.devices.processes import barrier, decided
from fashion_jax.errors import RunError, UserError, first_line
from fashion_jax.scoring.early_stopping import is_exhausted
from fashion_jax.scoring.metrics import epoch_scores
from fashion_jax.step.averaging import restart_average
from fashion_jax.step.program import Program, create_program
from fashion_jax.step.train_state import TrainState, abstract_batch
from fashion_jax.step.train_step import Outcome
from fashion_jax.terminal import Task, Terminal
from fashion_jax.training import interruption
from fashion_jax.training.agreement import check_agreement, check_same_weights
from fashion_jax.training.announcements import first_rows
from fashion_jax.training.dispatch import dispatches, next_batch, steps_at_once
from fashion_jax.training.epoch_end import end_epoch, stop
from fashion_jax.training.epoch_table import EpochTable
from fashion_jax.training.init_from import with_trunks
from fashion_jax.training.init_heads import with_heads
from fashion_jax.training.notes import dispatched_singly, notes_of, slow_trunks, warnings_of
from fashion_jax.training.progress import TrainingProgress
from fashion_jax.training.rollback import RollBack, check_updates, roll_back, with_rollbacks
from fashion_jax.training.run import Run, StepFn, Stopwatch
from fashion_jax.training.run_end import has_results, outdate_report, write_results
from fashion_jax.training.schedule import Resizing, Schedule
from fashion_jax.training.sources import Features, check_heads, checked_normalizations
from fashion_jax.training.start_up import Compiling, start_beside
from fashion_jax.training.time_limit import Planner
from fashion_jax.training.time_plan import CostModel
from fashion_jax.training.watchdog import Watchdog, end_stalled
from fashion_jax.workdir.checkpoints.identity import FREE_FIELDS, Identity, taxonomy_digest
from fashion_jax.workdir.checkpoints.step_folders import list_steps
from fashion_jax.workdir.checkpoints.store import Checkpoints, SavePlan, Say
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
    config.update(planned := planned_fields(workdir, config.time_limit))
    with _told_of_plan(planned, config.time_limit, workdir) if planned else contextlib.nullcontext():
        check_batch_size(config.batch_size, mesh.size, config.accumulate, config.batch_norm)
    model, is_new = config.model, not has_checkpoint(workdir)  # runs that earlier versions began go on
    model.normalization = checked_normalizations(model.init_from, model.normalization, config.dtype, workdir)
    features = Features(model.name, model.fusion, config.dtype)
    check_heads(head_names(config), loss_weights(config), features, model.init_heads_from, workdir)
    lost, changes = check_is_whole(workdir, config.time_limit), check_same_config(workdir, config)
    with contextlib.ExitStack() as stack:
        stack.enter_context(terminal.kept_alive())
        stack.enter_context(opened(workdir, terminal.say, leads=jax.process_index() == 0))
        held = stack.enter_context(OpenDirectory(workdir))
        stack.enter_context(held.blamed())
        with terminal.doing(Task("Reading the data")):
            if is_new:
                check_fractions(data_fields(config))
            dataset = load_dataset(config, is_divided=jax.process_count() > 1)
        if jax.process_count() > 1:
            check_agreement(_record(flatten(config), dataset, workdir), workdir)
        changes += check_same_data(workdir, dataset)
        if is_new:
            check_tells_apart(dataset, data_fields(config))
        _plan(Planner(config, dataset, mesh, terminal, began, workdir), planned)
        start = _prepare(config, held, dataset, mesh, terminal)
        stack.enter_context(contextlib.closing(start.checkpoints))
        stack.enter_context(_others_may_end())
        return _resume(start, lost, changes)


@contextlib.contextmanager
def _told_of_plan(planned: Mapping[str, Any], time_limit: str, workdir: Path) -> Iterator[None]:
    """Adds to a UserError how the fields can be changed that time_limit has chosen."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{error} {_keeps_plan(planned, time_limit, workdir)}") from error


def _keeps_plan(planned: Mapping[str, Any], time_limit: str, workdir: Path) -> str:
    plan = ", ".join(f"{field} {value}" for field, value in planned.items())
    fixed = " or ".join(field for field in planned if field not in FREE_FIELDS)
    return (
        f"The run keeps its plan for {time_limit!r} ({plan}): to change num_epochs or batch_size, start it by "
        f"--config {config_path(workdir)} --config.time_limit= and the field; another {fixed} needs another --workdir."
    )


def _plan(planner: Planner, planned: Mapping[str, Any]) -> None:
    """Sets the fields of the config that time_limit chooses, unless they are those that were planned before."""
    config = planner.config
    if planned:
        planner.terminal.say(_keeps_plan(planned, config.time_limit, planner.workdir))
    elif config.time_limit:
        config.update(planner.fields())
        check_config(config)


def _record(fields: Mapping[str, Any], dataset: Dataset, workdir: Path) -> dict[str, Any]:
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
class _Start:
    """The parts of a start of a run that exist before it is known from which step it resumes."""

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
def _others_may_end() -> Iterator[None]:
    """Reports in a sentence that devices have failed because another process of the run has ended."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        raise RunError(
            f"The processes of this run have lost each other ({first_line(error)}): run the same command again in each "
            "of them to go on."
        ) from error


def _resume(start: _Start, lost: Sequence[str], changes: Sequence[str]) -> list[dict[str, Any]]:
    """Trains from the run's position to its end and writes all files.

    Args:
        start: the parts of the start.
        lost: tells in words what was missing in the work directory.
        changes: tells in words what has changed in the config and in the data.

    Returns:
        The lines of metrics.jsonl.
    """
    say, schedule, config, workdir = start.terminal.say, start.schedule, start.config, start.workdir
    with start.terminal.doing(Task("Looking for checkpoints")):
        step, state = start.checkpoints.restore_latest(start.program.abstract_state) or (0, None)
    schedule.start_at(state)
    metrics_file = _open_metrics(start, step)
    if step in schedule.epoch_ends and is_exhausted(config.early_stopping, metrics_file.lines):
        schedule.end_at(step)
    is_trained = step == schedule.num_steps and len(metrics_file.lines) == schedule.num_epochs
    is_complete = is_trained and decided("results", lambda: has_results(workdir))
    if step < schedule.num_steps:
        saves = len(schedule.epoch_ends) + schedule.num_steps // config.checkpoint.every_steps
        start.checkpoints.check_room(start.program.abstract_state, saves)
    levels = start.dataset.taxonomy.levels
    if not is_complete or (not changes and (lost or read_images(images_path(workdir), len(levels)) is None)):
        write_run_files(workdir, config, start.dataset, schedule.position, start.identity, [*lost, *changes])
    effect = "without effect, since the run is complete" if is_complete else "from here on"
    for words in [*(f"{x}: from here on" for x in lost), *(f"{change}: {effect}" for change in changes)]:
        say(f"{words}.")
    if is_complete:
        say(f"The run in {workdir} is complete: {page_path(report_path(workdir))}")
        return metrics_file.lines
    _introduce(start, step)
    with contextlib.ExitStack() as stack:
        with start.terminal.doing(Task("Creating the model")):
            progressive, train_step = _step_functions(start.program, schedule)
            start_beside(import_tensorflow)  # seconds of Python, as tracing is: after it, beside the compiler
            state = _new_state(start.program, say) if state is None else state
            start.checkpoints.check_place()  # TensorFlow makes the directory of its events where there is none
            events = EventWriter(workdir) if jax.process_index() == 0 else None
            if events:
                stack.callback(events.close)
                events.write_config(step, config_to_json(config))
            run = _open_run(start, train_step, progressive, metrics_file, events)
        _train_and_write(run, state, step)
    return metrics_file.lines


def _introduce(start: _Start, step: int) -> None:
    """Says what is trained, on what, and where the page will be."""
    config, dataset, schedule, workdir = start.config, start.dataset, start.schedule, start.workdir
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
    lines += first_rows(start.program.mesh, dataset.splits, dataset.taxonomy, steps, page)
    start.terminal.say("\n".join(lines), as_is=True)
    left_over = 0 if config.rare_classes.draw else len(dataset.splits["train"]) % config.batch_size
    notes = [*notes_of(dataset, left_over), *(slow_trunks(start.program) if not step else ())]
    notes.append(dispatched_singly(config.steps_per_dispatch, config.checkpoint.every_steps, schedule.steps_per_epoch))
    for note in filter(None, notes):
        start.terminal.say(f"Note: {note}.")


def _open_run(
    start: _Start, train_step: StepFn, progressive: StepFn, metrics_file: MetricsFile, events: EventWriter | None
) -> Run:
    config, dataset = start.config, start.dataset
    table = EpochTable(dataset.taxonomy.levels, config.num_epochs, start.terminal.columns)
    if table.unshown:
        start.terminal.say(f"Note: the lines below have no room for {', '.join(table.unshown)}; metrics.jsonl has all.")
    progress = TrainingProgress(start.schedule, config.num_epochs, config.batch_size)
    end = functools.partial(end_stalled, start.workdir)
    together = config.steps_per_dispatch
    watchdog = Watchdog(config.watchdog_minutes, lambda: together * progress.pace.step_seconds, end)
    split, mesh = dataset.splits["validation"], start.program.mesh
    canvas = canvas_shape(config, image_shape(config))
    check_cache((split, dataset.splits["train"]), config.data.cache, canvas, mesh)
    return Run(
        program=start.program,
        train_step=train_step,
        progressive_step=progressive,
        workdir=start.workdir,
        dataset=dataset,
        validation=open_images(split, config, image_shape(config), mesh, watchdog.feed),
        schedule=start.schedule,
        checkpoints=start.checkpoints,
        metrics_file=metrics_file,
        events=events,
        terminal=start.terminal,
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
            state = _train(run, state, images)
    write_results(run, state)
    barrier("the results are written")  # by the first process, for which the others wait


def _step_functions(program: Program, schedule: Schedule) -> list[StepFn]:
    """Returns the train steps of the progressive epochs and of the others.

    Those that are needed compile in the background if steps are dispatched one at a time.
    """
    needed = {
        schedule.is_progressive(epoch) for end, epoch in schedule.epoch_ends.items() if end > schedule.position.step
    }
    programs = {True: program.progressive, False: program}
    config = program.config
    at_once = steps_at_once(config.steps_per_dispatch, config.checkpoint.every_steps, schedule.steps_per_epoch)
    compiles = needed if at_once == 1 else set()
    return [
        _compiling(programs[x], program.abstract_state) if x in compiles else programs[x].train_step
        for x in (True, False)
    ]


def _compiling(program: Program, state: TrainState) -> StepFn:
    """Returns the train step, which compiles in the background for an abstract state."""
    config = program.config
    canvas = canvas_shape(config, image_shape(config))
    batch = abstract_batch(config.batch_size, program.taxonomy.levels, program.mesh, canvas)
    return Compiling(program.train_step, state, batch)


def _new_state(program: Program, say: Say) -> TrainState:
    model = program.config.model
    heads = head_names(program.config)
    begun = with_trunks(program.create_state(), model.name, heads, model.init_from, say)
    begun = with_heads(begun, program.taxonomy, heads, model.init_heads_from, say)
    check_same_weights((begun.params, begun.model_state), [*model.init_from.values(), model.init_heads_from])
    return restart_average(begun)


def _prepare(config: ConfigDict, held: OpenDirectory, dataset: Dataset, mesh: Mesh, terminal: Terminal) -> _Start:
    workdir, canvas = held.directory, canvas_shape(config, image_shape(config))
    for warning in warnings_of(dataset, data_fields(config), config.data.resize, canvas, head_names(config)):
        terminal.say(warning)
    identity = identify(workdir, config, dataset)
    num_images = len(dataset.splits["train"])
    counts = dataset.splits["train"].class_counts(dataset.taxonomy)
    small, whole = (
        CostModel(config.model.name, config.optimizer).image_cost(shape, config.batch_size)
        for shape in (shape_of(config.progressive.image_size), image_shape(config))
    )
    resizing = Resizing(config.progressive.epochs, small / whole)
    schedule = Schedule(num_images, config.batch_size, config.num_epochs, config.checkpoint.every_steps, resizing)
    rollback_steps = config.nonfinite.max_in_a_row if config.on_nonfinite == "rollback" else 0
    program = create_program(config, dataset.taxonomy, mesh, num_images=num_images, counts=counts)
    if not has_checkpoint(workdir):  # runs that earlier versions began go on
        program.factors.check_order(program.abstract_state.params)
    return _Start(
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


def _open_metrics(start: _Start, step: int) -> MetricsFile:
    """Opens metrics.jsonl, cut off after a step, and tells the checkpoints the scores of its epochs."""
    path = metrics_path(start.workdir)
    lines = decided("metrics", lambda: read_lines(path, step))
    check_epochs([line.get("epoch") for line in lines], start.schedule.position, path)
    metrics_file = MetricsFile(path, lines, writes=jax.process_index() == 0)
    start.checkpoints.set_scores(epoch_scores(lines, best_metric(start.config)))
    return metrics_file


def _train(run: Run, state: TrainState, images: Images) -> TrainState:
    """Trains from a state to the last step, which is saved, through as many rollbacks as needed."""
    while True:
        try:
            state = _steps(run, ready(state), images)
            run.checkpoints.save_now(run.schedule.num_steps, state)
            return state
        except RollBack as asked:
            start, restored = roll_back(run, asked)
            state = _new_state(run.program, run.terminal.say) if restored is None else restored
            state = with_rollbacks(state, asked.times, run.program.mesh)
            run.metrics_file.cut_after(start)
            run.checkpoints.set_scores(epoch_scores(run.metrics_file.lines, best_metric(run.config)))
        finally:
            interruption.hold(False)


def _steps(run: Run, state: TrainState, images: Images) -> TrainState:
    config, (start, epoch, seen) = run.config, run.schedule.position
    batches = train_batches(run.dataset.splits["train"], images, config, epoch, seen, run.rows)
    watch, before, pace, compiled = Stopwatch(), None, run.progress.pace, set[StepFn]()
    ends, together = [*run.schedule.epoch_ends], config.steps_per_dispatch
    for step, count in dispatches(start, ends, together, config.checkpoint.every_steps):
        asked = time.monotonic()
        put, step_fn = put_batch if count == 1 else put_batches, run.step_function(step, count)
        if step_fn in compiled:
            pace.start(step - count, watch.waited)
        else:  # the first step of a program may compile it, and is not measured
            pace.pause()
            compiled.add(step_fn)
            run.watchdog.expect_compilation()
        batch = put(next_batch(batches, count), run.program.mesh)
        watch.waited += time.monotonic() - asked
        with jax.transfer_guard("disallow"):
            state, outcome = step_fn(state, batch)
        interruption.hold(True)
        run.progress.dispatched(step)
        run.watchdog.feed(step)
        if before is not None and step % config.log_every_steps < count:
            _report_progress(run, step - count, before, watch)  # after this dispatch, so that the device never waits
        watch.steps += count
        is_stopped = interruption.requested()
        if is_stopped or run.checkpoints.is_scheduled(step) or run.checkpoints.is_retry_due():
            check_updates(run, step, outcome)
            outdate_report(run.workdir)
            if is_stopped:
                stop(run, state, step)
            if step in run.schedule.epoch_ends:
                pace.measure(step, watch.waited, is_last=True)
                end_epoch(run, state, step, watch)
                watch = Stopwatch()
                if step == run.schedule.num_steps:
                    break
            else:
                run.checkpoints.save(step, state)
        before = outcome
    return state


def _report_progress(run: Run, step: int, outcome: Outcome, watch: Stopwatch) -> None:
    fetched = check_updates(run, step, outcome)
    run.progress.pace.measure(step, watch.waited)
    run.progress.fetched(step, float(fetched.loss))
    if estimate := run.progress.new_estimate(step):
        run.terminal.say(estimate)
    if run.events:
        scalars = {
            "loss": float(fetched.loss),
            "learning_rate": run.learning_rate(step, int(fetched.rollbacks)),
            "gradient_norm": float(fetched.gradient_norm),
            "images_per_second": watch.lap(run.config.batch_size),
        }
        run.events.write_step(step, scalars)

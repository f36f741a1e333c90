"""Implements train_and_evaluate: restore or start, run the steps, evaluate each epoch, write the run's files."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fashion_jax.config.loading import check_config, image_shape
from fashion_jax.data.batches.pipeline import Images, canvas_shape, open_images, train_batches
from fashion_jax.data.dataset import Dataset, load_dataset
from fashion_jax.data.findings import count_notes, left_out_note
from fashion_jax.data.leaks import leak_warning
from fashion_jax.data.tensorflow_cpu import import_tensorflow
from fashion_jax.devices.mesh import check_batch_size, create_mesh, meet, put_batch, put_batches
from fashion_jax.errors import RunError, first_line
from fashion_jax.models import create_model
from fashion_jax.scoring.metrics import score
from fashion_jax.step.class_balance import class_counts, create_class_balance
from fashion_jax.step.optimizer import create_optimizer
from fashion_jax.step.train_state import TrainState, abstract_batch, abstract_train_state, create_train_state
from fashion_jax.step.train_step import Outcome, jit_eval_step, jit_train_step
from fashion_jax.training import interruption
from fashion_jax.training.dispatch import dispatches, next_batch
from fashion_jax.training.epoch_end import end_epoch, has_results, outdate_report, stop
from fashion_jax.training.init_from import check_sources, with_trunks
from fashion_jax.training.rollback import RollBack, check_updates, roll_back, slowed
from fashion_jax.training.run import Run, Stopwatch
from fashion_jax.training.run_end import write_results
from fashion_jax.training.start_up import Compiling
from fashion_jax.training.start_up import start as start_beside
from fashion_jax.training.terminal import Terminal
from fashion_jax.workdir.checkpoints.identity import Identity
from fashion_jax.workdir.checkpoints.store import Checkpoints
from fashion_jax.workdir.files import has_checkpoint
from fashion_jax.workdir.metrics_file import EventWriter, MetricsFile
from fashion_jax.workdir.opening import check_workdir, opened
from fashion_jax.workdir.place import Place
from fashion_jax.workdir.position import check_epochs
from fashion_jax.workdir.run_identity import identify
from fashion_jax.workdir.same_data import check_same_data
from fashion_jax.workdir.start import check_same_config, write_run_files


def train_and_evaluate(
    config: ConfigDict, workdir: str | Path, devices: Sequence[jax.Device] | None = None
) -> list[dict[str, Any]]:
    """Trains, or resumes training, and writes the files of a run to workdir.

    Args:
        config: see configs/default.py.
        workdir: a new or empty directory, or that of an earlier start of the same run.
        devices: to train on; by default all.

    Returns:
        The lines of metrics.jsonl.

    Raises:
        UserError: config, data or workdir are wrong; nothing expensive has been done.
        RunError: the run cannot go on.
    """
    check_config(config)
    mesh = create_mesh(devices)
    check_batch_size(config.batch_size, mesh.size, config.accumulate)
    workdir = Path(workdir)
    terminal = Terminal() if jax.process_index() == 0 else Terminal(io.StringIO())
    check_workdir(workdir)
    changes = check_same_config(workdir, config)
    if not has_checkpoint(workdir):
        check_sources(config)
    with opened(workdir, terminal.say, leads=jax.process_index() == 0), Place(workdir) as place, place.blamed():
        dataset = load_dataset(config)
        changes += check_same_data(workdir, dataset)
        for finding in _findings(config, dataset):
            terminal.say(finding)
        identity = identify(workdir, config, dataset)
        run = _create_run(config, place, dataset, mesh, terminal, identity)
        try:
            with _others_may_end():
                return _resume(run, changes)
        finally:
            run.checkpoints.close()
            if run.events:
                run.events.close()


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


def _resume(run: Run, changes: Sequence[str]) -> list[dict[str, Any]]:
    """Trains from the run's position to its end and writes all files; `changes` tells in words what has changed."""
    start, state = run.checkpoints.restore_latest(run.abstract_state) or (0, None)
    run.start_at(state)
    run.metrics_file = _open_metrics(run, start)
    if start < run.num_steps:
        run.checkpoints.check_room(run.abstract_state)
    write_run_files(run.workdir, run.config, run.dataset, run.position, run.identity, changes)
    for change in changes:
        run.terminal.say(f"{change}: from here on.")
    if start == run.num_steps and len(run.metrics_file.lines) == run.config.num_epochs and has_results(run.workdir):
        run.terminal.say(f"The run in {run.workdir} is complete: {run.workdir / 'report'}")
        return run.metrics_file.lines
    run.terminal.say(f"Resuming {run.workdir} after step {start} of {run.num_steps}" if start else _introduction(run))
    shape = image_shape(run.config)
    if start < run.num_steps and run.config.steps_per_dispatch == 1:
        batch = abstract_batch(run.config, run.dataset.taxonomy, run.mesh, canvas_shape(run.config, shape))
        run.train_fn = Compiling(run.train_fn, run.abstract_state, batch)
    start_beside(import_tensorflow)  # seconds of Python, as tracing is: after it, beside the compiler
    state = run.create_state() if state is None else state
    run.checkpoints.check_place()  # TensorFlow makes the directory of its events where there is none
    if jax.process_index() == 0:
        run.events = EventWriter(run.workdir)
    run.validation = open_images(run.dataset.splits["validation"], run.config, shape, run.mesh)
    written = [line["step"] for line in run.metrics_file.lines]
    if start in run.epoch_ends and start not in written:
        end_epoch(run, state, start, Stopwatch())  # killed between an epoch's last step and its line
    if start < run.num_steps:
        images = open_images(run.dataset.splits["train"], run.config, shape, run.mesh)
        state = _train(run, state, images)
    write_results(run, state)
    meet("the results are written")  # by one of the processes; jax gives the last one few seconds after the first
    return run.metrics_file.lines


def _findings(config: ConfigDict, dataset: Dataset) -> Iterator[str]:
    """Yields lines that a user should read about the data before training on it."""
    if warning := leak_warning(dataset.leaks, config.data.drop_leaks):
        yield warning
    for warning in dataset.warnings:
        yield f"Warning: {warning}."
    train, validation = (class_counts(dataset.splits[name], dataset.taxonomy) for name in ("train", "validation"))
    left_over = 0 if config.rare_classes.draw else len(dataset.splits["train"]) % config.batch_size
    notes = "; ".join(count_notes(dataset.taxonomy, train, validation, left_over))
    yield from (f"Note: {note}." for note in (notes, left_out_note(dataset.left_out)) if note)


def _introduction(run: Run) -> str:
    splits = run.dataset.splits
    classes = ", ".join(f"{run.dataset.taxonomy.num_classes(level)} {level}" for level in run.dataset.taxonomy.levels)
    return (
        f"Training {run.config.model.name} in {run.workdir} on {len(splits['train']):,} images "
        f"({len(splits['validation']):,} for validation; classes: {classes}): {run.config.num_epochs} epochs of "
        f"{next(iter(run.epoch_ends))} steps. The first step takes longer, being compiled."
    )


def _create_run(
    config: ConfigDict, place: Place, dataset: Dataset, mesh: Mesh, terminal: Terminal, identity: Identity
) -> Run:
    taxonomy = dataset.taxonomy
    num_images = len(dataset.splits["train"])
    model = create_model(config, taxonomy, mesh)
    tx = create_optimizer(config)
    balance = create_class_balance(config, class_counts(dataset.splits["train"], taxonomy))
    run = Run(
        config=config,
        workdir=place.directory,
        dataset=dataset,
        mesh=mesh,
        train_fn=jit_train_step(config, model, tx, taxonomy, mesh, num_images, balance),
        train_steps_fn=jit_train_step(config, model, tx, taxonomy, mesh, num_images, balance, stacked=True),
        eval_fn=jit_eval_step(config, model, taxonomy, mesh, balance),
        create_state=lambda: with_trunks(config, create_train_state(config, model, tx, taxonomy, mesh), terminal.say),
        abstract_state=abstract_train_state(config, model, tx, taxonomy, mesh),
        terminal=terminal,
        identity=identity,
    )
    run.checkpoints = Checkpoints(
        place.directory / "checkpoints",
        config.checkpoint.keep,
        say=terminal.say,
        is_scheduled=run.is_scheduled,
        rollback_steps=config.nonfinite.max_in_a_row if config.on_nonfinite == "rollback" else 0,
        identity=identity,
        place=place,
    )
    return run


def _open_metrics(run: Run, start: int) -> MetricsFile:
    path = run.workdir / "metrics.jsonl"
    check_epochs([line.get("epoch") for line in MetricsFile(path, start, writes=False).lines], run.position, path)
    metrics_file = MetricsFile(path, start, writes=jax.process_index() == 0)
    run.checkpoints.scores = {line["step"]: score(run.config, line) for line in metrics_file.lines}
    return metrics_file


def _train(run: Run, state: TrainState, images: Images) -> TrainState:
    """Trains from a state to the last step, which is saved, through as many rollbacks as needed."""
    while True:
        try:
            state = _steps(run, state, images)
            run.checkpoints.save_now(run.num_steps, state)
            return state
        except RollBack as asked:
            start, state = roll_back(run, asked)
            state = slowed(run, run.create_state() if state is None else state, asked.times)
            run.metrics_file = _open_metrics(run, start)
        finally:
            interruption.hold(False)


def _steps(run: Run, state: TrainState, images: Images) -> TrainState:
    config, (start, epoch, seen) = run.config, run.position
    batches = train_batches(run.dataset.splits["train"], images, config, epoch, seen, run.rows)
    watch, before = Stopwatch(), None
    for step, count in dispatches(start, [*run.epoch_ends], config.steps_per_dispatch, config.checkpoint.every_steps):
        asked = time.monotonic()
        batch = (put_batch if count == 1 else put_batches)(next_batch(batches, count), run.mesh)
        watch.waited += time.monotonic() - asked
        with jax.transfer_guard("disallow"):
            state, outcome = (run.train_fn if count == 1 else run.train_steps_fn)(state, batch)
        interruption.hold(True)
        if before is not None and step % config.log_every_steps < count:
            _report_progress(run, step - count, before, watch)  # after this dispatch, so that the device never waits
        watch.steps += count
        is_stopped = interruption.requested()
        if is_stopped or run.is_scheduled(step) or run.checkpoints.is_retry_due():
            check_updates(run, step, outcome)
            outdate_report(run.workdir)
            if is_stopped:
                stop(run, state, step)
            if step in run.epoch_ends:
                end_epoch(run, state, step, watch)
                watch = Stopwatch()
            else:
                run.checkpoints.save(step, state)
        before = outcome
    return state


def _report_progress(run: Run, step: int, outcome: Outcome, watch: Stopwatch) -> None:
    value = check_updates(run, step, outcome)
    epoch = f"epoch {run.epoch_of(step)}/{run.config.num_epochs}"
    speed = watch.timing(run.config.batch_size)["images_per_second"]
    run.terminal.progress(step, run.num_steps, epoch, speed, value)

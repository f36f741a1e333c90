"""train_and_evaluate: restore or start, run the steps, evaluate each epoch, leave the run's files."""

from __future__ import annotations

import io
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fashion_jax.checkpoint import Checkpoints
from fashion_jax.class_balance import class_counts, create_class_balance
from fashion_jax.config import check_config
from fashion_jax.data.dataset import Dataset, load_dataset
from fashion_jax.data.pipeline import Images, open_images, train_batches
from fashion_jax.errors import RunError, UserError
from fashion_jax.evaluation import score
from fashion_jax.models import Classifier, create_model
from fashion_jax.optimizer import create_optimizer
from fashion_jax.results import end_epoch, write_results
from fashion_jax.run import Run, Stopwatch
from fashion_jax.run_files import open_workdir, write_run_files
from fashion_jax.sharding import check_batch_size, create_mesh, fetch, put_batch
from fashion_jax.train_state import TrainState, abstract_train_state, create_train_state, image_shape
from fashion_jax.train_step import jit_eval_step, jit_train_step
from fashion_jax.writers import EventWriter, MetricsFile, Terminal


def train_and_evaluate(
    config: ConfigDict, workdir: str | Path, devices: Sequence[jax.Device] | None = None
) -> list[dict[str, Any]]:
    """Trains, or goes on training, and leaves in workdir the files that DESIGN names.

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
    check_batch_size(config.batch_size, mesh.size)
    workdir = Path(workdir)
    open_workdir(workdir, config)
    dataset = load_dataset(config)
    run, model, tx = _create_run(config, workdir, dataset, mesh)
    start = run.checkpoints.latest_step or 0
    if start > run.num_steps:
        raise UserError(
            f"{run.workdir} has done {start} steps, more than num_epochs = {config.num_epochs} has ({run.num_steps}): "
            "raise num_epochs, or use another --workdir."
        )
    run.metrics_file = _open_metrics(run, start)
    report = run.workdir / "report"
    if start == run.num_steps and len(run.metrics_file.lines) == config.num_epochs and report.exists():
        run.terminal.say(f"The run in {run.workdir} is complete: {report}")
        run.checkpoints.close()
        return run.metrics_file.lines
    if start:
        run.terminal.say(f"Resuming {run.workdir} after step {start} of {run.num_steps}")
        state = run.checkpoints.restore(start, run.abstract_state)
    else:
        run.terminal.say(_introduction(run))
        state = create_train_state(config, model, tx, dataset.taxonomy, mesh)
    _run(run, state, start)
    return run.metrics_file.lines


def _introduction(run: Run) -> str:
    splits = run.dataset.splits
    classes = ", ".join(f"{run.dataset.taxonomy.num_classes(level)} {level}" for level in run.dataset.taxonomy.levels)
    return (
        f"Training {run.config.model.name} in {run.workdir} on {len(splits['train']):,} images "
        f"({len(splits['validation']):,} for validation; classes: {classes}): {run.config.num_epochs} epochs of "
        f"{run.steps_per_epoch} steps. The first step takes longer, being compiled."
    )


def _create_run(config: ConfigDict, workdir: Path, dataset: Dataset, mesh: Mesh) -> tuple[Run, Classifier, Any]:
    taxonomy = dataset.taxonomy
    steps_per_epoch = len(dataset.splits["train"]) // config.batch_size
    model = create_model(config, taxonomy, mesh.size)
    tx = create_optimizer(config, steps_per_epoch)
    write_run_files(workdir, config, taxonomy, dataset.summary(config.batch_size))
    balance = create_class_balance(config, class_counts(dataset.splits["train"], taxonomy))
    run = Run(
        config=config,
        workdir=workdir,
        dataset=dataset,
        mesh=mesh,
        train_fn=jit_train_step(config, model, tx, taxonomy, mesh, steps_per_epoch, balance),
        eval_fn=jit_eval_step(config, model, taxonomy, mesh, balance),
        abstract_state=abstract_train_state(config, model, tx, taxonomy, mesh),
        checkpoints=Checkpoints(workdir / "checkpoints", config.checkpoint.keep),
        terminal=Terminal() if jax.process_index() == 0 else Terminal(io.StringIO()),
    )
    return run, model, tx


def _open_metrics(run: Run, start: int) -> MetricsFile:
    metrics_file = MetricsFile(run.workdir / "metrics.jsonl", start, writes=jax.process_index() == 0)
    for line in metrics_file.lines:
        run.checkpoints.scores[line["step"]] = score(run.config, line)
    return metrics_file


def _run(run: Run, state: TrainState, start: int) -> None:
    """From a state to the end, all files written."""
    if jax.process_index() == 0:
        run.events = EventWriter(run.workdir)
        shutil.rmtree(run.workdir / "report", ignore_errors=True)
    shape = image_shape(run.config)
    run.validation = open_images(run.dataset.splits["validation"], run.config, shape)
    try:
        written = [line["step"] for line in run.metrics_file.lines]
        if start and start % run.steps_per_epoch == 0 and start not in written:
            end_epoch(run, state, start, Stopwatch())  # killed between an epoch's last step and its line
        if start < run.num_steps:
            state = _train(run, state, start, open_images(run.dataset.splits["train"], run.config, shape))
        run.checkpoints.wait()
        write_results(run, state)
    finally:
        run.checkpoints.close()
        if run.events:
            run.events.close()


def _train(run: Run, state: TrainState, start: int, images: Images) -> TrainState:
    config, steps_per_epoch = run.config, run.steps_per_epoch
    batches = train_batches(run.dataset.splits["train"], images, config, start, run.num_steps, run.share)
    watch, loss = Stopwatch(), None
    for step in range(start + 1, run.num_steps + 1):
        asked = time.monotonic()
        batch = put_batch(next(batches), run.mesh)
        watch.waited += time.monotonic() - asked
        if loss is not None and step % config.log_every_steps == 0:
            _report_progress(run, step - 1, loss, watch)  # one step late, so that the device never waits
        with jax.transfer_guard("disallow"):
            state, loss = run.train_fn(state, batch)
        watch.steps += 1
        if step % steps_per_epoch == 0:
            _check_finite(config, step, float(fetch(loss)))
            end_epoch(run, state, step, watch)
            watch = Stopwatch()
        elif step % config.checkpoint.every_steps == 0:
            _check_finite(config, step, float(fetch(loss)))
            run.checkpoints.save(step, state)
    return state


def _report_progress(run: Run, step: int, loss: jax.Array, watch: Stopwatch) -> None:
    value = float(fetch(loss))
    _check_finite(run.config, step, value)
    epoch = f"epoch {(step - 1) // run.steps_per_epoch + 1}/{run.config.num_epochs}"
    speed = watch.timing(run.config.batch_size)["images_per_second"]
    run.terminal.progress(step, run.num_steps, epoch, speed, value)


def _check_finite(config: ConfigDict, step: int, loss: float) -> None:
    if not math.isfinite(loss):
        raise RunError(
            f"The loss is {loss} at step {step}: lower learning_rate ({config.learning_rate}) and start in another "
            "--workdir; the checkpoints of earlier steps are kept."
        )

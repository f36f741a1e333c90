"""train_and_evaluate: restore or start, run the steps, evaluate each epoch, leave the run's files."""

from __future__ import annotations

import dataclasses
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

from fashion_jax.background import Compiling
from fashion_jax.background import start as start_beside
from fashion_jax.checkpoint import Checkpoints
from fashion_jax.config import check_config
from fashion_jax.data.dataset import Dataset, load_dataset
from fashion_jax.data.pipeline import Images, canvas_shape, eval_batches, import_tensorflow, open_images, train_batches
from fashion_jax.dispatch import dispatches, next_batch
from fashion_jax.errors import RunError, UserError
from fashion_jax.evaluation import EvalFn, named_metrics, predict_split, score, split_metrics, write_predictions
from fashion_jax.metrics import summarize
from fashion_jax.models import Classifier, create_model
from fashion_jax.optimizer import create_optimizer, learning_rates
from fashion_jax.run_files import environment, open_workdir, write_run_files
from fashion_jax.sharding import check_batch_size, create_mesh, fetch, put_batch, put_batches
from fashion_jax.train_state import TrainState, abstract_batch, abstract_train_state, create_train_state, image_shape
from fashion_jax.train_step import jit_eval_step, jit_train_step
from fashion_jax.writers import EventWriter, MetricsFile, Terminal, duration


@dataclasses.dataclass
class Run:
    """What stays the same from step to step."""

    config: ConfigDict
    workdir: Path
    dataset: Dataset
    mesh: Mesh
    train_fn: Any
    train_steps_fn: Any
    eval_fn: EvalFn
    abstract_state: TrainState
    checkpoints: Checkpoints
    terminal: Terminal
    metrics_file: MetricsFile | None = None
    events: EventWriter | None = None
    validation: Images | None = None

    @property
    def steps_per_epoch(self) -> int:
        return len(self.dataset.splits["train"]) // self.config.batch_size

    @property
    def num_steps(self) -> int:
        return self.steps_per_epoch * self.config.num_epochs

    @property
    def share(self) -> tuple[int, int]:
        return jax.process_index(), jax.process_count()


@dataclasses.dataclass
class Stopwatch:
    """How an epoch's time was spent."""

    start: float = dataclasses.field(default_factory=time.monotonic)
    waited: float = 0.0  # for data, in seconds
    steps: int = 0

    def timing(self, batch_size: int) -> dict[str, float]:
        seconds = max(time.monotonic() - self.start, 1e-9)
        return {
            "images_per_second": self.steps * batch_size / seconds,
            "data_wait_fraction": self.waited / seconds,
            "train_seconds": seconds,
        }


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
    check_batch_size(config.batch_size, mesh.size, config.accumulate)
    workdir = Path(workdir)
    open_workdir(workdir, config)
    start_beside(import_tensorflow)  # which takes seconds
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
    run = Run(
        config=config,
        workdir=workdir,
        dataset=dataset,
        mesh=mesh,
        train_fn=jit_train_step(config, model, tx, taxonomy, mesh, steps_per_epoch),
        train_steps_fn=jit_train_step(config, model, tx, taxonomy, mesh, steps_per_epoch, stacked=True),
        eval_fn=jit_eval_step(config, model, taxonomy, mesh),
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
    shape = image_shape(run.config)
    if start < run.num_steps and run.config.steps_per_dispatch == 1:
        batch = abstract_batch(run.config, run.dataset.taxonomy, run.mesh, canvas_shape(run.config, shape))
        run.train_fn = Compiling(run.train_fn, run.abstract_state, batch)
    if jax.process_index() == 0:
        run.events = EventWriter(run.workdir)
        shutil.rmtree(run.workdir / "report", ignore_errors=True)
    run.validation = open_images(run.dataset.splits["validation"], run.config, shape)
    try:
        written = [line["step"] for line in run.metrics_file.lines]
        if start and start % run.steps_per_epoch == 0 and start not in written:
            _end_epoch(run, state, start, Stopwatch())  # killed between an epoch's last step and its line
        if start < run.num_steps:
            state = _train(run, state, start, open_images(run.dataset.splits["train"], run.config, shape))
        run.checkpoints.wait()
        _write_results(run, state)
    finally:
        run.checkpoints.close()
        if run.events:
            run.events.close()


def _train(run: Run, state: TrainState, start: int, images: Images) -> TrainState:
    config, steps_per_epoch = run.config, run.steps_per_epoch
    batches = train_batches(run.dataset.splits["train"], images, config, start, run.num_steps, run.share)
    watch, loss = Stopwatch(), None
    boundaries = steps_per_epoch, config.checkpoint.every_steps
    for step, count in dispatches(start, run.num_steps, config.steps_per_dispatch, *boundaries):
        asked = time.monotonic()
        batch = (put_batch if count == 1 else put_batches)(next_batch(batches, count), run.mesh)
        watch.waited += time.monotonic() - asked
        if loss is not None and step % config.log_every_steps < count:
            _report_progress(run, step - count, loss, watch)  # one dispatch late, so that the device never waits
        with jax.transfer_guard("disallow"):
            state, loss = (run.train_fn if count == 1 else run.train_steps_fn)(state, batch)
        watch.steps += count
        if step % steps_per_epoch == 0:
            _check_finite(config, step, float(fetch(loss)))
            _end_epoch(run, state, step, watch)
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


def _end_epoch(run: Run, state: TrainState, step: int, watch: Stopwatch) -> None:
    """Evaluates, saves, and writes the epoch's line, in this order: a line without its checkpoint is cut off
    on resume, a checkpoint without its line gets it then."""
    config = run.config
    train_sums = fetch(state.metrics)
    timing = watch.timing(config.batch_size)
    began = time.monotonic()
    metrics = split_metrics(config, run.dataset.splits["validation"], _predict_validation(run, state))
    timing["validation_seconds"] = time.monotonic() - began
    epoch = step // run.steps_per_epoch
    line: dict[str, Any] = {"epoch": epoch, "step": step, "learning_rate": float(learning_rates(config)[epoch - 1])}
    train = named_metrics(config, {level: summarize(sums) for level, sums in train_sums.items()})
    line |= {f"train/{name}": value for name, value in train.items()}
    line |= {f"validation/{name}": value for name, value in metrics.items()}
    line["timing"] = timing
    run.checkpoints.scores[step] = score(config, line)
    run.checkpoints.save(step, state)
    run.metrics_file.append(line)
    if run.events:
        run.events.write(line)
    _say_epoch(run, line)


def _say_epoch(run: Run, line: dict[str, Any]) -> None:
    finest = run.dataset.taxonomy.levels[-1]
    accuracies = "  ".join(
        f"{level} {line[f'validation/{level}/accuracy']:.2%}" for level in run.dataset.taxonomy.levels
    )
    run.terminal.say(
        f"epoch {line['epoch']}/{run.config.num_epochs}  loss {line['train/loss']:.4f}, "
        f"validation {line['validation/loss']:.4f}  accuracy {accuracies}  "
        f"{finest} macro-F1 {line[f'validation/{finest}/macro_f1']:.4f}  "
        f"{line['timing']['images_per_second']:.0f} images/s  {duration(line['timing']['train_seconds'])}"
    )


def _predict_validation(run: Run, state: TrainState) -> dict[str, Any]:
    split = run.dataset.splits["validation"]
    batches = eval_batches(split, run.validation, run.config.batch_size, run.share)
    return predict_split(state, batches, len(split), run.eval_fn, run.mesh)


def _write_results(run: Run, state: TrainState) -> None:
    """The best checkpoint's predictions on validation, and the report."""
    from fashion_jax.report.contents import PageContents
    from fashion_jax.report.figures import write_report
    from fashion_jax.report.page import write_page

    best = run.checkpoints.best_step
    if best != run.num_steps:
        state = run.checkpoints.restore(best, run.abstract_state)
    log_probs = _predict_validation(run, state)
    if jax.process_index():
        return
    taxonomy, split = run.dataset.taxonomy, run.dataset.splits["validation"]
    write_predictions(run.workdir / "predictions" / "validation.parquet", taxonomy, split, log_probs)
    levels = {level: (list(taxonomy.classes[level]), x, split.labels[level]) for level, x in log_probs.items()}
    unfinished = run.workdir / "report.tmp"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    lines = run.metrics_file.lines
    write_report(unfinished, lines, levels)
    page = PageContents(run.workdir, run.config, run.dataset, environment(), lines, best, log_probs)
    write_page(unfinished / "index.html", page)
    unfinished.rename(run.workdir / "report")
    run.terminal.say(f"Done. Best checkpoint: step {best}. Report: {run.workdir / 'report' / 'index.html'}")

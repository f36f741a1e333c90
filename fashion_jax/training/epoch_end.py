"""Ends an epoch: its checkpoint, its evaluation and its line of metrics."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from fashion_jax.config.combinations import best_metric, loss_weights
from fashion_jax.data.batches.pipeline import eval_batches
from fashion_jax.devices.mesh import eval_batch_size, fetch, local_rows
from fashion_jax.devices.processes import decided
from fashion_jax.scoring.early_stopping import best_so_far, is_exhausted
from fashion_jax.scoring.metrics import named_metrics, score, split_metrics
from fashion_jax.step.guard import epoch_summary
from fashion_jax.step.metrics import summarize
from fashion_jax.step.prediction import predict_split
from fashion_jax.step.train_state import TrainState
from fashion_jax.terminal import Task
from fashion_jax.training import interruption
from fashion_jax.training.run import Run, Stopwatch


def end_epoch(run: Run, state: TrainState, step: int, watch: Stopwatch) -> None:
    """Saves, evaluates, and writes the epoch's line.

    The order matters: on resume, a line without its checkpoint is cut off, and a checkpoint without its line gets one.
    """
    config = run.config
    train_sums, guard = fetch((state.metrics, state.guard))
    # Without steps, the run was killed between the epoch's last step and its line, and its times are lost.
    timing = watch.timing(config.batch_size) if watch.steps else {}
    epoch = run.schedule.epoch_ends[step]
    weights, split = loss_weights(config), run.dataset.splits["validation"]
    run.checkpoints.save(step, state)  # an evaluation that fails must not lose the epoch
    line: dict[str, Any] = {"epoch": epoch, "step": step}
    line["learning_rate"] = run.learning_rate(step, int(guard["rollbacks"]))
    train = named_metrics({level: summarize(sums) for level, sums in train_sums.items()}, weights)
    line |= {f"train/{name}": value for name, value in (train | epoch_summary(guard)).items()}
    began = time.monotonic()

    def scored() -> dict[str, Any]:
        metrics = split_metrics(split.labels, log_probs, weights)
        seconds = {"validation_seconds": time.monotonic() - began}
        return line | {f"validation/{name}": value for name, value in metrics.items()} | {"timing": timing | seconds}

    with run.terminal.doing(Task(f"Evaluating epoch {epoch} on validation", len(split))) as task:
        log_probs = predict_validation(run, state, step, task)
        with run.watchdog.paused():
            # Many classes take long, and what the scores decide must be the same on processors of several kinds.
            line = decided("epoch", scored)
    metric, lines = best_metric(config), [*run.metrics_file.lines, line]
    run.checkpoints.add_score(step, score(line, metric))
    run.metrics_file.append(line)
    if run.events:
        run.events.write_epoch(line)
    _, epochs_since_best = best_so_far(lines, metric)
    _say_epoch(run, line, is_best=epochs_since_best == 0 and math.isfinite(score(line, metric)))
    if is_exhausted(config.early_stopping, lines):
        run.schedule.end_at(step)
    run.progress.pace.evaluated(line["timing"]["validation_seconds"], task.head_start())
    if estimate := run.progress.new_estimate(step, is_epochs_end=True):
        run.terminal.say(estimate)


def _say_epoch(run: Run, line: dict[str, Any], is_best: bool) -> None:
    run.terminal.say(run.table.rows(line, is_best), as_is=True)
    if count := line["train/skipped_updates"]:
        updates = "1 update was" if count == 1 else f"{count} updates were"
        run.terminal.say(f"In epoch {line['epoch']} {updates} skipped: the loss or its gradient was not finite.")


def stop(run: Run, state: TrainState, step: int) -> None:
    """Saves, and ends the run as a signal has requested."""
    run.checkpoints.save_now(step, state)
    raise interruption.stopped(step)


def predict_validation(run: Run, state: TrainState, step: int, task: Task) -> dict[str, Any]:
    """Returns level -> log-probabilities of the validation split at a step; stops if a signal requests it.

    Args:
        run: the run.
        state: whose parameters predict.
        step: of the state.
        task: is told how many images are done.
    """
    split, mesh = run.dataset.splits["validation"], run.program.mesh
    size = eval_batch_size(run.config.batch_size, mesh.size, run.config.accumulate)
    batches = eval_batches(split, run.validation, size, local_rows(mesh, size))

    def reached(count: int) -> None:
        task.reached(count * size)
        run.watchdog.feed(step)

    run.watchdog.expect_compilation()
    batches = _until_stopped(batches, functools.partial(stop, run, state, step), reached)
    return predict_split(state, batches, len(split), run.program.eval_step, mesh)


def _until_stopped(
    batches: Iterator[dict[str, Any]], end: Callable[[], None], reached: Callable[[int], None]
) -> Iterator[dict[str, Any]]:
    """Yields batches unless a signal requests to stop; tells how many have been used when the next one is wanted."""
    for number, batch in enumerate(batches, 1):
        if interruption.requested():
            end()
        yield batch
        reached(number)

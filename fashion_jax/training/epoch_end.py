"""Ends epochs: an epoch's evaluation, checkpoint and line of metrics, and at the end the run's results."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from fashion_jax.atomic import remove
from fashion_jax.command_line import duration
from fashion_jax.config.combinations import best_metric, loss_weights
from fashion_jax.data.batches.pipeline import eval_batches
from fashion_jax.devices.mesh import fetch
from fashion_jax.scoring.metrics import named_metrics, score, split_metrics
from fashion_jax.step.guard import epoch_summary
from fashion_jax.step.metrics import summarize
from fashion_jax.step.prediction import predict_split
from fashion_jax.step.train_state import TrainState
from fashion_jax.training import interruption
from fashion_jax.training.run import Run, Stopwatch
from fashion_jax.workdir.paths import calibration_path, page_path, predictions_path, report_path


def end_epoch(run: Run, state: TrainState, step: int, watch: Stopwatch) -> None:
    """Evaluates, saves, and writes the epoch's line.

    The order matters: on resume, a line without its checkpoint is cut off, and a checkpoint without its line gets one.
    """
    config = run.config
    train_sums, guard = fetch((state.metrics, state.guard))
    # Without steps, the run was killed between the epoch's last step and its line, and its times are lost.
    timing = watch.timing(config.batch_size) if watch.steps else {}
    began = time.monotonic()
    weights = loss_weights(config)
    metrics = split_metrics(run.dataset.splits["validation"], predict_validation(run, state, step), weights)
    timing["validation_seconds"] = time.monotonic() - began
    epoch = run.schedule.epoch_ends[step]
    line: dict[str, Any] = {"epoch": epoch, "step": step}
    line["learning_rate"] = run.learning_rate(epoch, int(guard["rollbacks"]))
    train = named_metrics({level: summarize(sums) for level, sums in train_sums.items()}, weights)
    line |= {f"train/{name}": value for name, value in (train | epoch_summary(guard)).items()}
    line |= {f"validation/{name}": value for name, value in metrics.items()}
    line["timing"] = timing
    run.checkpoints.add_score(step, score(line, best_metric(config)))
    run.checkpoints.save(step, state)
    run.metrics_file.append(line)
    if run.events:
        run.events.write_epoch(line)
    _say_epoch(run, line)


def _say_epoch(run: Run, line: dict[str, Any]) -> None:
    finest = run.dataset.taxonomy.levels[-1]
    count = line["train/skipped_updates"]
    skipped = f"  {count} updates skipped, not finite" if count else ""
    accuracies = "  ".join(
        f"{level} {line[f'validation/{level}/accuracy']:.2%}" for level in run.dataset.taxonomy.levels
    )
    run.terminal.say(
        f"epoch {line['epoch']}/{run.config.num_epochs}  loss {line['train/loss']:.4f}, "
        f"validation {line['validation/loss']:.4f}  accuracy {accuracies}  "
        f"{finest} macro-F1 {line[f'validation/{finest}/macro_f1']:.4f}  "
        f"{_speed(line['timing'])}{skipped}"
    )


def _speed(timing: dict[str, float]) -> str:
    if "images_per_second" not in timing:
        return "evaluated only"
    return f"{timing['images_per_second']:.0f} images/s  {duration(timing['train_seconds'])}"


def stop(run: Run, state: TrainState, step: int) -> None:
    """Saves, and ends the run as a signal has requested."""
    run.checkpoints.save_now(step, state)
    raise interruption.stopped(step)


def predict_validation(run: Run, state: TrainState, step: int) -> dict[str, Any]:
    """Returns level -> log-probabilities of the validation split at a step; stops if a signal requests it."""
    split = run.dataset.splits["validation"]
    batches = eval_batches(split, run.validation, run.config.batch_size, run.rows)
    batches = _until_stopped(batches, functools.partial(stop, run, state, step))
    return predict_split(state, batches, len(split), run.program.eval_step, run.program.mesh)


def _until_stopped(batches: Iterator[dict[str, Any]], end: Callable[[], None]) -> Iterator[dict[str, Any]]:
    for batch in batches:
        if interruption.requested():
            end()
        yield batch


def has_results(workdir: Path) -> bool:
    """Returns whether all files that `write_results` writes exist."""
    written = predictions_path(workdir), calibration_path(workdir), page_path(report_path(workdir))
    return all(path.is_file() for path in written)


def outdate_report(workdir: Path) -> None:
    """Removes the page of an earlier end of a run that goes on, so that it is not taken for the page of the next."""
    if not jax.process_index():
        remove(report_path(workdir))

"""Ends a run: predictions of the best checkpoint, calibration and the report page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from fashion_jax.atomic import remove, replacing_folder
from fashion_jax.config.combinations import best_metric
from fashion_jax.scoring.early_stopping import is_defined, stopped_early
from fashion_jax.scoring.metrics import score
from fashion_jax.step.train_state import TrainState
from fashion_jax.terminal import Task
from fashion_jax.training.announcements import predict_line, score_rows
from fashion_jax.training.epoch_end import predict_validation
from fashion_jax.training.run import Run
from fashion_jax.workdir.calibration_file import write_calibration
from fashion_jax.workdir.paths import calibration_path, page_path, predictions_path, report_path
from fashion_jax.workdir.predictions import write_predictions


def write_results(run: Run, state: TrainState) -> None:
    """Writes the best checkpoint's predictions on validation, the temperatures fitted to them, and the report."""
    best = run.schedule.num_steps
    if run.checkpoints.best_step != best:
        restored = run.checkpoints.restore_best(run.program.abstract_state)
        assert restored is not None  # the last step is saved at least
        best, state = restored
    taxonomy, split = run.dataset.taxonomy, run.dataset.splits["validation"]
    with run.terminal.doing(Task("Predicting validation with the best checkpoint", len(split))) as task:
        log_probs = predict_validation(run, state, best, task)
    if jax.process_index():
        return
    run.checkpoints.check_place()
    with run.terminal.doing(Task("Writing predictions and the page")):
        write_predictions(predictions_path(run.workdir), taxonomy, split, log_probs)
        calibration = write_calibration(run.workdir, best, split.ids, log_probs, split.labels)
        with replacing_folder(report_path(run.workdir)) as unfinished:
            _write_report(run, unfinished, best, log_probs, calibration.temperatures)
    run.terminal.say("\n".join(_conclusion(run, best)), as_is=True)


def has_results(workdir: Path) -> bool:
    """Returns whether all files that `write_results` writes exist."""
    written = predictions_path(workdir), calibration_path(workdir), page_path(report_path(workdir))
    return all(path.is_file() for path in written)


def outdate_report(workdir: Path) -> None:
    """Removes the page of an earlier end of a run that goes on, so that it is not taken for the page of the next."""
    if not jax.process_index():
        remove(report_path(workdir))


def _conclusion(run: Run, best: int) -> Iterator[str]:
    """Yields the last lines of a run: the scores of the best checkpoint, the page, and how to predict."""
    if reason := stopped_early(run.config.early_stopping, run.metrics_file.lines, run.config.num_epochs):
        yield f"{reason[:1].upper()}{reason[1:]}."
    if run.config.early_stopping and not is_defined(run.metrics_file.lines, run.config.early_stopping["metric"]):
        yield f"early_stopping had no effect, since {run.config.early_stopping['metric']} is undefined."
    line = next((line for line in run.metrics_file.lines if line["step"] == best), None)
    if line is None:  # it was saved within an epoch
        yield f"Done. Best checkpoint: step {best}"
    else:
        metric = best_metric(run.config)
        why = f"by {metric}" if math.isfinite(score(line, metric)) else f"the last one, since {metric} is undefined"
        yield f"Done. Best checkpoint: epoch {line['epoch']}, step {best}, {why}"
        yield from score_rows(run.dataset.taxonomy.levels, line)
    yield f"Page: {page_path(report_path(run.workdir))}"
    yield "To predict images, folders or zips, name them after --input:"
    yield f"  {predict_line(run.workdir, run.dataset.splits['validation'])}"


def _write_report(
    run: Run, directory: Path, step: int, log_probs: dict[str, Any], temperatures: dict[str, float]
) -> None:
    """Writes the page of the run on validation, without heat maps, which evaluate adds."""
    from fashion_jax.report.contents import read_contents
    from fashion_jax.report.folder import shown_images, write_folder
    from fashion_jax.scoring.assessment import assess

    taxonomy, split = run.dataset.taxonomy, run.dataset.splits["validation"]
    counts = run.dataset.splits["train"].class_counts(taxonomy)
    contents = read_contents(
        run.workdir,
        config=run.config,
        taxonomy=taxonomy,
        step=step,
        split_name="validation",
        split=split,
        log_probs=log_probs,
        assessment=assess(log_probs, split.labels, taxonomy, counts, temperatures, cross_fit=True),
        temperatures=temperatures,
        train=run.dataset.splits["train"],
    )
    write_folder(directory, contents)
    if run.events:
        run.events.write_images(step, shown_images(directory, contents))

"""Ends a run: predictions of the best checkpoint, calibration and the report page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from fashion_jax.atomic import replacing_folder
from fashion_jax.step.class_balance import class_counts
from fashion_jax.step.train_state import TrainState
from fashion_jax.training.epoch_end import predict_validation
from fashion_jax.training.run import Run
from fashion_jax.workdir.calibration_file import write_calibration
from fashion_jax.workdir.paths import page_path, predictions_path, report_path
from fashion_jax.workdir.predictions import write_predictions


def write_results(run: Run, state: TrainState) -> None:
    """Writes the best checkpoint's predictions on validation, the temperatures fitted to them, and the report."""
    best = run.schedule.num_steps
    if run.checkpoints.best_step != best:
        restored = run.checkpoints.restore_best(run.program.abstract_state)
        assert restored is not None  # the last step is saved at least
        best, state = restored
    log_probs = predict_validation(run, state, best)
    if jax.process_index():
        return
    run.checkpoints.check_place()
    taxonomy, split = run.dataset.taxonomy, run.dataset.splits["validation"]
    write_predictions(predictions_path(run.workdir), taxonomy, split, log_probs)
    calibration = write_calibration(run.workdir, best, split.ids, log_probs, split.labels)
    with replacing_folder(report_path(run.workdir)) as unfinished:
        _write_report(run, unfinished, best, log_probs, calibration.temperatures)
    run.terminal.say(f"Done. Best checkpoint: step {best}. Report: {page_path(report_path(run.workdir))}")


def _write_report(
    run: Run, directory: Path, step: int, log_probs: dict[str, Any], temperatures: dict[str, float]
) -> None:
    """Writes the page of the run on validation, without heat maps, which evaluate adds."""
    from fashion_jax.report.contents import read_contents
    from fashion_jax.report.folder import shown_images, write_folder
    from fashion_jax.scoring.assessment import assess

    taxonomy, split = run.dataset.taxonomy, run.dataset.splits["validation"]
    counts = class_counts(run.dataset.splits["train"], taxonomy)
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

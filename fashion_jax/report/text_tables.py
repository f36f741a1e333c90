"""Formats the tables that the evaluate command prints."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fashion_jax.command_line.formats import UNDEFINED, percent, printable, rate
from fashion_jax.data.findings import left_out_note
from fashion_jax.scoring.scores import SHOTS
from fashion_jax.workdir.paths import CALIBRATION

if TYPE_CHECKING:
    from fashion_jax.scoring.evaluation import Evaluation
    from fashion_jax.workdir.calibration_file import RunCalibration

_UNDEFINED_CELL = re.compile(rf"(?<!\S){UNDEFINED}(?!\S)")

_UNDEFINED_WORDS = (
    f"{UNDEFINED} stands where nothing can be computed: for a level of which no image has a known label, for a group "
    "without images, for the AUROC of a single class, the severity of no mistakes, the speed of less than a batch."
)


def result_tables(runs: Sequence[Evaluation]) -> str:
    """Returns the tables of runs: scores by level and decode, cost, differences from the first run, and over seeds."""
    parts = [_levels(runs), _more(runs), _decodes(runs), _sizes(runs)]
    if len(runs) > 1:
        parts.append(difference_table(runs))
    if any(run.over_seeds for run in runs):
        parts.append(seed_table(runs))
    tables = printable("\n\n".join(parts))
    return f"{tables}\n\n{_UNDEFINED_WORDS}" if _UNDEFINED_CELL.search(tables) else tables


def note(
    calibration: RunCalibration | None, step: int, otherwise: Sequence[str], on_own: bool, should_be_own: bool
) -> str:
    """Returns the note to a run's row: where its temperatures come from, and whether it was measured on its own images.

    Args:
        calibration: the run's, or None.
        step: of the checkpoint.
        otherwise: config fields in which these predictions differ from those of the training.
        on_own: whether the temperatures were fitted on these images.
        should_be_own: whether they should have been.
    """
    if not calibration:
        return f"there is no {CALIBRATION}, so decodes use the raw probabilities."
    notes = []
    if calibration.step != step:
        notes.append(f"the temperatures were fitted to step {calibration.step}.")
    if otherwise:
        notes.append(f"the temperatures were fitted to predictions with a different {', '.join(otherwise)}.")
    if should_be_own and not on_own:
        notes.append("these are not the validation images of the training, as the data has changed since.")
    if on_own and not notes:
        notes.append(
            "the temperatures were fitted on these images; the calibrated ECE is cross-fitted over five folds."
        )
    return " ".join(notes)


def _levels(runs: Sequence[Evaluation]) -> str:
    lines = [
        ("run", "step", "split", "level", "images", "loss", "accuracy", "macro-F1", "AUROC", "ECE", "calibrated ECE")
    ]
    for run in runs:
        for level, assessed in run.assessment.levels.items():
            calibrated = assessed.calibrated
            lines.append(
                (
                    run.workdir,
                    str(run.step),
                    run.split,
                    level,
                    f"{run.known_labels[level]:,}",
                    _number(run.metrics[f"{level}/loss"]),
                    _share(run.metrics[f"{level}/accuracy"], assessed.intervals["accuracy"]),
                    _value(run.metrics[f"{level}/macro_f1"], assessed.intervals["macro_f1"]),
                    _value(run.metrics[f"{level}/auroc"], assessed.intervals["auroc"]),
                    _number(assessed.scores["ece"]),
                    _number(calibrated["ece"] if calibrated else None),
                )
            )
    notes: dict[str, list[str]] = {}
    for run in runs:
        notes.setdefault(run.note, []).append(run.workdir)
        if left_out := left_out_note(run.left_out, "all named by --json FILE"):
            notes.setdefault(f"{left_out}.", []).append(run.workdir)
    said = [f"{', '.join(names)}: {note}" for note, names in notes.items() if note]
    return "\n".join([_columns(lines), "Ranges are 95 % intervals.", *said])


def _more(runs: Sequence[Evaluation]) -> str:
    many, few = runs[0].shots
    shots = f"head (>{many:,})", f"middle ({few:,}–{many:,})", f"tail (<{few:,})"
    names = "top-5", "weighted F1", "balanced accuracy", "average precision", "Brier"
    lines: list[tuple[str, ...]] = [("run", "level", *names, *shots)]
    for run in runs:
        for level, assessed in run.assessment.levels.items():
            scores = assessed.scores
            values = (scores[name] for name in ("weighted_f1", "balanced_accuracy", "average_precision", "brier"))
            numbers = percent(scores["top5"]), *map(_number, values)
            accuracies = (assessed.shots[name] for name in SHOTS)
            lines.append((run.workdir, level, *numbers, *map(percent, accuracies)))
    return _columns(lines) + "\nHead, middle and tail are accuracies, by the training images of the true class."


def _decodes(runs: Sequence[Evaluation]) -> str:
    lines = [("run", "decode", "path accuracy", "hierarchical F1", "mistake severity", "contradictions")]
    for run in runs:
        for how, assessed in run.assessment.decodes.items():
            scores = assessed.scores
            lines.append(
                (
                    run.workdir,
                    how,
                    _share(scores["path_accuracy"], assessed.intervals["path_accuracy"]),
                    _number(scores["hierarchical_f1"]),
                    _number(scores["mistake_severity"], digits=2),
                    percent(scores["contradiction_rate"]),
                )
            )
    return _columns(lines)


def _sizes(runs: Sequence[Evaluation]) -> str:
    lines = [("run", "parameters", "MFLOP/image", "images/s here")]
    for run in runs:
        speed = UNDEFINED if run.images_per_second is None else rate(run.images_per_second)
        lines.append((run.workdir, f"{run.parameters:,}", f"{run.flops_per_image / 1e6:,.1f}", speed))
    return _columns(lines)


def difference_table(runs: Sequence[Evaluation]) -> str:
    """Returns the tests of each further run against the first, and why a run was not tested."""
    first = runs[0].workdir
    lines = [(f"against {first}", "level", "difference in accuracy", "only first right", "only this right", "p")]
    for run in runs[1:]:
        for level, test in (run.comparison.tests or {}).items():
            counts = f"{test['only_a']:,}", f"{test['only_b']:,}"
            p = UNDEFINED if math.isnan(test["p_value"]) else f"{test['p_value']:.2g}"
            difference = _share(test["difference"], test["interval"], sign="+")
            lines.append((run.workdir, level, difference, *counts, p))
    said = [f"{run.workdir} {run.comparison.untested}: not tested." for run in runs if run.comparison.untested]
    for run in runs:
        count = run.comparison.tested_images
        if count is not None and not count == run.images == runs[0].images:
            said.append(f"{run.workdir}: tested on the {count:,} images that both have{_other_labels(run)}.")
    said += [
        f"{run.workdir}: the levels of both were made to agree ({run.comparison.decode}), as an export's always are."
        for run in runs
        if run.comparison.decode
    ]
    words = (
        "p is the p-value of McNemar's exact test; paths are decoded by the default decode, down to the finest level "
        "that both runs have."
    )
    table = [_columns(lines), words] if len(lines) > 1 else []
    return "\n".join([*table, *said])


def _other_labels(run: Evaluation) -> str:
    count = run.comparison.relabeled_images
    return f" with the same labels; {count:,} more have other labels in the first run" if count else ""


def seed_table(runs: Sequence[Evaluation]) -> str:
    """Returns mean and standard deviation of the scores over runs that differ only in the seed."""
    lines: list[tuple[str, ...]] = [("over seeds", "runs", "level", "loss", "accuracy", "macro-F1", "AUROC")]
    groups = [run.over_seeds for run in runs if run.over_seeds]
    for group in groups:
        seeds, members = ", ".join(map(str, group.seeds)), ", ".join(runs[i].workdir for i in group.runs)
        for level, scores in group.levels.items():
            accuracy = _spread(scores["accuracy"], "{:.2%} ± {:.2f}", 100)
            loss, *others = (_spread(scores[name], "{:.4f} ± {:.4f}") for name in ("loss", "macro_f1", "auroc"))
            lines.append((seeds, members, level, loss, accuracy, *others))
    said = "Mean and standard deviation over runs that differ only in the seed."
    if not all(group.same_images for group in groups):
        said += " The seed also divides the images, so that each run was measured on others."
    return f"{_columns(lines)}\n{said}"


def _share(value: float, interval: Sequence[float], sign: str = "") -> str:
    if math.isnan(value):
        return UNDEFINED
    low, high = interval
    share = f"{value:{sign}.2%}" if sign else percent(value)
    return f"{share} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"


def _value(value: float, interval: Sequence[float]) -> str:
    if math.isnan(value):
        return UNDEFINED
    low, high = interval
    return f"{value:.4f} ({low:.3f} to {high:.3f})"


def _spread(score: Mapping[str, float], form: str, scale: float = 1) -> str:
    """Formats a mean and a standard deviation, which is multiplied by `scale`."""
    return UNDEFINED if math.isnan(score["mean"]) else form.format(score["mean"], scale * score["std"])


def _number(value: float | None, digits: int = 4) -> str:
    return UNDEFINED if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _columns(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )

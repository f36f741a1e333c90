"""Formats the tables that the evaluate command prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fashion_jax.command_line import printable, rate

if TYPE_CHECKING:
    from fashion_jax.workdir.calibration_file import RunCalibration


Row = Mapping[str, Any]  # a run's results, as evaluate.py writes them


def result_tables(rows: Sequence[Row]) -> str:
    """Returns the tables of runs: scores by level and decode, cost, differences from the first run, and over seeds."""
    parts = [_levels(rows), _more(rows), _decodes(rows), _sizes(rows)]
    parts += [_tests(rows)] if len(rows) > 1 else []
    parts += [_seeds(rows)] if any("over_seeds" in row for row in rows) else []
    return printable("\n\n".join(parts))


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
        return "there is no calibration.json, so decodes use the raw probabilities."
    notes = []
    if calibration.step != step:
        notes.append(f"the temperatures were fitted to step {calibration.step}.")
    if otherwise:
        notes.append(f"the temperatures were fitted to predictions with a different {', '.join(otherwise)}.")
    if should_be_own and not on_own:
        notes.append(
            "these are not the validation images of the training: the data has changed since, and some of them may "
            "have been trained on."
        )
    if on_own and not notes:
        notes.append(
            "the temperatures were fitted on these images; the calibrated ECE is cross-fitted over five folds."
        )
    return " ".join(notes)


def _levels(rows: Sequence[Row]) -> str:
    lines = [
        ("run", "step", "split", "level", "images", "loss", "accuracy", "macro-F1", "AUROC", "ECE", "calibrated ECE")
    ]
    for row in rows:
        for level, scores in row["assessment"]["levels"].items():
            calibrated = scores["calibrated"]
            lines.append(
                (
                    *(row["workdir"], str(row["step"]), row["split"], level, f"{row[f'{level}/known_labels']:,}"),
                    f"{row[f'{level}/loss']:.4f}",
                    _share(row[f"{level}/accuracy"], scores["intervals"]["accuracy"]),
                    _value(row[f"{level}/macro_f1"], scores["intervals"]["macro_f1"]),
                    _value(row[f"{level}/auroc"], scores["intervals"]["auroc"]),
                    f"{scores['ece']:.4f}",
                    f"{calibrated['ece']:.4f}" if calibrated else "–",
                )
            )
    notes: dict[str, list[str]] = {}
    for row in rows:
        notes.setdefault(row["note"], []).append(row["workdir"])
    said = [f"{', '.join(runs)}: {note}" for note, runs in notes.items() if note]
    return "\n".join([_columns(lines), "Ranges are 95 % intervals.", *said])


def _more(rows: Sequence[Row]) -> str:
    many, few = rows[0]["shots"]
    shots = f"head (>{many:,})", f"middle ({few:,}–{many:,})", f"tail (<{few:,})"
    names = "top-5", "weighted F1", "balanced accuracy", "average precision", "Brier"
    lines = [("run", "level", *names, *shots)]
    for row in rows:
        for level, scores in row["assessment"]["levels"].items():
            values = (scores[name] for name in ("weighted_f1", "balanced_accuracy", "average_precision", "brier"))
            numbers = f"{scores['top5']:.2%}", *(f"{value:.4f}" for value in values)
            accuracies = (scores[name] for name in ("head", "middle", "tail"))
            lines.append((row["workdir"], level, *numbers, *("–" if x is None else f"{x:.2%}" for x in accuracies)))
    return _columns(lines) + "\nHead, middle and tail are accuracies, by the training images of the true class."


def _decodes(rows: Sequence[Row]) -> str:
    lines = [("run", "decode", "path accuracy", "hierarchical F1", "mistake severity", "contradictions")]
    for row in rows:
        for how, scores in row["assessment"]["decodes"].items():
            lines.append(
                (
                    row["workdir"],
                    how,
                    _share(scores["path_accuracy"], scores["intervals"]["path_accuracy"]),
                    f"{scores['hierarchical_f1']:.4f}",
                    f"{scores['mistake_severity']:.2f}",
                    f"{scores['contradiction_rate']:.2%}",
                )
            )
    return _columns(lines)


def _sizes(rows: Sequence[Row]) -> str:
    lines = [("run", "parameters", "MFLOP/image", "images/s here")]
    for row in rows:
        speed = "–" if row["images_per_second"] is None else rate(row["images_per_second"])
        lines.append((row["workdir"], f"{row['parameters']:,}", f"{row['flops_per_image'] / 1e6:,.1f}", speed))
    return _columns(lines)


def _tests(rows: Sequence[Row]) -> str:
    first = rows[0]["workdir"]
    lines = [(f"against {first}", "level", "difference in accuracy", "only first right", "only this right", "p")]
    for row in rows[1:]:
        for level, test in (row["tests"] or {}).items():
            counts = f"{test['only_a']:,}", f"{test['only_b']:,}"
            difference = _share(test["difference"], test["interval"], sign="+")
            lines.append((row["workdir"], level, difference, *counts, f"{test['p_value']:.2g}"))
    said = [f"{row['workdir']} {row['untested']}: not tested." for row in rows if "untested" in row]
    said += [
        f"{row['workdir']}: tested on the {row['tested_images']:,} images that both have."
        for row in rows
        if "tested_images" in row and not row["tested_images"] == row["images"] == rows[0]["images"]
    ]
    words = (
        "p is the p-value of McNemar's exact test; paths are decoded by the default decode, down to the finest level "
        "that both runs have."
    )
    return "\n".join([*([_columns(lines), words] if len(lines) > 1 else []), *said])


def _seeds(rows: Sequence[Row]) -> str:
    lines = [("over seeds", "runs", "level", "loss", "accuracy", "macro-F1", "AUROC")]
    for group in (row["over_seeds"] for row in rows if "over_seeds" in row):
        seeds, members = ", ".join(map(str, group["seeds"])), ", ".join(rows[i]["workdir"] for i in group["runs"])
        for level, scores in group["levels"].items():
            accuracy = f"{scores['accuracy']['mean']:.2%} ± {100 * scores['accuracy']['std']:.2f}"
            loss, *others = (f"{scores[x]['mean']:.4f} ± {scores[x]['std']:.4f}" for x in ("loss", "macro_f1", "auroc"))
            lines.append((seeds, members, level, loss, accuracy, *others))
    return _columns(lines) + "\nMean and standard deviation over runs that differ only in the seed."


def _share(value: float, interval: Sequence[float], sign: str = "") -> str:
    low, high = interval
    return f"{value:{sign}.2%} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"


def _value(value: float, interval: Sequence[float]) -> str:
    low, high = interval
    return f"{value:.4f} ({low:.3f} to {high:.3f})"


def _columns(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )

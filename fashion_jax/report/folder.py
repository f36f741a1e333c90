"""Writes the folder of a report: the page, and beside it the figures and tables that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fashion_jax.data.dataset import Split
from fashion_jax.report.comparison import write_comparison
from fashion_jax.report.contents import PageContents, read_contents
from fashion_jax.report.figures.curves import confusion_name, write_report
from fashion_jax.report.page import write_page
from fashion_jax.scoring.blocks import probabilities
from fashion_jax.scoring.evaluation import Evaluation
from fashion_jax.scoring.label_errors import COLUMNS, label_error_rows, rank_levels
from fashion_jax.serving.grad_cam import explainer, map_words
from fashion_jax.serving.table_files import write_csv
from fashion_jax.workdir.paths import page_path
from fashion_jax.workdir.trained import Trained


def write_folder(directory: Path, contents: PageContents) -> None:
    """Writes index.html, the curves, a confusion matrix and a table of classes for each level, and label_errors.csv.

    Args:
        directory: exists; files in it are replaced.
        contents: the run and the split to show.
    """
    labels, classes = contents.split.labels, contents.taxonomy.classes
    levels = {level: (list(classes[level]), x, labels[level]) for level, x in contents.log_probs.items()}
    write_report(directory, contents.lines, levels, contents.split_name)
    write_label_errors(directory / "label_errors.csv", contents)
    write_page(page_path(directory), contents)


def shown_images(directory: Path, contents: PageContents) -> dict[str, dict[str, np.ndarray]]:
    """Returns what a written folder shows as images: the augmentation of train, and the finest level's confusions.

    Returns:
        Train and validation -> name -> uint8 [height, width, 3].
    """
    from PIL import Image

    finest, augmented = contents.taxonomy.levels[-1], contents.augmented
    with Image.open(directory / confusion_name(finest)) as picture:
        matrix = np.asarray(picture.convert("RGB"))
    train = {"augmentation": augmented.grid()} if augmented else {}
    return {"train": train, "validation": {f"confusion_matrix/{finest}": matrix}}


def write_label_errors(path: Path, contents: PageContents) -> None:
    """Writes a row for each label of each level that is suspected to be wrong, the most suspicious first."""
    probs = {level: probabilities(log_probs) for level, log_probs in contents.calibrated.items()}
    ranked = rank_levels(probs, contents.split.labels, contents.taxonomy)
    rows = label_error_rows(contents.split.ids, ranked, contents.split.labels, contents.taxonomy)
    write_csv(path, COLUMNS, [row for row in rows if row[COLUMNS.index("suspected")]])


def evaluated_contents(
    trained: Trained,
    split: Split,
    log_probs: Mapping[str, np.ndarray],
    evaluation: Evaluation,
    **known: Any,
) -> PageContents:
    """Returns the contents of the page of an evaluated split, with heat maps of the images that it shows.

    Args:
        trained: the run; its config has the overrides of the command.
        split: the measured images.
        log_probs: level -> [images, classes].
        evaluation: the results on that split.
        known: temperatures, command and thresholds of PageContents.
    """
    return read_contents(
        trained.workdir,
        config=trained.config,
        taxonomy=trained.taxonomy,
        step=trained.step,
        split_name=evaluation.split,
        split=split,
        log_probs=log_probs,
        assessment=evaluation.assessment,
        explain=explainer(trained, split),
        explained_from=map_words(trained),
        cost={name: getattr(evaluation, name) for name in ("parameters", "flops_per_image", "images_per_second")},
        note=evaluation.note,
        **known,
    )


def write_pages(directory: Path, runs: Sequence[PageContents]) -> Path:
    """Writes the page of a run with its figures and tables, or the page that compares several; returns its path."""
    page = page_path(directory)
    if len(runs) == 1:
        write_folder(directory, runs[0])
    else:
        write_comparison(page, runs)
    return page

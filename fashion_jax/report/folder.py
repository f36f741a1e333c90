"""Writes the folder of a report: the page, and beside it the figures and tables that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fashion_jax.data.dataset import Split
from fashion_jax.report.class_table import CLASS_COLUMNS, class_rows
from fashion_jax.report.comparison import write_comparison
from fashion_jax.report.contents import PageContents, read_contents
from fashion_jax.report.figures.confusion import write_confusion
from fashion_jax.report.figures.curves import write_curves
from fashion_jax.report.file_names import class_file, confusion_file
from fashion_jax.report.page import write_page
from fashion_jax.scoring.evaluation import Evaluation
from fashion_jax.scoring.label_errors import COLUMNS, label_error_rows
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
    write_figures(directory, contents)
    for level in contents.taxonomy.levels:
        write_csv(directory / class_file(level), CLASS_COLUMNS, class_rows(contents, level))
    write_suspects(directory / "label_errors.csv", contents)
    write_page(page_path(directory), contents)


def shown_images(directory: Path, contents: PageContents) -> dict[str, dict[str, np.ndarray]]:
    """Returns what a written folder shows as images: the augmentation of train, and the finest level's confusions.

    Returns:
        Train and validation -> name -> uint8 [height, width, 3].
    """
    from PIL import Image

    finest, augmented = contents.taxonomy.levels[-1], contents.augmented
    with Image.open(directory / confusion_file(finest)) as picture:
        matrix = np.asarray(picture.convert("RGB"))
    train = {"augmentation": augmented.grid()} if augmented else {}
    return {"train": train, "validation": {f"confusion_matrix/{finest}": matrix}}


def write_figures(directory: Path, contents: PageContents) -> None:
    """Writes curves.png and, for each level, confusion_{level}.png."""
    write_curves(contents.lines, directory / "curves.png")
    for level, counts in contents.confusion_counts.items():
        title = f"{contents.split_name.capitalize()}, {level}"
        write_confusion(counts, contents.taxonomy.classes[level], title, directory / confusion_file(level))


def write_suspects(path: Path, contents: PageContents) -> None:
    """Writes a CSV with a row for each label of each level that is suspected to be wrong, the most suspicious first."""
    rows = label_error_rows(contents.split.ids, contents.label_errors, contents.split.labels, contents.taxonomy)
    write_csv(path, COLUMNS, (row for row in rows if row[COLUMNS.index("suspected")]))


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
        comparison=evaluation.comparison,
        over_seeds=evaluation.over_seeds,
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

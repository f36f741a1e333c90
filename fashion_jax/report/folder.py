"""The folder of a report: the page, and beside it the figures and tables that it names."""

from __future__ import annotations

from pathlib import Path

from fashion_jax.report.contents import PageContents
from fashion_jax.report.figures import write_report
from fashion_jax.report.page import write_page
from fashion_jax.report.tables import write_csv
from fashion_jax.scoring.blocks import probabilities
from fashion_jax.scoring.label_errors import COLUMNS, label_error_rows, rank_levels


def write_folder(directory: Path, contents: PageContents) -> None:
    """Writes index.html, the curves, a confusion matrix and a table of classes for each level, and label_errors.csv.

    Args:
        directory: exists; files in it are replaced.
        contents: of the page.
    """
    labels, classes = contents.split.labels, contents.taxonomy.classes
    levels = {level: (list(classes[level]), x, labels[level]) for level, x in contents.log_probs.items()}
    write_report(directory, contents.lines, levels, contents.split_name)
    write_label_errors(directory / "label_errors.csv", contents)
    write_page(directory / "index.html", contents)


def write_label_errors(path: Path, contents: PageContents) -> None:
    """Writes a row for each label of each level that is suspected to be wrong, the most suspicious first."""
    probs = {level: probabilities(log_probs) for level, log_probs in contents.calibrated.items()}
    ranked = rank_levels(probs, contents.split.labels, contents.taxonomy)
    rows = label_error_rows(contents.split.ids, ranked, contents.split.labels, contents.taxonomy)
    write_csv(path, COLUMNS, [row for row in rows if row[COLUMNS.index("suspected")]])

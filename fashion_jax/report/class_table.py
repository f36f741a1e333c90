"""Makes the table of a level's classes, which stands beside the page as CSV and can be saved from the page."""

from __future__ import annotations

import base64
import io

from fashion_jax.report import advice
from fashion_jax.report.contents import PageContents
from fashion_jax.serving.table_files import Cell, write_rows

CLASS_COLUMNS = (
    *("class", "f1", "auroc", "precision", "recall", "support"),
    *("training_images", "most_often_taken_for", "images_taken_for_it"),
)


def class_rows(contents: PageContents, level: str) -> list[list[Cell]]:
    """Returns a row of CLASS_COLUMNS for each class of a level; None or NaN where a value is not defined."""
    names, counts = contents.taxonomy.classes[level], contents.confusion_counts[level]
    trained = contents.train_counts(level).tolist()
    rows: list[list[Cell]] = []
    for k, scores in enumerate(contents.class_scores[level]):
        rival = advice.taken_for(counts, k)
        found = [None, 0] if rival is None else [names[rival[0]], rival[1]]
        numbers = [scores[column] for column in CLASS_COLUMNS[1:6]]
        rows.append([names[k], *numbers, trained[k], *found])
    return rows


def class_data_uri(contents: PageContents, level: str) -> str:
    """Returns the table of a level's classes as a data URI, for a link that saves it."""
    file = io.StringIO(newline="")
    write_rows(file, CLASS_COLUMNS, class_rows(contents, level))
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(file.getvalue().encode("utf-8")).decode("ascii")

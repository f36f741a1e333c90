"""The table of classes: equal to the metrics, with training images and the class that each is taken for."""

import csv
import dataclasses
import math

import numpy as np

from fashion_jax.report.class_table import CLASS_COLUMNS, class_rows
from fashion_jax.report.file_names import class_file
from fashion_jax.scoring import metrics
from fashion_jax.serving.table_files import write_csv
from tests.pages import make_contents


def test_the_table_equals_the_metrics(tmp_path):
    contents = make_contents(tmp_path, classes=5, copies=6)
    rows = [dict(zip(CLASS_COLUMNS, row, strict=True)) for row in class_rows(contents, "sub")]
    assert [row["class"] for row in rows] == list(contents.taxonomy.classes["sub"])
    labels, predicted = contents.split.labels["sub"], contents.log_probs["sub"].argmax(1)
    for k, (row, expected) in enumerate(zip(rows, metrics.per_class(contents.log_probs["sub"], labels), strict=True)):
        assert {name: row[name] for name in expected} == expected
        assert row["training_images"] == (contents.train.labels["sub"] == k).sum() == 3
        others = np.bincount(predicted[(labels == k) & (predicted != k)], minlength=5)
        assert row["images_taken_for_it"] == others.max()
        name = contents.taxonomy.classes["sub"][others.argmax()] if others.any() else None
        assert row["most_often_taken_for"] == name
    assert any(row["most_often_taken_for"] for row in rows) and class_file("a/b") != class_file("a_b")


def test_what_is_not_defined_is_empty(tmp_path):
    contents = make_contents(tmp_path, classes=3, right=True)
    labels = {level: np.full_like(x, -1) for level, x in contents.split.labels.items()}
    contents = dataclasses.replace(contents, split=dataclasses.replace(contents.split, labels=labels))
    row = class_rows(contents, "sub")[0]
    assert all(math.isnan(x) for x in row[1:5]) and row[5:] == [0, 3, None, 0]


def test_formulas_in_the_table_are_text(tmp_path):
    names = ["=1+1", "+a", "-a", "@a", "\ta", "a=b", 'quo"te,\nline', "\udcff"]
    write_csv(tmp_path / "x.csv", ("class", "f1"), [[name, math.nan] for name in names])
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    expected = ["'=1+1", "'+a", "'-a", "'@a", "'\ta", "a=b", 'quo"te,\nline', "\\udcff"]
    assert [row[0] for row in rows] == expected

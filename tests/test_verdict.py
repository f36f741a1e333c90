"""The verdict: how good each level is in plain words, the weakest classes with enough images, and what to do."""

import dataclasses

import numpy as np
import pytest

from fashion_jax.report.contents import class_names
from fashion_jax.report.sections.verdict import grade, verdict
from fashion_jax.scoring.assessment import assess
from fashion_jax.workdir.files import train_counts
from tests.pages import make_contents, page_of


def predicting(contents, sub):
    """The same run if it had predicted these classes of sub, with a probability of 0.9."""
    sub = np.asarray(sub)
    main = np.asarray(contents.taxonomy.parents["sub"])[sub]
    log_probs = {}
    for level, classes in (("main", main), ("sub", sub)):
        size = contents.taxonomy.num_classes(level)
        probs = np.full((len(sub), size), 0.1 / (size - 1))
        probs[np.arange(len(sub)), classes] = 0.9
        log_probs[level] = np.log(probs)
    counts = train_counts(contents.data, contents.taxonomy)
    assessment = assess(log_probs, contents.split.labels, contents.taxonomy, counts)
    return dataclasses.replace(contents, log_probs=log_probs, assessment=assessment, temperatures={})


def without_labels(contents, level):
    labels = {**contents.split.labels, level: np.full(len(contents.split), -1)}
    split = dataclasses.replace(contents.split, labels=labels)
    assessment = assess(contents.log_probs, labels, contents.taxonomy, train_counts(contents.data, contents.taxonomy))
    return dataclasses.replace(contents, split=split, assessment=assessment)


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ((0.98, 500, 4, 0.4, 0.96), ("very good", "98 of 100")),
        ((0.999, 500, 4, 0.4, 0.99), ("very good", "more than 99 of 100")),
        ((0.9, 500, 4, 0.4, 0.87), ("good", "90 of 100")),
        ((0.8, 500, 4, 0.4, 0.76), ("fair", "80 of 100")),
        ((0.5, 500, 4, 0.2, 0.45), ("weak", "50 of 100")),
        ((0.96, 500, 4, 0.95, 0.94), ("no use yet", "96 of 100")),
        ((1.0, 29, 4, 0.4, 0.9), ("not certain", "100 of 100")),
        ((1.0, 500, 1, 1.0, 1.0), ("–", "only one class")),
        ((float("nan"), 0, 4, float("nan"), float("nan")), ("–", "no image with a known label")),
    ],
)
def test_a_level_is_graded_in_plain_words(figures, expected):
    accuracy, images, classes, baseline, low = figures
    found = grade(accuracy, images, classes, (baseline, "Shirts"), low)
    assert found["grade"] == expected[0] and expected[1] in f"{found['right']} {found['remark']}"


def test_the_weakest_classes_are_those_with_enough_images(tmp_path):
    """Of 5 classes with 12 images each, class 1 loses 9, class 2 loses 6 and class 3 loses 3; class 0 gets all."""
    contents = make_contents(tmp_path, classes=5, copies=12)
    labels = contents.split.labels["sub"]
    sub = np.maximum(labels, 0)
    for k, lost in ((1, 9), (2, 6), (3, 3)):
        sub[np.flatnonzero(labels == k)[:lost]] = 0
    contents = predicting(contents, sub)
    found = verdict(contents)
    names = class_names(contents.taxonomy, "sub")
    assert [weak["name"] for weak in found["weakest"]] == [names[1], names[0], names[2]]
    first = found["weakest"][0]
    assert (first["found"], first["support"], first["answers"], first["called"]) == (3, 12, 3, 0)
    assert all(shot.label == first["name"] and not shot.right for shot in first["shots"]) and len(first["shots"]) == 4
    assert [what for what, _ in first["advice"]] == ["Add training images"]
    assert "3 training images" in first["advice"][0][1]
    assert found["too_few"] == [] and found["judged"] == 5
    page = page_of(tmp_path, contents)
    assert "The model finds 3 of its 12 images" in page.text


def test_too_few_images_are_said(tmp_path):
    contents = make_contents(tmp_path, classes=7, copies=9)
    found = verdict(contents)
    assert found["weakest"] == [] and len(found["too_few"]) == 5 and found["others"] == 2
    text = page_of(tmp_path, contents).text
    assert "No class has at least 10 images" in text and "7 classes have fewer than 10 images" in text


def test_a_run_without_errors_has_no_weak_class(tmp_path):
    contents = make_contents(tmp_path, classes=4, copies=12, right=True)
    assert verdict(contents)["weakest"] == []
    assert "None of the 4 classes" in page_of(tmp_path, contents).text


def test_a_level_without_labels_is_a_dash_that_is_explained_once(tmp_path):
    contents = without_labels(make_contents(tmp_path, classes=5, copies=12), "sub")
    assert verdict(contents)["level"] == "main"
    page = page_of(tmp_path, contents)
    assert page.text.count("stands where there is nothing to measure") == 1 and "nan" not in page.text
    nothing = without_labels(contents, "main")
    assert verdict(nothing)["level"] is None and "nan" not in page_of(tmp_path, nothing).text


def test_what_to_do_about_the_training_as_a_whole(tmp_path):
    """Validation accuracy is 1; 0.5 on training images means too little training, and 1 that nothing stands out."""
    contents = make_contents(tmp_path, classes=4, copies=12, right=True, **{"train/sub/accuracy": 0.5})
    assert "50" in verdict(contents)["training"][1] and "longer" in verdict(contents)["training"][0]
    line = {**contents.lines[-1], "train/sub/accuracy": 1.0}
    assert verdict(dataclasses.replace(contents, lines=[line]))["training"] is None
    contents = predicting(dataclasses.replace(contents, lines=[line]), np.zeros(len(contents.split), int))
    assert "by heart" in verdict(contents)["training"][1]

"""The verdict: how good each level is in plain words, the weakest classes with enough images, and what to do."""

import dataclasses
import math

import numpy as np
import pytest

from fashion_jax.report.contents import class_names
from fashion_jax.report.sections.calibration import answered_at
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
    assert [(example.label, example.right) for example in first["examples"]] == [(first["name"], False)] * 4
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


@pytest.mark.parametrize(
    ("train", "measured", "words"),
    [
        (0.5, 1.0, ""),  # augmented training images may be much harder
        (0.84, 0.86, ""),
        (0.84, 0.84, "Train longer"),
        (0.5, 0.5, "Train longer"),
        (0.95, 0.84, "More images, or stronger augmentation"),
        (0.95, 0.86, ""),
        (math.nan, 0.5, ""),
    ],
)
def test_what_to_do_about_the_training_as_a_whole(tmp_path, train, measured, words):
    contents = make_contents(tmp_path, classes=4, copies=50, **{"train/sub/accuracy": train})
    labels = contents.split.labels["sub"]
    wrong = np.flatnonzero(labels >= 0)[: round((1 - measured) * (labels >= 0).sum())]
    predicted = np.maximum(labels, 0)
    predicted[wrong] = (predicted[wrong] + 1) % 4
    contents = predicting(contents, predicted)
    assert contents.assessment.levels["sub"].scores["accuracy"] == pytest.approx(measured, abs=0.004)
    found = verdict(contents)["training"]
    assert found[0].startswith(words) if words else found is None
    assert verdict(dataclasses.replace(contents, split_name="train"))["training"] is None


def test_how_much_the_model_can_answer_by_itself(tmp_path):
    """The share is the largest at which the answers are right often enough, with the confidence that it takes."""
    curve = {
        "coverage": np.array([0.25, 0.5, 0.75, 1.0]),
        "accuracy": np.array([1.0, 0.9, 0.96, 0.9]),
        "threshold": np.array([0.99, 0.9, 0.801234, 0.4]),
    }
    assert answered_at(curve, 0.95) == {"accuracy": 0.95, "coverage": 0.75, "threshold": 0.8013}
    assert answered_at({**curve, "accuracy": np.full(4, 0.9)}, 0.95)["coverage"] is None
    contents = make_contents(tmp_path, classes=4, copies=50)
    labels = np.maximum(contents.split.labels["sub"], 0)
    for predicted, words in (
        (labels, "Use the answers as they are"),
        ((labels + 1) % 4, "Let people check the answers"),
    ):
        assert words in page_of(tmp_path, predicting(contents, predicted)).text
    half = predicting(contents, labels)
    wrong = np.arange(len(labels)) % 2 > 0
    for level, probs in half.log_probs.items():  # the other half is wrong, and the model is less sure of it
        size = probs.shape[1]
        probs[wrong] = np.log(np.full(size, 0.3 / (size - 1)))
        probs[wrong, (half.split.labels[level][wrong] + 1) % size] = np.log(0.7)
    text = page_of(tmp_path, half).text
    assert "Let the model answer where it is sure" in text and "--precision 0.95" in text and "unsure" in text
    assert "90.00" in text

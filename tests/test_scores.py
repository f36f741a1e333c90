"""Scores agree with scikit-learn, and with hand-worked trees."""

import math
import warnings
from functools import partial

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from fashion_jax.scoring.blocks import row_blocks
from fashion_jax.scoring.scores import (
    LEVEL_SCORES,
    level_scores,
    paths_known,
    predicted_scores,
    shot_scores,
    tree_scores,
    variability,
)
from tests.probabilities import examples
from tests.trees import SHOP


@pytest.mark.parametrize("classes", [3, 9])
def test_level_scores_are_scikit_learns(classes):
    log_probs, labels = examples(classes=classes)
    scores = level_scores(log_probs, labels)
    assert tuple(scores) == LEVEL_SCORES
    known = labels >= 0
    probs, labels = np.exp(log_probs[known]), labels[known]
    guess, every = probs.argmax(1), np.arange(classes)
    precision = [sklearn_metrics.average_precision_score(labels == k, probs[:, k]) for k in np.unique(labels)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about classes that are predicted but never true, and k >= classes
        expected = {
            "loss": sklearn_metrics.log_loss(labels, probs, labels=every),
            "accuracy": sklearn_metrics.accuracy_score(labels, guess),
            "top5": sklearn_metrics.top_k_accuracy_score(labels, probs, k=5, labels=every),
            "macro_f1": sklearn_metrics.f1_score(labels, guess, average="macro"),
            "weighted_f1": sklearn_metrics.f1_score(labels, guess, average="weighted"),
            "average_precision": np.mean(precision),
            "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(labels, guess),
            "brier": sklearn_metrics.brier_score_loss(labels, probs, labels=every, scale_by_half=False),
        }
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value, abs=1e-9), name


def test_scores_in_several_blocks_are_those_in_one(monkeypatch):
    log_probs, labels = examples()
    whole = level_scores(log_probs, labels)
    for module in ("blocks", "metrics", "scores"):
        monkeypatch.setattr(f"fashion_jax.scoring.{module}.row_blocks", partial(row_blocks, numbers=70))
    assert level_scores(log_probs, labels) == pytest.approx(whole, abs=1e-12)


def test_calibration_errors_by_hand():
    probs = np.array([[0.9, 0.1], [0.92, 0.08], [0.6, 0.4], [0.35, 0.65]])
    labels = np.array([0, 1, 0, 0])
    scores = level_scores(np.log(probs), labels)
    # bins of 1/15: 0.9 in the 14th with 0.92, 0.6 on the edge belongs to the 9th, 0.65 to the 10th
    assert scores["ece"] == pytest.approx((abs(1.82 - 1) + abs(0.6 - 1) + 0.65) / 4, abs=1e-9)
    assert scores["adaptive_ece"] == pytest.approx((0.1 + 0.92 + 0.4 + 0.65) / 4, abs=1e-9)  # an image a bin


def test_what_is_undefined_is_nan():
    log_probs, labels = examples()
    nothing = level_scores(log_probs, np.full_like(labels, -1))
    assert tuple(nothing) == LEVEL_SCORES and all(map(math.isnan, nothing.values()))
    one = level_scores(log_probs[:1], np.array([0]))
    assert math.isnan(one["auroc"]) and one["average_precision"] == 1


def test_predicted_scores_are_scikit_learns_and_an_unknown_prediction_is_wrong():
    log_probs, labels = examples()
    known, guess = labels >= 0, log_probs.argmax(1)
    scores = predicted_scores(guess, labels, 9)
    expected = sklearn_metrics.f1_score(labels[known], guess[known], average="macro")
    assert scores["macro_f1"] == pytest.approx(expected, abs=1e-12)
    assert scores["accuracy"] == np.mean(guess[known] == labels[known])
    assert predicted_scores(np.array([-1, 0, 1]), np.array([0, 0, 1]), 3) == {
        "accuracy": 2 / 3,
        "macro_f1": pytest.approx((2 / 3 + 1) / 2),
    }


# SHOP: main is Apparel, Gift, Shoes; sub is Apparel/Dress, Apparel/Top, Shoes/Boot.
LABELS = {"main": np.array([0, 0, 2, 1, 0, -1]), "sub": np.array([0, 1, 2, -1, -1, -1])}


def test_paths_are_known_down_to_a_leaf():
    assert paths_known(LABELS, SHOP).tolist() == [True, True, True, True, False, False]


def test_tree_scores_by_hand():
    # right; the sibling; another parent; Gift taken for a Top
    predicted = {"main": np.array([0, 0, 0, 0, 1, 1]), "sub": np.array([0, 0, 1, 1, -1, -1])}
    scores = tree_scores(predicted, LABELS, SHOP)
    assert scores["path_accuracy"] == 0.25
    assert scores["mistake_severity"] == pytest.approx((1 + 2 + 2) / 3)
    assert scores["hierarchical_f1"] == pytest.approx(2 * (2 + 1 + 0 + 0) / (8 + 7))  # common; predicted and true sets
    assert scores["consistency"] == 1


def test_tree_scores_of_contradictions():
    # main says Shoes and sub a Dress: the set is Shoes, Apparel, Dress
    labels = {"main": np.array([0]), "sub": np.array([0])}
    scores = tree_scores({"main": np.array([2]), "sub": np.array([0])}, labels, SHOP)
    assert scores["path_accuracy"] == 0 and scores["consistency"] == 0
    assert scores["hierarchical_f1"] == pytest.approx(2 * 2 / (3 + 2))
    assert math.isnan(scores["mistake_severity"])  # the finest class is right
    gift = tree_scores({"main": np.array([1]), "sub": np.array([-1])}, labels, SHOP)
    assert gift["mistake_severity"] == 2 and gift["hierarchical_f1"] == 0


def test_a_path_that_ends_at_a_class_without_children_is_right_whatever_the_finer_head_names():
    labels = {"main": np.array([1]), "sub": np.array([-1])}
    scores = tree_scores({"main": np.array([1]), "sub": np.array([0])}, labels, SHOP)
    assert scores["path_accuracy"] == scores["hierarchical_f1"] == scores["consistency"] == 1
    assert math.isnan(scores["mistake_severity"])


def test_shots_by_the_training_images():
    labels = np.array([0, 0, 1, 2, 2, -1])
    predicted = np.array([0, 1, 1, 0, 2, 0])
    counts = np.array([1001, 1000, 100, 5])
    assert shot_scores(predicted, labels, counts) == {"head": 0.5, "middle": pytest.approx(2 / 3), "tail": None}
    assert shot_scores(predicted, labels, counts, (5000, 101)) == {"head": None, "middle": 2 / 3, "tail": 0.5}


def test_variability_over_the_last_half():
    values = [(0.1, 0.9), (0.5, 0.4), (0.8, 0.5), (0.9, 0.7)]
    lines = [
        {f"{split}/sub/{name}": value for split, value in zip(("train", "validation"), pair, strict=True)
         for name in ("loss", "accuracy", "macro_f1")}
        for pair in values
    ]  # fmt: skip
    every = {"small_epochs": 0, "is_comparable": True}
    found = variability(lines, "sub", **every)
    assert found["std/accuracy"] == pytest.approx(np.std([0.5, 0.7]))
    assert found["gap/accuracy"] == pytest.approx(0.25)
    assert variability(lines, "sub", small_epochs=3, is_comparable=True)["gap/accuracy"] == pytest.approx(0.2)
    apart = variability(lines, "sub", small_epochs=0, is_comparable=False)
    assert math.isnan(apart["gap/accuracy"]) and apart["std/accuracy"] == found["std/accuracy"]
    lines[3]["validation/sub/loss"] = None
    assert variability(lines, "sub", **every)["std/loss"] == 0
    assert math.isnan(variability([], "sub", **every)["gap/loss"])

"""Temperatures, diagrams, and answers that stop where they are no longer sure."""

import math

import numpy as np
import pytest

from fashion_jax.scoring.calibration import (
    Abstention,
    answers,
    calibration_error,
    coverage_curve,
    path_probabilities,
    reliability,
    threshold_for_precision,
)
from fashion_jax.scoring.temperature import apply_temperature, cross_fitted, fit_temperature
from fashion_jax.scoring.tree_decoding import decode, predicted_classes
from tests.probabilities import overconfident
from tests.trees import SHOP


@pytest.mark.parametrize("temperature", [0.4, 3.0])
def test_temperature_halves_the_error_on_other_images(temperature):
    log_probs, labels = overconfident(4000, 0, temperature)
    other, other_labels = overconfident(20000, 1, temperature)
    fitted = fit_temperature(log_probs, labels)
    assert fitted == pytest.approx(temperature, rel=0.1)
    before = calibration_error(other, other_labels)
    after = calibration_error(apply_temperature(other, fitted), other_labels)
    assert before > 0.05 and after <= max(0.01, before / 2)
    assert calibration_error(cross_fitted(other, other_labels, fitted), other_labels) <= max(0.01, before / 2)


def test_the_temperature_of_log_probabilities_is_that_of_logits():
    logits = np.random.default_rng(0).normal(0, 5, (20, 4))
    scaled = np.exp(logits / 2.5)
    from_logits = scaled / scaled.sum(1, keepdims=True)
    assert np.exp(apply_temperature(apply_temperature(logits, 1.0), 2.5)) == pytest.approx(from_logits, abs=1e-12)


def test_the_fit_is_the_least_loss():
    log_probs, labels = overconfident(500, 2)
    labels[::7] = -1
    known = labels >= 0

    def loss(temperature):
        return -apply_temperature(log_probs, temperature)[known, labels[known]].mean()

    fitted = fit_temperature(log_probs, labels)
    assert loss(fitted) < min(loss(fitted * 1.01), loss(fitted / 1.01))


def test_what_has_no_temperature():
    log_probs, labels = overconfident(50, 0)
    assert fit_temperature(log_probs, np.full(50, -1)) == 1
    assert fit_temperature(np.full((50, 8), np.nan), labels) == 1
    with np.errstate(divide="ignore"):
        certain = np.log(np.eye(8)[labels])
    assert np.isfinite(fit_temperature(certain, labels))


def test_a_label_that_cannot_be_predicted_has_no_part_in_the_fit():
    log_probs, labels = overconfident(500, 0)
    impossible = np.concatenate([log_probs, np.full((500, 1), -np.inf)], 1)
    strange = np.where(np.arange(500) % 50 == 0, 8, labels)  # of a class without children, at a level without a head
    some = np.flatnonzero(strange < 8)
    assert fit_temperature(impossible, strange) == pytest.approx(fit_temperature(log_probs[some], labels[some]))
    assert fit_temperature(impossible, np.full(500, 8)) == 1


def test_an_image_is_cross_fitted_without_its_own_label():
    log_probs, labels = overconfident(40, 0)
    before = cross_fitted(log_probs, labels, 3.0)[np.arange(40)]
    changes = []
    for i in range(10):
        others = labels.copy()
        others[i] = (labels[i] + 1) % 8
        after = cross_fitted(log_probs, others, 3.0)[np.arange(40)]
        np.testing.assert_allclose(after[i], before[i], rtol=1e-6)
        changes.append(np.abs(after - before).max())
    assert min(changes) > 1e-3, "the images of other folds go by its label"


@pytest.mark.parametrize(("images", "surest"), [(20, 0.97), (300, 0.997)])
def test_images_that_are_all_right_do_not_make_every_answer_certain(images, surest):
    rng = np.random.default_rng(0)
    odds = rng.normal(4, 1, images).clip(1.6)  # the surest image of the split is as sure as its number allows
    log_probs = -np.logaddexp(0, np.stack([-odds, odds], 1))
    temperature = fit_temperature(log_probs, np.zeros(images, int))
    assert 0.9 < np.exp(apply_temperature(log_probs, temperature))[:, 0].mean() < surest
    assert np.exp(apply_temperature(np.log([[0.55, 0.45]]), temperature))[0, 0] < 0.6


def test_a_reliability_diagram_by_hand():
    probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.45, 0.55], [0.5, 0.5], [0.5, 0.5]])
    diagram = reliability(np.log(probs), np.array([0, 1, 1, 0, -1]), bins=4)
    assert diagram["edges"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert diagram["count"].tolist() == [0, 1, 1, 2]
    assert diagram["confidence"][1:] == pytest.approx([0.5, 0.55, 0.85]) and math.isnan(diagram["confidence"][0])
    assert diagram["accuracy"][1:] == pytest.approx([1, 1, 0.5])


def test_coverage_and_thresholds_by_hand():
    probs = np.array([0.9, 0.8, 0.8, 0.7, 0.6])
    log_probs = np.log(np.stack([probs, 1 - probs], axis=1))
    labels = np.array([0, 1, 0, 0, 1])
    curve = coverage_curve(log_probs, labels)
    assert curve["threshold"] == pytest.approx([0.9, 0.8, 0.7, 0.6])
    assert curve["coverage"] == pytest.approx([0.2, 0.6, 0.8, 1.0])
    assert curve["accuracy"] == pytest.approx([1, 2 / 3, 3 / 4, 3 / 5])
    for precision, threshold in ((1.0, 0.9), (0.7, 0.7), (0.5, 0.6)):
        assert threshold_for_precision(probs, labels == 0, precision) == threshold
    assert threshold_for_precision(probs, np.zeros(5, bool), 0.5) == math.inf
    assert threshold_for_precision(probs[:0], np.zeros(0, bool), 0.5) == math.inf


def test_the_wanted_precision_is_kept_on_other_images():
    log_probs, labels = overconfident(20000, 0)
    other, other_labels = overconfident(20000, 1)
    confidence, correct = np.exp(log_probs.max(1)), log_probs.argmax(1) == labels
    threshold = threshold_for_precision(confidence, correct, 0.9)
    answered = np.exp(other.max(1)) >= threshold
    assert np.mean(other[answered].argmax(1) == other_labels[answered]) == pytest.approx(0.9, abs=0.02)


def decoded_shop():
    """Returns images of SHOP (main: Apparel, Gift, Shoes; sub: Dress, Top, Boot): sure, half sure, unsure, a Gift."""
    main = [[0.9, 0.0, 0.1], [0.8, 0.1, 0.1], [0.4, 0.2, 0.4], [0.05, 0.9, 0.05]]
    sub = [[0.9, 0.05, 0.05], [0.5, 0.45, 0.05], [0.3, 0.3, 0.4], [0.2, 0.2, 0.6]]
    with np.errstate(divide="ignore"):
        decoded = decode({"main": np.log(main), "sub": np.log(sub)}, SHOP, "conditional")
    predicted = predicted_classes(decoded, SHOP, "conditional")
    return {level: path_probabilities(decoded[level], classes) for level, classes in predicted.items()}, predicted


def test_answers_stop_where_they_are_no_longer_sure():
    probabilities, predicted = decoded_shop()
    sure = Abstention.of_probability(SHOP, 0.6).sure(probabilities, predicted, SHOP)
    assert sure["main"].tolist() == [0, 0, -1, 1] and sure["sub"].tolist() == [0, -1, -1, -1]
    assert answers(sure, SHOP) == ["Apparel/Dress", "Apparel", "unsure", "Gift"]


def test_thresholds_for_a_wanted_precision():
    probabilities, predicted = decoded_shop()
    labels = {"main": np.array([0, 0, 0, 1]), "sub": np.array([0, 1, -1, -1])}
    abstention = Abstention.of_precision(probabilities, predicted, labels, 1.0, SHOP)
    assert abstention.thresholds["sub"] == pytest.approx(probabilities["sub"][0])
    assert abstention.thresholds["main"] == pytest.approx(probabilities["main"][1])
    sure = abstention.sure(probabilities, predicted, SHOP)
    assert answers(sure, SHOP) == ["Apparel/Dress", "Apparel", "unsure", "Gift"]
    sure = {"main": np.full(4, 0.9), "sub": np.array([0.9, 0.8, 0.7, 0.6])}  # if sub answers all, main is fitted on all
    right = {"main": np.zeros(4, int), "sub": np.array([0, 1, 0, 1])}
    assert Abstention.of_precision(sure, right, right, 0.95, SHOP).thresholds == {"sub": 0.6, "main": 0.9}
    labels = {"main": np.array([1, 1, 1, 1]), "sub": np.full(4, -1)}  # gifts have no sub: such an answer is wrong
    assert Abstention.of_precision(probabilities, predicted, labels, 0.5, SHOP).thresholds["sub"] == np.inf

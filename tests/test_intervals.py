"""Intervals contain their score, and the true score as often as they say; the paired test is worked by hand."""

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest, rankdata

from fashion_jax.scoring.intervals import INTERVALS, _placements, paired_test, score_intervals, share_interval
from fashion_jax.scoring.metrics import evaluate_level
from tests.probabilities import examples


def drawn(generator, labels, strengths):
    """Returns scores of images, whose own class's score is higher by its strength."""
    scores = generator.normal(size=(len(labels), len(strengths)))
    scores[np.arange(len(labels)), labels] += strengths[labels]
    return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)


def truth(supports, strengths):
    """Returns the scores of very many images of classes in these proportions."""
    labels = np.repeat(np.arange(len(supports)), supports * (30_000 // supports.sum()))
    return evaluate_level(drawn(np.random.default_rng(1), labels, strengths), labels)


SHOPS = {
    "50 images, 10 classes": (np.full(10, 5), np.full(10, 2.0)),
    "50 classes": (np.full(50, 5), np.linspace(0.5, 4, 50)),
    "rare classes": (np.array([200, 60, 20, 10, 5, 5, 5, 5]), np.linspace(4, 1, 8)),
    "nearly all right": (np.full(10, 5), np.full(10, 5.0)),
    "one rare class": (np.array([300, 300, 5]), np.array([5.0, 5.0, 2.0])),
    "by chance": (np.full(20, 5), np.zeros(20)),
}


@pytest.mark.parametrize("shop", SHOPS)
def test_the_true_score_is_inside_as_often_as_is_said(shop):
    supports, strengths = SHOPS[shop]
    true, generator, tries = truth(supports, strengths), np.random.default_rng(0), 150
    covered = dict.fromkeys(INTERVALS, 0)
    for _ in range(tries):
        labels = np.repeat(np.arange(len(supports)), supports)
        log_probs = drawn(generator, labels, strengths)
        for name, (low, high) in score_intervals(log_probs, labels).items():
            covered[name] += low <= true[name] <= high
    assert all(count >= 0.9 * tries for count in covered.values()), covered


@pytest.mark.parametrize(("images", "classes"), [(300, 9), (40, 30), (12, 9), (400, 3)])
def test_the_score_is_inside(images, classes):
    for seed in range(10):
        log_probs, labels = examples(images, classes, seed)
        value = evaluate_level(log_probs, labels)
        for name, (low, high) in score_intervals(log_probs, labels).items():
            assert 0 <= low < high <= 1 and low - 1e-12 <= value[name] <= high + 1e-12, name


def test_of_many_images_they_are_those_of_the_bootstrap():
    log_probs, labels = examples(1000)
    intervals = score_intervals(log_probs, labels)
    log_probs, labels = log_probs[labels >= 0], labels[labels >= 0]
    generator = np.random.default_rng(1)
    rows = [generator.integers(len(labels), size=len(labels)) for _ in range(50)]
    scores = [evaluate_level(log_probs[row], labels[row]) for row in rows]
    for name, (low, high) in intervals.items():
        spread = 2 * 1.96 * np.std([x[name] for x in scores])
        assert 0.75 * spread < high - low < 1.5 * spread, name


def test_few_mistakes_make_no_interval_of_the_auroc_that_tells_nothing():
    """The image that is added to each class is placed as mistaken ones are, and these score higher than chance."""
    supports = np.maximum(1000 * np.arange(1, 46) ** -1.1, 3).astype(int)
    strengths, generator, widths, values = np.full(45, 4.0), np.random.default_rng(0), [], []
    labels = np.repeat(np.arange(45), supports)
    for _ in range(30):
        log_probs = drawn(generator, labels, strengths)
        low, high = score_intervals(log_probs, labels)["auroc"]
        widths.append(high - low)
        values.append(evaluate_level(log_probs, labels)["auroc"])
    assert 0.9 < np.mean(widths) / (2 * 1.96 * np.std(values)) < 2.5


def test_intervals_of_too_little():
    log_probs, _ = examples(50)
    nothing = score_intervals(log_probs, np.full(50, -1))
    assert all(math.isnan(bound) for interval in nothing.values() for bound in interval)
    alone = score_intervals(log_probs, np.zeros(50, int))
    assert all(map(math.isnan, alone["auroc"])) and 0 <= alone["accuracy"][0] <= alone["accuracy"][1] <= 1
    assert all(0 <= low < high <= 1 for low, high in list(score_intervals(log_probs[:1], np.array([2])).values())[:2])
    only = score_intervals(np.zeros((5, 1)), np.zeros(5, int))  # a level of one class
    assert only["macro_f1"] == pytest.approx(only["accuracy"]) and math.isnan(only["auroc"][0])


def test_an_undefined_class_is_left_out_of_the_auroc():
    log_probs, labels = examples(200)
    log_probs[3, 2] = math.nan
    low, high = score_intervals(log_probs, labels)["auroc"]
    assert low < evaluate_level(log_probs, labels)["auroc"] < high
    log_probs[3] = math.nan
    assert all(map(math.isnan, score_intervals(log_probs, labels)["auroc"]))


@pytest.mark.parametrize("right", [True, False])
def test_all_right_and_all_wrong_are_not_sure(right):
    labels = np.arange(40) % 4
    target = labels if right else (labels + 1) % 4
    log_probs = np.log(np.where(target[:, None] == np.arange(4), 0.97, 0.01))
    intervals = score_intervals(log_probs, labels)
    exact = list(binomtest(40 * right, 40).proportion_ci(method="exact"))
    assert intervals["accuracy"] == pytest.approx(exact)
    assert intervals["macro_f1"][right] == float(right) and 0.02 < np.ptp(intervals["macro_f1"]) < 0.2
    if right:
        assert intervals["auroc"][1] == 1 and 0.8 < intervals["auroc"][0] < 0.99


def test_placements_are_ranks():
    generator = np.random.default_rng(0)
    scores, inside = generator.integers(0, 9, 60).astype(float), generator.random(60) < 0.3
    scores[:3] = -np.inf
    below, above = _placements(scores, inside)
    expected = (rankdata(scores)[inside] - rankdata(scores[inside])) / (~inside).sum()
    np.testing.assert_allclose(below, expected)
    np.testing.assert_allclose(above, 1 - (rankdata(scores)[~inside] - rankdata(scores[~inside])) / inside.sum())


def test_the_interval_of_a_share():
    correct = np.arange(1000) % 10 < 7
    assert share_interval(correct) == pytest.approx(binomtest(700, 1000).proportion_ci(method="exact"))
    assert all(map(math.isnan, share_interval(correct[:0])))


def test_a_paired_test_by_hand():
    a = np.array([True] * 50 + [True] * 8 + [False] * 2 + [False] * 40)
    b = np.array([True] * 50 + [False] * 8 + [True] * 2 + [False] * 40)
    test = paired_test(a, b)
    assert (test["only_a"], test["only_b"], test["difference"]) == (8, 2, pytest.approx(-0.06))
    assert test["p_value"] == pytest.approx(2 * binom.cdf(2, 10, 0.5))
    low, high = test["interval"]
    assert -0.14 <= low < -0.06 < high <= 0.03
    same = paired_test(a, a)
    assert (same["difference"], same["p_value"]) == (0, 1)
    assert same["interval"] == pytest.approx([-0.027, 0.027], abs=1e-3), "that 100 images agree is no proof that all do"


@pytest.mark.parametrize("shares", [(0.0, 0.01), (0.05, 0.1), (0.3, 0.1)])
def test_the_true_difference_is_inside_as_often_as_is_said(shares):
    tries, generator, covered = 300, np.random.default_rng(0), 0
    for counts in generator.multinomial(50, [*shares, 1 - sum(shares)], tries):
        a, b = (np.repeat(x, counts) for x in ([True, False, True], [False, True, True]))
        test = paired_test(a, b)
        low, high = test["interval"]
        assert -1 <= low <= test["difference"] <= high <= 1
        covered += low <= shares[1] - shares[0] <= high
    assert covered >= 0.92 * tries

"""Bootstrap intervals against known distributions and the plain bootstrap; the paired test by hand."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from fashion_jax.metrics import evaluate_level
from fashion_jax.scoring.intervals import bootstrap_intervals, mean_interval, paired_test
from tests.test_scores import examples


def test_intervals_are_those_of_the_plain_bootstrap():
    log_probs, labels = examples(300)
    intervals = bootstrap_intervals(log_probs, labels)
    log_probs, labels = log_probs[labels >= 0], labels[labels >= 0]
    generator = np.random.default_rng(1)
    drawn = [generator.integers(len(labels), size=len(labels)) for _ in range(120)]
    plain = [evaluate_level(log_probs[rows], labels[rows]) for rows in drawn]
    value = evaluate_level(log_probs, labels)
    for name, (low, high) in intervals.items():
        expected = np.quantile([scores[name] for scores in plain], [0.025, 0.975])
        assert low < value[name] < high
        assert np.abs(np.array([low, high]) - expected).max() < 0.25 * (expected[1] - expected[0]), name


def test_intervals_are_a_function_of_the_seed():
    log_probs, labels = examples(100)
    assert bootstrap_intervals(log_probs, labels, seed=3) == bootstrap_intervals(log_probs, labels, seed=3)
    assert bootstrap_intervals(log_probs, labels, seed=3) != bootstrap_intervals(log_probs, labels, seed=4)


def test_intervals_of_too_little():
    log_probs, _ = examples(50)
    nothing = bootstrap_intervals(log_probs, np.full(50, -1))
    assert all(math.isnan(bound) for interval in nothing.values() for bound in interval)
    alone = bootstrap_intervals(log_probs, np.zeros(50, int))
    assert all(map(math.isnan, alone["auroc"])) and 0 <= alone["accuracy"][0] <= alone["accuracy"][1] <= 1


def test_perfect_predictions_have_no_width():
    labels = np.arange(40) % 4
    log_probs = np.log(np.where(labels[:, None] == np.arange(4), 0.97, 0.01))
    expected = {"accuracy": [1, 1], "macro_f1": [1, 1], "auroc": [pytest.approx(1), pytest.approx(1)]}
    assert bootstrap_intervals(log_probs, labels) == expected


def test_the_interval_of_a_share():
    correct = np.arange(1000) % 10 < 7
    low, high = mean_interval(correct)
    assert [low, high] == pytest.approx(binom.ppf([0.025, 0.975], 1000, 0.7) / 1000, abs=0.004)
    assert all(map(math.isnan, mean_interval(correct[:0])))


def test_a_paired_test_by_hand():
    a = np.array([True] * 50 + [True] * 8 + [False] * 2 + [False] * 40)
    b = np.array([True] * 50 + [False] * 8 + [True] * 2 + [False] * 40)
    test = paired_test(a, b)
    assert (test["only_a"], test["only_b"], test["difference"]) == (8, 2, pytest.approx(-0.06))
    assert test["p_value"] == pytest.approx(2 * binom.cdf(2, 10, 0.5))
    low, high = test["interval"]
    assert -0.14 <= low < -0.06 < high <= 0.03
    assert paired_test(a, a) == {"only_a": 0, "only_b": 0, "difference": 0, "interval": [0, 0], "p_value": 1}

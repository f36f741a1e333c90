"""The whole assessment of predictions on a split."""

import json
import math
import time

import numpy as np
import pytest

from fashion_jax.scoring.assessment import assess, compare
from fashion_jax.scoring.scores import LEVEL_SCORES, SHOTS, TREE_SCORES
from fashion_jax.scoring.temperature import apply_temperatures
from fashion_jax.scoring.tree_decoding import DECODES, down_to_leaves
from fashion_jax.taxonomy import Taxonomy
from tests.trees import PLAIN, SHOP, random_labels, random_log_probs


def counts(taxonomy):
    return {level: np.full(taxonomy.num_classes(level), 500) for level in taxonomy.levels}


@pytest.mark.parametrize("taxonomy", [PLAIN, SHOP])
def test_it_has_everything_and_is_json(taxonomy):
    log_probs, labels = random_log_probs(taxonomy, 60, 0), random_labels(taxonomy, 60, 1)
    assessment = assess(log_probs, labels, taxonomy, counts(taxonomy), {"main": 2.0})
    json.dumps(assessment.to_json())
    for level, assessed in assessment.levels.items():
        assert set(assessed.to_json()) == {*LEVEL_SCORES, *SHOTS, "intervals", "temperature", "calibrated"}
        accuracy, shots = assessed.scores["accuracy"], assessed.shots
        assert shots["middle"] == accuracy and shots["head"] is shots["tail"] is None
        low, high = assessed.intervals["accuracy"]
        assert low < accuracy < high
        assert (assessed.calibrated is None) == (assessed.temperature is None) == (level == "sub")
    assert tuple(assessment.decodes) == DECODES
    for how, decode in assessment.decodes.items():
        assert set(TREE_SCORES) | {"contradiction_rate", "intervals", "levels"} == set(decode.to_json())
        assert (decode.scores["contradiction_rate"] == 0) == (how != "independent")
    independent = assessment.decodes["independent"].levels
    answers = down_to_leaves({level: x.argmax(1) for level, x in log_probs.items()}, taxonomy)
    for level, scores in independent.items():
        known = labels[level] != -1
        assert scores["accuracy"] == np.mean((answers[level] == labels[level])[known])
        if taxonomy is PLAIN:  # in which all classes have children
            assert scores["accuracy"] == assessment.levels[level].scores["accuracy"]


def test_calibrated_scores_are_those_of_the_temperatures():
    log_probs, labels = random_log_probs(PLAIN, 60, 0), random_labels(PLAIN, 60, 1)
    temperatures = {"main": 2.0, "sub": 0.5}
    assessment = assess(log_probs, labels, PLAIN, counts(PLAIN), temperatures)
    after = assess(apply_temperatures(log_probs, temperatures), labels, PLAIN, counts(PLAIN))
    for level in PLAIN.levels:
        for name, value in assessment.levels[level].calibrated.items():
            assert value == pytest.approx(after.levels[level].scores[name], abs=1e-12)
    assert assessment.decodes == after.decodes
    crossed = assess(log_probs, labels, PLAIN, counts(PLAIN), temperatures, cross_fit=True).levels["main"]
    assert crossed.calibrated != assessment.levels["main"].calibrated and crossed.temperature == 2.0


def test_labels_of_which_none_are_known():
    log_probs = random_log_probs(PLAIN, 5, 0)
    labels = {level: np.full(5, -1) for level in PLAIN.levels}
    assessment = assess(log_probs, labels, PLAIN, counts(PLAIN), {"main": 1.0, "sub": 1.0}, cross_fit=True)
    assert math.isnan(assessment.levels["sub"].scores["accuracy"])
    assert math.isnan(assessment.decodes["joint"].scores["path_accuracy"])


def test_two_runs_compared():
    labels = random_labels(PLAIN, 200, 1)
    first = random_log_probs(PLAIN, 200, 0)
    hits = {level: labels[level][:, None] == np.arange(PLAIN.num_classes(level)) for level in PLAIN.levels}
    second = {level: np.log(np.where(hits[level], 0.9, 0.05)) for level in PLAIN.levels}
    tests = compare(first, second, labels, PLAIN)
    assert tuple(tests) == ("main", "sub", "path")
    for test in tests.values():
        assert test["difference"] > 0.2 and test["interval"][0] > 0 and test["p_value"] < 1e-6


@pytest.mark.long
def test_ten_thousand_images_of_150_classes_take_seconds():
    tree = Taxonomy.from_paths(("main", "sub"), [(f"m{k % 12}", f"s{k}") for k in range(150)])
    log_probs, labels = random_log_probs(tree, 10_000, 0), random_labels(tree, 10_000, 1)
    began = time.process_time()
    assess(log_probs, labels, tree, counts(tree), {"main": 2.0, "sub": 2.0})
    assert time.process_time() - began < 40

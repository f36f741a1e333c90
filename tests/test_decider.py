"""Decisions: calibrated, over the tree, of least cost, and no finer than is sure."""

import numpy as np
import pytest

from fashion_jax.scoring.calibration import Abstention
from fashion_jax.scoring.decider import Decider
from fashion_jax.scoring.temperature import apply_temperatures
from fashion_jax.scoring.tree_decoding import contradiction_rate, decode, tree_costs
from tests.trees import PLAIN, SHOP, random_log_probs

TEMPERATURES = {"main": 2.0, "sub": 0.7}
LOG_PROBS = random_log_probs(SHOP, 300, 0)


@pytest.mark.parametrize("how", ["independent", "marginal", "conditional", "joint"])
def test_probabilities_are_those_of_the_calibrated_decode(how):
    decisions = Decider(SHOP, TEMPERATURES, how).decide(LOG_PROBS)
    decoded = decode(apply_temperatures(LOG_PROBS, TEMPERATURES), SHOP, how)
    for level, classes in decisions.classes.items():
        known = classes >= 0
        expected = np.exp(decoded[level][np.flatnonzero(known), classes[known]])
        assert decisions.probabilities[level][known] == pytest.approx(expected)
        assert not decisions.probabilities[level][~known].any()
    independent = {level: x.argmax(1) for level, x in LOG_PROBS.items()}
    assert decisions.contradicts.mean() == contradiction_rate(independent, SHOP) > 0.1
    assert (contradiction_rate(decisions.classes, SHOP) == 0) == (how != "independent")
    gifts = decisions.classes["main"] == 1
    assert gifts.any() and {decisions.answers[i] for i in np.flatnonzero(gifts)} == {"Gift"}
    abstains = Decider(SHOP, TEMPERATURES, how, abstention=Abstention({"main": 0, "sub": 0}))
    likeliest = [SHOP.classes["sub"][number] for number in decoded["sub"].argmax(1)]
    assert abstains.decide(LOG_PROBS).answers == (decisions.answers if how == "independent" else likeliest)


def test_costs_of_the_tree_prefer_the_parent_that_is_likelier():
    log_probs = {"main": np.log([[0.6, 0.4]]), "sub": np.log([[0.3, 0.3, 0.4]])}
    plain = Decider(PLAIN, {}, "marginal").decide(log_probs)
    careful = Decider(PLAIN, {}, "marginal", tree_costs(PLAIN)).decide(log_probs)
    assert plain.answers == ["Shoes/Boot"] and careful.answers == ["Apparel/Dress"]
    assert careful.probabilities["sub"] == pytest.approx([0.3])


def test_no_images_are_no_answers():
    empty = {level: x[:0] for level, x in LOG_PROBS.items()}
    decisions = Decider(SHOP, TEMPERATURES, "conditional", abstention=Abstention({"main": 1, "sub": 1})).decide(empty)
    assert decisions.answers == [] and len(decisions.contradicts) == 0


def test_the_wanted_precision_at_each_level():
    free = Decider(SHOP, TEMPERATURES, "conditional").decide(LOG_PROBS)
    surest = {level: p >= np.median(p) for level, p in free.probabilities.items()}  # most of these are right
    noise = np.random.default_rng(0).random(300)
    labels = {
        level: np.where(noise < np.where(surest[level], 0.9, 0.3), classes, (classes + 1) % 3)
        for level, classes in free.classes.items()
    }
    decider = Decider(SHOP, TEMPERATURES, "conditional").for_precision(LOG_PROBS, labels, 0.8)
    decisions = decider.decide(LOG_PROBS)
    for level in ("sub", "main"):
        answered = [i for i, answer in enumerate(decisions.answers) if answer in SHOP.classes[level]]
        classes = decisions.classes[level][answered]
        assert len(answered) > 20
        assert np.mean(classes == labels[level][answered]) >= 0.8, level


def test_answers_at_a_coarser_level_have_the_precision_among_those_that_are_left_to_it():
    """At sub, 90 of 100 images are sure; main is right for 6 of the 10 others, which makes 96 % of all."""
    main = np.tile([0.98, 0.02], (100, 1))
    sub = np.tile([0.96, 0.02, 0.02], (100, 1))
    main[90:], sub[90:] = [0.6, 0.4], [0.3, 0.3, 0.4]
    log_probs = {"main": np.log(main), "sub": np.log(sub)}
    labels = {"main": np.zeros(100, int), "sub": np.zeros(100, int)}
    labels["main"][96:], labels["sub"][96:] = 1, 2
    decider = Decider(PLAIN, {}, "conditional").for_precision(log_probs, labels, 0.95)
    assert np.isinf(decider.abstention.thresholds["main"])
    assert decider.decide(log_probs).answers == ["Apparel/Dress"] * 90 + ["unsure"] * 10


def test_the_answer_is_the_deepest_class_that_is_sure_though_it_is_not_on_the_likeliest_path():
    log_probs = {"main": np.log([[0.6, 0.4]]), "sub": np.log([[0.3, 0.3, 0.4]])}
    free = Decider(PLAIN, {}, "conditional")
    assert free.decide(log_probs).answers == ["Shoes/Boot"]
    sure = Decider(PLAIN, {}, "conditional", abstention=Abstention.of_probability(PLAIN, 0.5)).decide(log_probs)
    assert sure.answers == ["Apparel"]
    best = {level: PLAIN.classes[level][classes[0]] for level, classes in sure.classes.items()}
    assert best == {"main": "Apparel", "sub": "Apparel/Dress"}, "the best guess is below what is sure"
    assert sure.probabilities["main"] == pytest.approx([0.6]) and sure.probabilities["sub"] == pytest.approx([0.3])


def test_costs_choose_what_is_sure_and_the_best_guess_too():
    log_probs = {"main": np.log([[0.6, 0.4]]), "sub": np.log([[0.3, 0.3, 0.4]])}
    for bound, answer in ((0.25, "Apparel/Dress"), (0.5, "Apparel"), (0.9, "unsure")):
        abstention = Abstention.of_probability(PLAIN, bound)
        careful = Decider(PLAIN, {}, "conditional", tree_costs(PLAIN), abstention).decide(log_probs)
        assert careful.answers == [answer]
        best = {level: PLAIN.classes[level][classes[0]] for level, classes in careful.classes.items()}
        assert best == {"main": "Apparel", "sub": "Apparel/Dress"}, "though a boot is likelier"


def test_what_is_not_sure_keeps_the_best_guess():
    none_sure = Abstention.of_probability(SHOP, 1.0)
    for how in ("independent", "conditional"):
        free = Decider(SHOP, TEMPERATURES, how).decide(LOG_PROBS)
        unsure = Decider(SHOP, TEMPERATURES, how, abstention=none_sure).decide(LOG_PROBS)
        assert set(unsure.answers) == {"unsure"}
        for level in SHOP.levels:
            np.testing.assert_array_equal(unsure.classes[level], free.classes[level])
            np.testing.assert_array_equal(unsure.probabilities[level], free.probabilities[level])


def test_each_head_answers_for_itself_where_decisions_are_independent():
    log_probs = {"main": np.log([[0.4, 0.6]]), "sub": np.log([[0.8, 0.1, 0.1]])}
    sure = Decider(PLAIN, {}, "independent", abstention=Abstention.of_probability(PLAIN, 0.5)).decide(log_probs)
    assert sure.classes["main"].tolist() == [1] and sure.answers == ["Apparel/Dress"]

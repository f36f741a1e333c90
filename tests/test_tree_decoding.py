"""Decoding over hand-worked and random trees, mistakes' costs, and the user's table of them."""

import numpy as np
import pytest

from fashion_jax.data.sources.cost_table import read_costs
from fashion_jax.errors import UserError
from fashion_jax.scoring.tree_decoding import (
    DECODES,
    contradiction_rate,
    contradictions,
    decode,
    down_to_leaves,
    leaf_log_probs,
    leaf_names,
    leaf_paths,
    minimum_risk,
    predicted_classes,
    tree_costs,
    with_costs,
)
from fashion_jax.taxonomy import Taxonomy
from tests.trees import LEVELS, PLAIN, SHOP, random_log_probs, random_taxonomy

CONSISTENT = DECODES[1:]


def logs(**probs) -> dict[str, np.ndarray]:
    return {level: np.log(np.array([values], np.float64)) for level, values in probs.items()}


def probs_of(decoded) -> dict[str, list[float]]:
    return {level: np.exp(values[0]).tolist() for level, values in decoded.items()}


# Of PLAIN: main is Apparel, Shoes; sub is Apparel/Dress, Apparel/Top, Shoes/Boot.
HEADS = logs(main=[0.6, 0.4], sub=[0.3, 0.1, 0.6])


@pytest.mark.parametrize(
    ("how", "main", "sub"),
    [
        ("independent", [0.6, 0.4], [0.3, 0.1, 0.6]),
        ("marginal", [0.4, 0.6], [0.3, 0.1, 0.6]),
        ("conditional", [0.6, 0.4], [0.45, 0.15, 0.4]),
        ("joint", [0.5, 0.5], [0.18 / 0.48, 0.06 / 0.48, 0.24 / 0.48]),
    ],
)
def test_the_decodes_of_a_hand_worked_tree(how, main, sub):
    probs = probs_of(decode(HEADS, PLAIN, how))
    assert probs["main"] == pytest.approx(main, abs=1e-12) and probs["sub"] == pytest.approx(sub, abs=1e-12)


def test_independent_contradicts_itself_and_the_others_do_not():
    rates = {}
    for how in DECODES:
        predicted = predicted_classes(decode(HEADS, PLAIN, how), PLAIN, how)
        rates[how] = contradiction_rate(predicted, PLAIN)
    assert rates == {"independent": 1.0, "marginal": 0.0, "conditional": 0.0, "joint": 0.0}


def test_three_levels_are_chained_from_the_top():
    tree = Taxonomy.from_paths(LEVELS, [("a", "x", "1"), ("a", "x", "2"), ("a", "y", "1"), ("b", "x", "1")])
    heads = logs(main=[0.9, 0.1], sub=[0.1, 0.3, 0.6], type=[0.2, 0.2, 0.5, 0.1])
    probs = probs_of(decode(heads, tree, "conditional"))
    assert probs["sub"] == pytest.approx([0.225, 0.675, 0.1])
    assert probs["type"] == pytest.approx([0.1125, 0.1125, 0.675, 0.1])
    products = np.array([0.9 * 0.1 * 0.2, 0.9 * 0.1 * 0.2, 0.9 * 0.3 * 0.5, 0.1 * 0.6 * 0.1])
    assert probs_of(decode(heads, tree, "joint"))["type"] == pytest.approx(products / products.sum())


# Of SHOP: main is Apparel, Gift, Shoes; sub is as in PLAIN, and knows nothing of Gift.
@pytest.mark.parametrize(
    ("how", "main", "sub"),
    [
        ("marginal", [0.5 * 0.4, 0.5, 0.5 * 0.6], [0.15, 0.05, 0.3]),
        ("conditional", [0.3, 0.5, 0.2], [0.225, 0.075, 0.2]),
        ("joint", np.array([0.06, 0.25, 0.06]) / 0.37, np.array([0.045, 0.015, 0.06]) / 0.37),
    ],
)
def test_a_class_without_children_keeps_its_probability(how, main, sub):
    heads = logs(main=[0.3, 0.5, 0.2], sub=[0.3, 0.1, 0.6])
    decoded = decode(heads, SHOP, how)
    probs = probs_of(decoded)
    assert probs["main"] == pytest.approx(main) and probs["sub"] == pytest.approx(sub)
    predicted = predicted_classes(decoded, SHOP, how)
    assert (predicted["main"].tolist(), predicted["sub"].tolist()) == ([1], [-1])
    assert contradiction_rate(predicted, SHOP) == 0


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("how", CONSISTENT)
def test_no_contradictions_on_random_trees(how, gaps):
    for seed in range(60):
        tree = random_taxonomy(seed, gaps)
        decoded = decode(random_log_probs(tree, 50, seed, scale=1 + 40 * (seed % 3)), tree, how)
        leaves = np.exp(leaf_log_probs(decoded, tree))
        assert np.allclose(leaves.sum(1), 1, atol=1e-5)
        predicted = predicted_classes(decoded, tree, how)
        assert contradiction_rate(predicted, tree) == 0
        paths = {tuple(path) for path in leaf_paths(tree).tolist()}
        assert set(zip(*(predicted[level].tolist() for level in tree.levels), strict=True)) <= paths
        for above, level in zip(tree.levels, tree.levels[1:], strict=False):  # a parent is what its leaves are
            for k in range(tree.num_classes(above)):
                children = np.flatnonzero(np.array(tree.parents[level]) == k)
                if how != "marginal" and len(children) and len(tree.levels) == 2:
                    total = np.exp(decoded[level][:, children]).sum(1)
                    assert np.allclose(total, np.exp(decoded[above][:, k]), atol=1e-9)


@pytest.mark.parametrize("how", CONSISTENT)
def test_probabilities_of_zero_stay_numbers(how):
    with np.errstate(divide="ignore"):
        heads = logs(main=[1.0, 0.0], sub=[0.0, 0.0, 1.0])
    decoded = decode(heads, PLAIN, how)
    assert all(np.isfinite(values).all() for values in decoded.values())
    assert sum(probs_of(decoded)["sub"]) == pytest.approx(1)


def test_contradictions_are_found_by_image():
    predicted = {"main": np.array([0, 0, 1, 2, 1]), "sub": np.array([1, 2, -1, 2, 0])}
    assert contradictions(predicted, SHOP).tolist() == [False, True, False, False, False]


def test_below_a_class_without_children_a_head_says_nothing():
    predicted = {"main": np.array([1, 0]), "sub": np.array([2, 1]), "type": np.array([0, 0])}
    tree = Taxonomy.from_paths(LEVELS, [("Apparel", "Dress", ""), ("Apparel", "Top", "T-shirt"), ("Gift", "", "")])
    predicted["sub"][0] = 1
    said = {level: classes.tolist() for level, classes in down_to_leaves(predicted, tree).items()}
    assert said == {"main": [1, 0], "sub": [-1, 1], "type": [-1, 0]}
    predicted["sub"][1] = 0
    assert down_to_leaves(predicted, tree)["type"].tolist() == [-1, -1]


def test_an_unknown_decode_is_refused():
    with pytest.raises(ValueError, match="best"):
        decode(HEADS, PLAIN, "best")


def test_paths_and_heights_of_a_tree_with_a_gap():
    assert leaf_paths(SHOP).tolist() == [[0, 0], [0, 1], [2, 2], [1, -1]]
    assert tree_costs(SHOP).tolist() == [[0, 1, 2, 2], [1, 0, 2, 2], [2, 2, 0, 2], [2, 2, 2, 0]]


def test_least_risk_is_not_always_the_likeliest():
    probs = np.array([[0.3, 0.3, 0.4]])
    assert minimum_risk(probs, 1 - np.eye(3)).tolist() == [2]
    assert minimum_risk(probs, tree_costs(PLAIN)).tolist() == [0]  # 1.1 against 1.1 and 1.2
    assert minimum_risk(probs, np.array([[0, 1, 9], [9, 0, 1], [1, 1, 0]])).tolist() == [1]  # 3.1, 0.7, 3


def test_a_table_of_costs(tmp_path):
    path = tmp_path / "costs.csv"
    path.write_text("true,predicted,cost\nApparel/Top,Shoes/Boot,7.5\nGift,Apparel/Top,0\n")
    expected = tree_costs(SHOP)
    expected[1, 2], expected[3, 1] = 7.5, 0
    assert with_costs(SHOP, read_costs(path, leaf_names(SHOP))).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("true,predicted\nGift,Gift\n", "has no column 'cost'"),
        ("true,predicted,cost\nApparel,Gift,1\n", "Line 2 of .* has 'Apparel' in the column true"),
        ("true,predicted,cost\nGift,Hat,1\n", "has 'Hat' in the column predicted"),
        ("true,predicted,cost\nGift,Shoes/Boot,much\n", "the cost 'much'"),
        ("true,predicted,cost\nGift,Shoes/Boot,-1\n", "the cost '-1'"),
        ("true,predicted,cost\nGift,Shoes/Boot,nan\n", "the cost 'nan'"),
        ("true,predicted,cost\nGift,Shoes/Boot,1\nGift,Shoes/Boot,2\n", "Line 3 .* again"),
        ("true,predicted,cost\nGift,Shoes/Boot,1,5\n", "Line 2 of .* 4 cells"),
    ],
)
def test_a_wrong_table_of_costs_is_one_sentence(tmp_path, text, words):
    path = tmp_path / "costs.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        read_costs(path, leaf_names(SHOP))


def test_a_missing_table_of_costs(tmp_path):
    with pytest.raises(UserError, match=r"none\.csv"):
        read_costs(tmp_path / "none.csv", leaf_names(SHOP))

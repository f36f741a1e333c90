"""Findings on the data: names that look alike, levels in a wrong order, classes with too few images."""

import numpy as np
import pytest

from fashion_jax.data.findings import (
    count_notes,
    label_warnings,
    left_out_note,
    never_predicted,
    unlabelled_below,
    unpredictable,
)
from fashion_jax.letters import composed, look
from fashion_jax.taxonomy import Taxonomy
from tests.trees import SHOP

TWO = ["main", "sub"]


@pytest.mark.parametrize(
    "other",
    [
        *(
            "tops",
            "TOPS",
            "Tops\u200b",
            "\ufeffTops",
            "T\u00adops",
            "\uff34\uff4f\uff50\uff53",
            "\u0422\u043eps",
            "Tops\x00",
        ),
        "Tops  ",
        "\u00a0Tops",
    ],
)
def test_labels_that_look_alike_are_named_once(other):
    (warning,) = label_warnings(TWO, [("Apparel", "Tops"), ("Apparel", other), ("Apparel", "Dress"), ("Shoes", "tops")])
    assert "'Tops'" in warning and "under 'Apparel'" in warning and "Dress" not in warning and "Shoes" not in warning
    assert warning.isprintable() and "'Tops' and 'Tops'" not in warning


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Blue jeans", "Blue  jeans"),
        ("Blue jeans", "Blue\u00a0jeans"),
        ("Women\u2019s", "Women's"),
        ("T-shirt", "T\u2011shirt"),
        ("stra\u00dfe", "STRASSE"),
        ("\u0422\u043e\u043f", "\u0442\u043e\u043f"),
    ],
)
def test_blanks_dashes_and_other_alphabets(one, other):
    assert look(one) == look(other) and len(label_warnings(["kind"], [(one,), (other,)])) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("C", "C++"),
        ("0-3 months", "03 months"),
        ("Tops", "Top"),
        ("R\u00f6cke", "Rocke"),
        ("<5", ">5"),
        ("\u0915\u0941", "\u0915"),
        ("\u0448", "\u0449"),
        ("T-shirt", "Tshirt"),
    ],
)
def test_labels_that_differ_to_the_eye_are_left_alone(one, other):
    assert label_warnings(["kind"], [(one,), (other,)]) == []


def test_a_label_that_cannot_be_seen_is_named():
    (warning,) = label_warnings(["kind"], [("\u200b",), ("hat",)])
    assert "'\\u200b', which is blank" in warning


def test_a_class_without_children_at_a_level_without_a_head_is_never_predicted():
    (warning,) = unpredictable(SHOP, ["sub"])  # main has Apparel, Gift and Shoes, and gifts have no sub
    assert warning.startswith("'Gift' can never be predicted: ")
    assert warning.endswith("the level 'main' has no head, and 'Gift' has no class at 'sub'")
    assert unpredictable(SHOP, ["main", "sub"]) == []


def test_a_class_whose_images_mostly_have_no_label_below_it_is_told_of_its_only_class():
    """The one class below a class gets its whole probability, whatever else the images show."""
    parents = {"type": (0, 1, 1)}
    classes = {"sub": ("Shirts", "Shoes"), "type": ("Shirts/Polo", "Shoes/Boots", "Shoes/Pumps")}
    tree = Taxonomy(("sub", "type"), classes, parents)
    labels = {"sub": np.array([0] * 20 + [1] * 20), "type": np.array([0] * 2 + [-1] * 18 + [1, 2] + [-1] * 18)}
    (told,) = unlabelled_below(tree, labels)
    assert "at the level 'type'" in told and "Shoes" not in told
    assert "18 of 20 of 'Shirts', which all will be predicted as 'Shirts/Polo'" in told
    labels["type"][:18] = 0
    assert unlabelled_below(tree, labels) == []


def test_what_programs_write_into_empty_cells_is_named():
    (warning,) = label_warnings(TWO, [("Apparel", "nan"), ("Apparel", "Tops"), ("<NA>", "Nancy")])
    assert warning.startswith("'<NA>' and 'nan' are names of classes") and "Nancy" not in warning


def test_few_groups_are_named_and_the_rest_counted():
    (warning,) = label_warnings(["kind"], [(x,) for i in range(20) for x in (f"kind {i}", f"KIND {i}")])
    assert "and 15 more" in warning and warning.count("'") == 5 * 4


def tree(mains: int, subs: int) -> list[tuple[str, str]]:
    return [(f"main {m}", f"sub {m} {s}") for m in range(mains) for s in range(subs)]


def test_levels_from_fine_to_coarse_are_told():
    (warning,) = label_warnings(TWO, [(sub, main) for main, sub in tree(4, 5)])
    assert "'sub' has 4 different names, fewer than the 20 of 'main'" in warning and "data.levels" in warning
    three = [(main, f"{sub} {i}", sub) for main, sub in tree(3, 3) for i in range(4)]
    (warning,) = label_warnings(["a", "c", "b"], three)
    assert "'b' has 9 different names, fewer than the 36 of 'c'" in warning


def test_names_under_most_parents_are_told():
    paths = [(main, kind) for main in "abc" for kind in ("red", "green", "blue", "pink")]
    (warning,) = label_warnings(TWO, [*paths, ("d", "red")])
    assert "4 of its 4 names under several classes of 'main', such as 'red' under 4" in warning


@pytest.mark.parametrize(
    "paths",
    [
        tree(4, 5),
        [
            *tree(4, 3),
            *((f"main {m}", "Other") for m in range(4)),
            ("main 0", "Accessories"),
            ("main 1", "Accessories"),
        ],
        [("main", "sub")],
        [("a", ""), ("", "b"), ("b", "c"), ("a", "d")],
        tree(1, 9),
    ],
)
def test_levels_in_order_are_not_remarked_on(paths):
    assert label_warnings(TWO, paths) == []


TAXONOMY = Taxonomy.from_paths(TWO, [("Apparel", "Dress"), ("Apparel", "Tops"), ("Gifts", ""), ("Shoes", "Boots")])


def counted(main: list[int], sub: list[int]) -> dict[str, np.ndarray]:
    return {"main": np.array(main), "sub": np.array(sub)}


def test_classes_with_few_images_are_named_the_fewest_first():
    """The images of a class with children suffice; Gifts has none."""
    rare, absent = count_notes(TAXONOMY, counted([19, 8, 3], [9, 10, 3]), counted([3, 0, 0], [1, 2, 0]), 0)
    assert rare.startswith("3 classes have fewer than 10")
    assert rare.endswith("'Shoes/Boots' (3), 'Gifts' (8), 'Apparel/Dress' (9)")
    assert absent == "2 classes have no validation images: 'Gifts', 'Shoes/Boots'"
    (none,) = count_notes(TAXONOMY, counted([19, 10, 11], [10, 10, 11]), counted([3, 0, 0], [0, 0, 0]), 0)
    assert none.startswith("no validation image has a label at the level 'sub'") and "(–)" in none
    enough = counted([20, 10, 10], [10, 10, 10])
    assert count_notes(TAXONOMY, enough, enough, 0) == count_notes(TAXONOMY, enough, {}, 0) == []
    (left_over,) = count_notes(TAXONOMY, enough, enough, 1234)
    assert "1,234 training images" in left_over


def test_many_classes_are_counted_and_long_names_cut():
    taxonomy = Taxonomy.from_paths(["kind"], [(f"{i:02}" + "x" * 10_000,) for i in range(40)])
    (note,) = count_notes(taxonomy, {"kind": np.ones(40, int)}, {}, 0)
    assert note.startswith("40 classes") and note.endswith("and 35 more") and len(note) < 600


def test_a_level_of_one_class_is_noted():
    taxonomy = Taxonomy.from_paths(TWO, [("Apparel", "Dress"), ("Apparel", "Tops")])
    (note,) = count_notes(taxonomy, counted([20], [10, 10]), {}, 0)
    assert note == "the level 'main' has only the class 'Apparel', which is predicted for every image"


def test_classes_that_are_never_predicted():
    log_probs = {"main": np.log([[0.8, 0.1, 0.1], [0.7, 0.1, 0.2]]), "sub": np.log([[0.1, 0.2, 0.7]] * 2)}
    found = never_predicted(TAXONOMY, log_probs, counted([2, 0, 0], [1, 5, 0]))
    assert (
        found
        == "3 classes are never predicted: 'Apparel/Tops' (5 images), 'Apparel/Dress' (1 images), 'Gifts' (0 images)"
    )
    assert never_predicted(TAXONOMY, {k: np.eye(3) for k in TWO}, counted([1] * 3, [1] * 3)) == ""


def test_what_is_left_out_is_counted_by_reason():
    assert left_out_note({}) == left_out_note({"empty": []}) == ""
    note = left_out_note({"the file is empty": ["7", "8"], "in no split": ["1"]})
    assert "2 because of “the file is empty”, such as 7; 1 because of “in no split”" in note


def test_composed_is_one_form():
    assert composed("o\u0308") == composed("\u00f6") == "\u00f6" and composed("abc") == "abc"

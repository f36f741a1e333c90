"""The tree of classes."""

import json

import numpy as np
import pytest

from fashion_jax.errors import UserError
from fashion_jax.taxonomy import Taxonomy, class_name
from tests.trees import MAIN_ALONE, PLAIN, SHOP

LEVELS = ("main", "sub", "type")
PATHS = [
    ("Footwear", "Other", "Boot"),
    ("Apparel", "Top", "Shirt"),
    ("Apparel", "Other", "Shirt"),
    ("Apparel", "Top", ""),
    ("Toys", "", ""),
    ("", "Top", "Shirt"),
]


@pytest.fixture
def taxonomy() -> Taxonomy:
    return Taxonomy.from_paths(LEVELS, PATHS)


def test_classes_are_paths_in_order_each_below_its_parent(taxonomy):
    assert taxonomy.classes == {
        "main": ("Apparel", "Footwear", "Toys"),
        "sub": ("Apparel/Other", "Apparel/Top", "Footwear/Other"),
        "type": ("Apparel/Other/Shirt", "Apparel/Top/Shirt", "Footwear/Other/Boot"),
    }
    assert taxonomy.parents == {"main": (), "sub": (0, 0, 1), "type": (0, 1, 2)}


def test_classes_are_the_same_however_their_letters_are_composed():
    decomposed, composed = (
        Taxonomy(("main",), {"main": names}, {"main": ()})
        for names in (("Shoes", "Schu\u0308rzen"), ("Sch\u00fcrzen", "Hats"))
    )
    assert decomposed.common_classes(composed, "main") == ([1], [0])
    assert composed.common_classes(decomposed, "main") == ([0], [1])


def test_the_order_of_the_rows_does_not_matter(taxonomy):
    assert Taxonomy.from_paths(LEVELS, reversed(PATHS * 2)) == taxonomy


def test_labels_are_unknown_from_the_first_gap_or_stranger_on(taxonomy):
    strangers = [("Apparel", "Boot", "Shirt"), ("Pets", "Top", "Shirt")]
    labels = taxonomy.label_ids(PATHS + strangers)
    assert labels["main"].tolist() == [1, 0, 0, 0, 2, -1, 0, -1]
    assert labels["sub"].tolist() == [2, 1, 0, 1, -1, -1, -1, -1]
    assert labels["type"].tolist() == [2, 1, 0, -1, -1, -1, -1, -1]
    assert all(ids.dtype == np.int32 for ids in labels.values())


def test_ancestors_are_found_over_several_levels(taxonomy):
    assert taxonomy.ancestors("main", of="type").tolist() == [0, 0, 1]
    assert taxonomy.ancestors("sub", of="type").tolist() == [0, 1, 2]
    assert taxonomy.ancestors("sub", of="sub").tolist() == [0, 1, 2]


def test_labels_with_slashes_stay_apart():
    assert class_name(("Bags/Cases", "Small")) == r"Bags\/Cases/Small"
    taxonomy = Taxonomy.from_paths(("a", "b"), [("x/y", "z"), ("x", "y/z")])
    assert len(taxonomy.classes["b"]) == 2


def test_json_round_trip(taxonomy):
    assert Taxonomy.from_json(taxonomy.to_json(), "taxonomy.json") == taxonomy


@pytest.mark.parametrize(
    "change",
    [
        {"levels": []},
        {"levels": ["main", "sub", "type", "more"]},
        {"classes": {}},
        {"classes": 3},
        {"parents": {"main": [], "sub": [0, 0], "type": [0, 1, 2]}},
        {"parents": {"main": [], "sub": [0, 0, 3], "type": [0, 1, 2]}},
        {"parents": {"main": [], "sub": [0, 0, -1], "type": [0, 1, 2]}},
        {"parents": {"main": [], "sub": [0, 1, 1], "type": [0, 1, 2]}},
        {"parents": {"main": [0, 0, 0], "sub": [0, 0, 1], "type": [0, 1, 2]}},
        {"classes": {"main": [], "sub": [], "type": []}, "parents": {"main": [], "sub": [], "type": []}},
        {
            "classes": {"main": ["A", "A"], "sub": ["A/b"], "type": ["A/b/c"]},
            "parents": {"main": [], "sub": [0], "type": [0]},
        },
    ],
)
def test_what_is_no_tree_is_refused(taxonomy, change):
    with pytest.raises(UserError, match=r"mine\.json is not a taxonomy"):
        Taxonomy.from_json(json.dumps(json.loads(taxonomy.to_json()) | change), "mine.json")


@pytest.mark.parametrize("text", ["", "[]", "null", "3", '"main"'])
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(UserError, match="is not a taxonomy"):
        Taxonomy.from_json(text, "mine.json")


def test_common_levels_are_the_coarsest_with_the_same_classes():
    paths = [("Apparel", "Dress", "Red"), ("Apparel", "Top", "Red"), ("Shoes", "Boot", "Red")]
    deep = Taxonomy.from_paths(LEVELS, paths)
    assert deep.common(PLAIN) == PLAIN.common(deep) == PLAIN
    assert deep.common(MAIN_ALONE) == MAIN_ALONE and PLAIN.common(PLAIN) == PLAIN
    assert PLAIN.common(Taxonomy.from_paths(LEVELS[:2], [path[:2] for path in paths[1:]])) == MAIN_ALONE
    assert PLAIN.common(SHOP) is None and PLAIN.common(Taxonomy.from_paths(("sub",), [("Dress",)])) is None

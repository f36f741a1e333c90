"""Labels that cannot be right: of one product or file in two classes, missing, or one of a kind."""

import dataclasses

import numpy as np
import pytest

from fashion_jax.data.dataset import load_dataset
from fashion_jax.data.label_checks import (
    check_classes_repeat,
    divided_ids,
    empty_labels,
    file_conflicts,
    id_conflicts,
    name_conflicts,
    unknown_labels,
)
from fashion_jax.data.sources.table import LabelPaths, Table
from fashion_jax.data.strings import Files, Strings
from fashion_jax.errors import UserError
from fashion_jax.taxonomy import Taxonomy
from tests.shop import products, shop_config, write_shop

LEVELS = {"main": "category", "sub": "type"}


def make_table(paths, ids=None, unit="line", rows=None) -> Table:
    ids = Strings(ids or [f"id {i}" for i in range(len(paths))])
    rows = np.arange(2, len(paths) + 2) if rows is None else np.array(rows)
    return Table(ids, Files("", ids), LabelPaths.of(paths), rows, {}, unit)


def test_ids_of_which_two_splits_have_images_are_told():
    paths = [("a", "b")] * 6
    assigned = {"train": np.array([0, 1, 4]), "validation": np.array([2, 5])}
    (warning,) = divided_ids(make_table(paths, ["1", "1", "1", "2", "", ""]), assigned)
    assert warning.startswith("1 id stands in two splits, such as '1': set data.group_column to the column of the ids")
    (warning,) = divided_ids(make_table(paths, ["1", "3", "1", "2", "2", "3"]), assigned)
    assert warning.startswith("2 ids stand in two splits, such as '1'")
    assert divided_ids(make_table(paths), assigned) == divided_ids(make_table(paths, ["1"] * 6), {}) == []


def test_an_id_with_two_labels_is_named_with_its_lines():
    paths = [("a", "b"), ("a", "c"), ("a", "b"), ("a", ""), ("d", "")]
    (warning,) = id_conflicts(make_table(paths, ["1", "1", "2", "2", "3"]))
    assert warning == "1 id has two labels, such as '1': 'a/b' (line 2) and 'a/c' (line 3)"
    (warning,) = id_conflicts(make_table(paths, ["1", "1", "2", "2", "2"]))
    assert warning.startswith("2 ids have two labels, such as '1'")
    assert id_conflicts(make_table(paths)) == id_conflicts(make_table(paths, [""] * 5)) == []
    assert id_conflicts(make_table(paths, ["1"] * 5, unit="")) == []


def test_equal_files_with_two_labels_are_named():
    paths = [("a", "b"), ("a", "c"), ("a", "b"), ("a", "b")]
    (warning,) = file_conflicts(make_table(paths), np.array([7, 7, 8, 8], np.uint64))
    named = "'a/b' as id 0 (line 2) and 'a/c' as id 1 (line 3)"
    assert warning == f"1 image occurs as identical files with two labels: {named}"
    (warning,) = file_conflicts(make_table([*paths[:2], *paths[:2]]), np.array([7, 7, 8, 8], np.uint64))
    assert warning == f"2 images occur as identical files with two labels, such as {named}"
    assert file_conflicts(make_table(paths), np.array([7, 9, 7, 7], np.uint64)) == []


def test_a_file_that_two_products_name_with_two_labels_is_named():
    table = make_table([("a", "b"), ("a", "c"), ("a", "b"), ("a", "d")], ["1", "2", "3", "3"])
    table = dataclasses.replace(table, files=Files("", Strings(["x.jpg", "x.jpg", "y.jpg", "y.jpg"])))
    (warning,) = name_conflicts(table)  # the id 3 has its own warning
    assert warning == "1 file has two labels, such as 'x.jpg': 'a/b' (line 2) and 'a/c' (line 3)"


def test_labels_that_are_no_class_of_the_run_are_counted_by_split():
    table = make_table([("a", "b"), ("a", ""), ("a", "c"), ("x", "c"), ("x", "")])
    taxonomy = Taxonomy.from_paths(["main", "sub"], [("a", "b")])
    assigned = {"train": np.array([0, 1, 2]), "validation": np.array([0, 3, 4])}
    first, second = unknown_labels(table, assigned, taxonomy, is_trained=True)
    assert first.startswith("2 validation images have labels that are no class of the run, such as 'x'")
    assert first.endswith("at the level 'main' they are not scored")
    assert second.startswith("1 train image has a label that is no class of the run, such as 'a/c'")
    assert second.endswith("at the level 'sub' it is trained without it")


def test_rows_without_a_label_are_named_by_their_line_and_column():
    table = make_table([("a", "b"), ("a", ""), ("a", ""), ("", "c")], rows=[2, 3, 3, 9])
    assert empty_labels(table, LEVELS) == [
        "1 row has no 'category' (line 9), and so no label at the level 'main'; 1 of them has a label at a finer "
        "level, which does not count",
        "1 row has no 'type' (line 3), and so no label at the level 'sub'",
    ]
    (warning,) = empty_labels(make_table([("a", "")] * 1000, unit="row"), LEVELS)
    assert warning.startswith("1,000 rows have no 'type' (such as row 2)")
    assert empty_labels(make_table([("a", "")], unit=""), LEVELS) == []


def test_classes_of_one_product_each_are_refused():
    paths = [("a", str(i)) for i in range(30)]
    with pytest.raises(UserError, match=r"Each of the 30 classes of the level 'sub' has one .* instead of 'type'"):
        check_classes_repeat(make_table(paths), LEVELS)
    with pytest.raises(UserError, match="put the images of a class into one folder"):
        check_classes_repeat(make_table(paths, unit=""), {"main": "", "sub": ""})
    with pytest.raises(UserError, match="Each of the 15 classes"):  # a product of two images
        check_classes_repeat(make_table([paths[i // 2] for i in range(30)], rows=[i // 2 for i in range(30)]), LEVELS)
    (warning,) = check_classes_repeat(make_table([*paths, paths[0]]), LEVELS)
    assert warning.startswith("29 of 30 classes of the level 'sub' have one image")
    assert check_classes_repeat(make_table([*paths, *paths[:9]]), LEVELS) == []
    assert check_classes_repeat(make_table([("a", "b"), ("a", "")]), LEVELS) == []


def test_a_dataset_reports_what_its_labels_contradict(tmp_path):
    rows = products(60)
    write_shop(tmp_path, [*rows, ("4", "Toys", "Dolls"), ("60", "Footwear", "")])
    (tmp_path / "images" / "7.jpg").write_bytes((tmp_path / "images" / "6.jpg").read_bytes())
    said = " ".join(load_dataset(shop_config(tmp_path)).warnings)
    assert "1 id has two labels, such as '4': 'Apparel/Dress' (line 6) and 'Toys/Dolls' (line 62)" in said
    assert "'Apparel/Topwear' as 6 (line 8) and 'Apparel/Dress' as 7 (line 9)" in said
    assert "1 row has no 'subCategory' (line 63)" in said

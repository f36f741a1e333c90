"""Each row belongs to one split."""

from collections import Counter

import numpy as np
import pytest

from fashion_jax.data.fields import data_fields
from fashion_jax.data.sources.table import FOLDERS, LabelPaths, Table
from fashion_jax.data.splits import assign_splits
from fashion_jax.data.strings import Files, Strings
from fashion_jax.errors import UserError
from tests.shop import shop_config


def make_table(paths, **columns) -> Table:
    ids = [f"id {i}" for i in range(len(paths))]
    files = Files("", Strings(f"{i}.jpg" for i in ids))
    texts = {name: Strings(values) for name, values in columns.items()}
    return Table(Strings(ids), files, LabelPaths.of(paths), np.arange(len(paths)), texts)


def uneven_paths(seed: int) -> list[tuple[str, ...]]:
    """Returns about 2,000 rows of 60 classes, some of which have 1 or 2 rows, in no order."""
    generator = np.random.default_rng(seed)
    sizes = [1, 1, 1, 2, 2, 3, *generator.integers(1, 80, 54)]
    paths = [(f"main {c % 5}", f"sub {c}") for c, size in enumerate(sizes) for _ in range(size)]
    return [paths[i] for i in generator.permutation(len(paths))]


def assign(table, folder=None, splits=None, seed=0, group_column="", good=None, **data):
    splits = splits or {"train": 0.8, "validation": 0.2}
    config = shop_config(folder or "", splits=splits, group_column=group_column, **data)
    config.seed = seed
    assigned, left_out = assign_splits(
        data_fields(config), table, folder, np.ones(len(table), bool) if good is None else good
    )
    return {split: images.tolist() for split, images in assigned.items()}, left_out


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("splits", [{"train": 0.8, "validation": 0.2}, {"validation": 0.2, "test": 0.1, "train": 0.7}])
def test_fractions_hold_for_the_whole_and_for_every_class(splits, seed):
    table = make_table(uneven_paths(seed))
    rows, left_out = assign(table, splits=splits, seed=seed)
    count = len(table.ids)
    assert left_out == {}
    assert sorted(row for chosen in rows.values() for row in chosen) == list(range(count))
    assert all(chosen == sorted(chosen) for chosen in rows.values())
    per_class = {split: Counter(table.paths[row] for row in chosen) for split, chosen in rows.items()}
    for split, fraction in splits.items():
        assert abs(len(rows[split]) - fraction * count) <= 0.01 * count
        for path, total in Counter(table.paths).items():
            assert abs(per_class[split][path] - fraction * total) <= 2
    assert set(per_class["train"]) == set(table.paths)


@pytest.mark.parametrize("fields", [{}, {"folds": 3, "fold": 0}, {"folds": 3, "fold": 2}])
def test_training_keeps_every_class_that_has_an_image_which_can_be_used(fields):
    """If all images dealt to training are bad, the whole class goes there; nothing else moves."""
    paths = uneven_paths(0)
    before, _ = assign(make_table(paths), **fields)
    good = np.ones(len(paths), bool)
    small = {path for path, count in Counter(paths).items() if count in (2, 3)}
    good[[row for row in before["train"] if paths[row] in small]] = False
    after, _ = assign(make_table(paths), good=good, **fields)
    moved = [row for row in before["validation"] if paths[row] in small]
    assert moved and after["train"] == sorted([*(row for row in before["train"] if good[row]), *moved])
    assert after["validation"] == [row for row in before["validation"] if row not in moved]


def test_a_split_without_an_image_that_can_be_used_is_an_error():
    table = make_table([("a", "b")] * 4, fold=["train", "train", "validation", "validation"])
    with pytest.raises(UserError, match=r"The split 'validation' has no image that can be used: check data\.path"):
        assign(table, splits="fold", good=np.array([True, True, False, False]))


@pytest.mark.parametrize("sizes", [[1] * 10 + [500], [2] * 50, [1, 2] * 30])
def test_training_gets_every_class_however_small(sizes):
    paths = [("main", f"sub {c}") for c, size in enumerate(sizes) for _ in range(size)]
    rows, _ = assign(make_table(paths))
    assert {paths[row] for row in rows["train"]} == set(paths)
    assert abs(len(rows["validation"]) - 0.2 * len(paths)) <= 0.01 * len(paths)


def test_a_class_of_one_image_cannot_be_split():
    with pytest.raises(UserError, match="The split 'validation' has no images"):
        assign(make_table([("main", "sub")]))


def test_fractions_below_one_leave_the_rest_out_and_count_it():
    table = make_table(uneven_paths(0))
    rows, left_out = assign(table, splits={"train": 0.5, "validation": 0.1})
    count = len(table.ids)
    assert list(left_out) == ["in no split"]
    assert len(rows["train"]) + len(rows["validation"]) + len(left_out["in no split"]) == count
    assert abs(len(rows["validation"]) - 0.1 * count) <= 0.01 * count
    assert abs(len(rows["train"]) - 0.5 * count) <= 0.02 * count


def test_fractions_are_a_function_of_the_seed():
    table = make_table(uneven_paths(0))
    assert assign(table, seed=3) == assign(table, seed=3)
    assert assign(table, seed=3) != assign(table, seed=4)


def test_groups_never_straddle_splits():
    paths = uneven_paths(1)
    groups = [f"product {i // 3}" if i % 2 else "" for i in range(len(paths))]
    rows, _ = assign(make_table(paths, product=groups), group_column="product")
    split_of = {row: split for split, chosen in rows.items() for row in chosen}
    assert len(split_of) == len(paths)
    for group in set(groups) - {""}:
        assert len({split_of[i] for i, name in enumerate(groups) if name == group}) == 1
    ungrouped = Counter(split_of[i] for i, name in enumerate(groups) if not name)
    assert set(ungrouped) == {"train", "validation"}  # rows of no group are not one large group


def test_a_column_assigns_by_its_values():
    table = make_table([("a", "b")] * 5, fold=["train", "validation", "test", "", "train"])
    rows, left_out = assign(table, splits="fold")
    assert rows == {"train": [0, 4], "validation": [1], "test": [2]}
    assert left_out == {"fold is empty": ["id 3"]}


@pytest.mark.parametrize("train", ["train", "Training", "TRAIN"])
@pytest.mark.parametrize("validation", ["validation", "val", "Valid", "dev", "EVAL"])
def test_usual_names_of_splits_are_known_in_a_column(train, validation):
    table = make_table([("a", "b")] * 4, fold=[train, validation, "Testing", "extra"])
    rows, left_out = assign(table, splits="fold")
    assert rows == {"train": [0], "validation": [1], "test": [2]} and left_out == {"fold is 'extra'": ["id 3"]}


def test_values_of_a_column_are_named(tmp_path):
    table = make_table([("a", "b")] * 5, fold=["A", "test", "train", "val", "b"])
    assert assign(table, splits={"column": "fold", "validation": "test"})[0] == {"train": [2], "validation": [1]}
    named = {"column": "fold", "train": "A", "validation": "B", "spare": "val"}
    assert assign(table, splits=named)[0] == {"train": [0], "validation": [4], "spare": [3], "test": [1]}
    numbers = make_table([("a", "b")] * 3, is_val=["0", "1", "0"])
    assert assign(numbers, splits={"column": "is_val", "train": 0, "validation": 1})[0]["validation"] == [1]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (("train", "test"), r"'validation' by the column 'fold', which has 'test', 'train': .*'validation': 'test'"),
        (("A", "B"), r"'train' by .* has 'A', 'B': .*\{'column': 'fold', 'train': 'A', 'validation': 'B'\}"),
        (("train", "train"), r"fill it, or set data\.splits to \{'train': 0\.8"),
        (("train", "val", "dev"), r"'val' and 'dev' in the column 'fold' could all be .*'validation': 'val'"),
    ],
)
def test_a_column_without_a_split_is_told_with_values_to_name(values, sentence):
    with pytest.raises(UserError, match=sentence):
        assign(make_table([("a", "b")] * len(values), fold=list(values)), splits="fold")


def test_a_split_s_own_name_goes_before_its_other_names():
    table = make_table([("a", "b")] * 3, fold=["train", "validation", "dev"])
    assert assign(table, splits="fold") == ({"train": [0], "validation": [1]}, {"fold is 'dev'": ["id 2"]})


def test_files_assign_by_id_even_with_blanks_in_ids(tmp_path):
    (tmp_path / "a.txt").write_bytes("id 0\r\n\r\n id 3 \nid 0\nmissing\n".encode("utf-8-sig"))
    (tmp_path / "b.txt").write_text("id 1")
    splits = {"train": "a.txt", "validation": "b.txt"}
    rows, left_out = assign(make_table([("a", "b")] * 4), tmp_path, splits)
    assert rows == {"train": [0, 3], "validation": [1]}
    assert left_out == {"in no split": ["id 2"], "in a split, but not in the table": ["missing"]}


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        (b"id 1\nid 0\n", "The id 'id 1' stands in the splits 'train' and 'validation'"),
        (b"", "The split 'train' has no images"),
        (
            b"nothing\n",
            r"data\.splits\.train, 'a\.txt', such as 'nothing', .* such as 'id 0'",
        ),
        (b"\xff\xfe", r"data\.splits\.train is .* cannot be read"),
        (None, r"data\.splits\.train is .* cannot be read"),
    ],
)
def test_files_that_make_no_splits_are_refused(tmp_path, train, sentence):
    if train is not None:
        (tmp_path / "a.txt").write_bytes(train)
    (tmp_path / "b.txt").write_text("id 1\n")
    with pytest.raises(UserError, match=sentence):
        assign(make_table([("a", "b")] * 4), tmp_path, {"train": "a.txt", "validation": "b.txt"})


def test_a_group_in_two_splits_of_a_column_or_of_files_is_refused(tmp_path):
    table = make_table(
        [("a", "b")] * 5, fold=["train", "validation", "train", "other", ""], product=["p", "", "", "p", "p"]
    )
    rows, _ = assign(table, splits="fold", group_column="product")
    assert rows == {"train": [0, 2], "validation": [1]}
    (tmp_path / "a.txt").write_text("id 0\nid 1\nid 2")
    (tmp_path / "b.txt").write_text("id 4")
    with pytest.raises(
        UserError, match=r"1 of the groups of data\.group_column, 'product', .*'p' in 'train' and 'valida"
    ):
        assign(table, tmp_path, {"train": "a.txt", "validation": "b.txt"}, group_column="product")


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_are_equal_parts_that_every_image_is_kept_from_once(folds):
    paths = uneven_paths(folds)
    table, count = make_table(paths), Counter(paths)
    parts = [assign(table, folds=folds, fold=fold)[0] for fold in range(folds)]
    kept = [row for part in parts for row in part["validation"]]
    assert sorted(kept) == [row for row in range(len(paths)) if count[paths[row]] > 1]
    for part in parts:
        assert sorted(part["train"] + part["validation"]) == list(range(len(paths)))
        assert {paths[row] for row in part["train"]} == set(paths)  # so that all folds have the same classes
        assert abs(len(part["validation"]) - len(kept) / folds) <= 1
        for path, total in Counter(paths[row] for row in part["validation"]).items():
            assert abs(total - count[path] / folds) < 1


def test_folds_keep_groups_whole_and_are_a_function_of_the_seed():
    paths = uneven_paths(1)
    groups = [f"product {i // 3}" for i in range(len(paths))]
    table = make_table(paths, product=groups)
    options = {"group_column": "product", "folds": 3, "fold": 1}
    parts = assign(table, **options)[0]
    assert not {groups[row] for row in parts["train"]} & {groups[row] for row in parts["validation"]}
    assert assign(table, **options)[0] == parts != assign(table, seed=1, **options)[0]


@pytest.mark.parametrize("fold", [0, 9])
def test_more_folds_than_groups_are_refused_in_every_fold(fold):
    paths = [("a", f"b{i % 2}") for i in range(60)]
    table = make_table([*paths, ("c", "d")], product=[f"p{i % 6}" for i in range(60)] + ["alone"])
    with pytest.raises(UserError, match=r"data\.folds is 10, but only 6 groups of 'product' can be divided"):
        assign(table, folds=10, fold=fold, group_column="product")
    with pytest.raises(UserError, match=r"data\.folds is 10, but only 8 images can be divided"):
        assign(make_table(paths[:8]), folds=10, fold=fold)
    assert len(assign(make_table(paths[:10]), folds=10, fold=fold)[0]["validation"]) == 1


def test_folds_of_data_that_is_divided_already():
    table = make_table([("a", "b")] * 4, **{FOLDERS: ["train", "train", "validation", "train"]})
    with pytest.raises(UserError, match=r"data.folds is 3, .* \(train, validation\): set it to 0"):
        assign(table, folds=3)

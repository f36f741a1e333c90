"""From a folder to splits of files and labels, and the account of what was left out."""

import hashlib
import json

import pytest

from configs import default
from fashion_jax.data.dataset import ALL, check_tells_apart, load_dataset, load_split
from fashion_jax.data.fields import data_fields
from fashion_jax.errors import UserError
from tests.shop import products, shop_config, write_shop, write_table

# 30 rows to train and 10 to validate, told by a column; three classes take turns.
ROWS = [(*row, "train" if i < 30 else "validation") for i, row in enumerate(products(40))]
HEADER = ("id", "masterCategory", "subCategory", "fold")


def load(folder, rows=ROWS, **data):
    write_shop(folder, rows, HEADER)
    return load_dataset(shop_config(folder, splits="fold", **data))


def changed(changes: dict[int, dict[str, str]]) -> list[tuple[str, ...]]:
    """Returns ROWS with other values: row -> column -> value."""
    return [tuple({**dict(zip(HEADER, row, strict=True)), **changes.get(i, {})}.values()) for i, row in enumerate(ROWS)]


def test_splits_have_ids_files_and_labels(tmp_path):
    dataset = load(tmp_path)
    assert dataset.taxonomy.classes["sub"] == ("Apparel/Dress", "Apparel/Topwear", "Footwear/Shoes")
    train, validation = dataset.splits["train"], dataset.splits["validation"]
    assert (len(train), len(validation)) == (30, 10)
    assert list(train.ids) == [str(i) for i in range(30)]
    assert validation.files[0] == str(tmp_path / "images" / "30.jpg")
    assert train.labels["sub"].tolist() == [1, 0, 2] * 10
    assert train.labels["main"].tolist() == [0, 0, 1] * 10
    assert dataset.left_out == {}


def test_missing_and_strange_labels_are_unknown_and_counted(tmp_path):
    rows = changed(
        {
            0: {"subCategory": ""},
            1: {"masterCategory": ""},  # and so its sub, too, is unknown
            30: {"subCategory": "Hats"},
            31: {"masterCategory": "Toys"},
        }
    )
    dataset = load(tmp_path, rows)
    assert dataset.splits["train"].labels["sub"].tolist()[:3] == [-1, -1, 2]
    assert dataset.splits["train"].labels["main"].tolist()[:3] == [0, -1, 1]
    assert "Apparel/Hats" not in dataset.taxonomy.classes["sub"]
    summary = dataset.summary(8)
    assert summary["splits"]["train"]["unknown_labels"] == {"main": 1, "sub": 2}
    assert summary["splits"]["validation"]["unknown_labels"] == {"main": 1, "sub": 2}


def test_the_summary_counts_every_image(tmp_path):
    dataset = load(tmp_path, changed({39: {"fold": "spare"}}))
    summary = dataset.summary(8)
    digests = {name: hashlib.sha256("\0".join(x.ids).encode()).hexdigest() for name, x in dataset.splits.items()}
    for split in summary["splits"].values():
        assert len(split.pop("labels_sha256")) == len(split.pop("files_sha256")) == 64
    assert summary == {
        "splits": {
            "train": {
                "images": 30,
                "unknown_labels": {"main": 0, "sub": 0},
                "classes": {
                    "main": {"Apparel": 20, "Footwear": 10},
                    "sub": {"Apparel/Dress": 10, "Apparel/Topwear": 10, "Footwear/Shoes": 10},
                },
                "left_over_per_epoch": 6,
                "ids_sha256": digests["train"],
            },
            "validation": {
                "images": 9,
                "unknown_labels": {"main": 0, "sub": 0},
                "classes": {
                    "main": {"Apparel": 6, "Footwear": 3},
                    "sub": {"Apparel/Dress": 3, "Apparel/Topwear": 3, "Footwear/Shoes": 3},
                },
                "ids_sha256": digests["validation"],
            },
        },
        "left_out": {"fold is 'spare'": ["39 (line 41)"]},
    }
    assert json.loads(json.dumps(summary)) == summary


def test_classes_with_too_few_training_images_are_left_out_of_every_split(tmp_path):
    """The sub Hats goes with its 3 training images; so do its main, which has no other sub, and a validation Hat."""
    hat = {"masterCategory": "Headwear", "subCategory": "Hats"}
    dataset = load(tmp_path, changed({0: hat, 1: hat, 2: hat, 30: hat}), min_images_per_class=4)
    assert dataset.taxonomy.classes["main"] == ("Apparel", "Footwear")
    assert (len(dataset.splits["train"]), len(dataset.splits["validation"])) == (27, 9)
    assert dataset.left_out == {"class with fewer than 4 training images": ["0", "1", "2", "30"]}
    assert len(load(tmp_path, changed({0: hat, 1: hat, 2: hat}), min_images_per_class=3).splits["train"]) == 30


def few(**counts: int) -> dict[int, dict[str, str]]:
    """Returns changes that give the first training and validation rows other subs of Apparel."""
    subs = [sub for sub, count in counts.items() for _ in range(count)]
    rows = [*range(len(subs)), 30]
    return {
        row: {"masterCategory": "Apparel", "subCategory": sub} for row, sub in zip(rows, [*subs, subs[0]], strict=True)
    }


def test_rare_classes_merge_into_other_of_the_same_parent(tmp_path):
    rows = changed(few(Hats=3, Scarves=2))
    dataset = load(tmp_path, rows, min_images_per_class=4, rare_classes="merge")
    other = dataset.taxonomy.classes["sub"].index("Apparel/Other")
    assert dataset.taxonomy.classes["sub"] == ("Apparel/Dress", "Apparel/Other", "Apparel/Topwear", "Footwear/Shoes")
    assert dataset.splits["train"].labels["sub"].tolist()[:5] == [other] * 5
    assert dataset.splits["validation"].labels["sub"][0] == other
    assert dataset.left_out == {}
    assert dataset.summary(8)["merged"] == {"Apparel/Other": {"Apparel/Hats": 4, "Apparel/Scarves": 2}}
    config = shop_config(tmp_path, splits="fold", min_images_per_class=4, rare_classes="merge")
    for name in ("validation", ALL):
        split = load_split(config, dataset.taxonomy, name)
        assert (split.labels["sub"] == other).sum() == {"validation": 1, ALL: 6}[name]


@pytest.mark.parametrize("fields", [{}, {"folds": 3, "fold": 1}, {"drop_leaks": True}])
def test_evaluation_gets_the_split_of_training_where_classes_are_merged(tmp_path, fields):
    """Fractions are drawn class by class, before any class is renamed."""
    labels = [("Apparel", sub) for sub in ("Dress", "Hats", "Topwear", "Vests")] + [("Footwear", "Shoes")]
    most = {"Hats": 40, "Vests": 45}  # the ids below which they occur
    rows = [row for row in products(200, labels) if int(row[0]) < most.get(row[2], 200)]
    write_shop(tmp_path, rows)
    config = shop_config(tmp_path, min_images_per_class=10, rare_classes="merge", **fields)
    dataset = load_dataset(config)
    assert dataset.taxonomy.classes["sub"] == ("Apparel/Dress", "Apparel/Other", "Apparel/Topwear", "Footwear/Shoes")
    for name, split in dataset.splits.items():
        found = load_split(config, dataset.taxonomy, name)
        assert list(found.ids) == list(split.ids)
        assert found.labels["sub"].tolist() == split.labels["sub"].tolist()


def test_an_other_that_is_too_small_itself_is_left_out(tmp_path):
    dataset = load(tmp_path, changed(few(Hats=2, Scarves=1)), min_images_per_class=4, rare_classes="merge")
    assert "Apparel/Other" not in dataset.taxonomy.classes["sub"]
    assert dataset.left_out == {"class with fewer than 4 training images": ["0", "1", "2", "30"]}
    config = shop_config(tmp_path, splits="fold", min_images_per_class=4, rare_classes="merge")
    assert len(load_split(config, dataset.taxonomy, "validation")) == len(dataset.splits["validation"]) == 9


def test_evaluation_drops_what_training_has_dropped_with_its_other(tmp_path):
    """Gloves are of validation alone, and were dropped with Apparel/Other, which is too small."""
    rows = changed(few(Hats=2, Scarves=1) | {31: {"masterCategory": "Apparel", "subCategory": "Gloves"}})
    dataset = load(tmp_path, rows, min_images_per_class=4, rare_classes="merge")
    config = shop_config(tmp_path, splits="fold", min_images_per_class=4, rare_classes="merge")
    found = load_split(config, dataset.taxonomy, "validation")
    assert list(found.ids) == list(dataset.splits["validation"].ids) and "31" not in found.ids


def test_other_data_is_measured_on_all_classes_of_the_run(tmp_path):
    """Few images of a class in the training split of a new table are no reason to leave its validation images out."""
    taxonomy = load(tmp_path, min_images_per_class=4).taxonomy
    hat = {"masterCategory": "Headwear", "subCategory": "Hats"}
    rows = changed({0: hat, 30: hat})
    scarce = [row for row in rows if row[2] != "Shoes" or int(row[0]) in (2, 32)]
    assert len(scarce) < len(rows)
    write_shop(tmp_path, scarce, HEADER)
    config = shop_config(tmp_path, splits="fold", min_images_per_class=4)
    found = load_split(config, taxonomy, "validation")
    assert "32" in found.ids and "30" not in found.ids
    assert found.left_out["class with fewer than 4 training images"] == ["30"]


def test_all_images_need_no_columns_of_splits_and_groups(tmp_path):
    dataset = load(tmp_path)
    write_table(tmp_path / "more.csv", [("1", "Footwear", "Shoes")], HEADER[:3])
    config = shop_config(tmp_path, splits="fold", group_column="product", csv="more.csv")
    assert len(load_split(config, dataset.taxonomy, ALL)) == 1


def test_a_merged_class_is_one_of_the_taxonomy(tmp_path):
    """Two images are too few for Apparel/Other; and one of a validation class alone makes no class."""
    for rows, minimum in ((few(Hats=2, Scarves=1), 4), ({30: {"subCategory": "Hats"}}, 1)):
        dataset = load(tmp_path, changed(rows), min_images_per_class=minimum, rare_classes="merge")
        assert "merged" not in dataset.summary(8) and "Apparel/Other" not in dataset.taxonomy.classes["sub"]


def test_merging_works_at_every_level_and_takes_a_real_other_in(tmp_path):
    """Two rare mains become one, of one sub; a sub that is called Other is of it too."""
    changes = {
        0: ("Toys", "Dolls"),
        1: ("Toys", "Balls"),
        2: ("Home", "Rugs"),
        3: ("Apparel", "Other"),
        4: ("Apparel", "Hats"),
    }
    rows = changed({i: {"masterCategory": m, "subCategory": s} for i, (m, s) in changes.items()})
    classes = load(tmp_path, rows, min_images_per_class=3, rare_classes="merge").taxonomy.classes
    assert classes["main"] == ("Apparel", "Footwear", "Other") and "Other/Other" in classes["sub"]
    assert "Apparel/Other" not in classes["sub"]  # two images
    assert "Apparel/Other" in load(tmp_path, rows, min_images_per_class=2, rare_classes="merge").taxonomy.classes["sub"]


def test_labels_that_look_alike_are_told_even_where_only_validation_has_one(tmp_path):
    assert load(tmp_path).warnings == [] and "warnings" not in load(tmp_path).summary(8)
    dataset = load(tmp_path, changed({30: {"subCategory": "topwear"}}))
    assert "'Topwear' and 'topwear' under 'Apparel'" in dataset.warnings[0]
    assert dataset.summary(8)["warnings"] == dataset.warnings


def test_no_class_with_enough_images_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"lower data\.min_images_per_class"):
        load(tmp_path, min_images_per_class=1000)


@pytest.mark.parametrize(
    ("labels", "rows_of_others", "fields", "sentence"),
    [
        (
            [("Apparel", "Dress")],
            {35: ("Apparel", "Skirt")},  # of validation
            {},
            r"'sub', has only the class 'Apparel/Dress', so that it has nothing to learn: add training images of other "
            r"classes, or name another column than 'subCategory' in data\.levels\.",
        ),
        ([("Apparel", "Dress"), ("Footwear", "")], {}, {}, "take it out of data.levels, or add labels of other"),
        ([("Apparel", "Dress")], {5: ("Footwear", "Shoes")}, {"min_images_per_class": 2}, "lower data.min_images_per"),
        (
            [("Apparel", f"Kind {i}") for i in range(5)],
            {},
            {"min_images_per_class": 20, "rare_classes": "merge"},
            "'Apparel/Other', so that it has nothing to learn: lower data.min_images_per_class",
        ),
    ],
    ids=["one class", "one finest class", "others are rare", "others are merged"],
)
def test_one_finest_class_is_nothing_to_learn(tmp_path, labels, rows_of_others, fields, sentence):
    rows = [(row[0], *rows_of_others.get(i, row[1:]), ROWS[i][-1]) for i, row in enumerate(products(40, labels))]
    dataset = load(tmp_path, rows, **fields)
    with pytest.raises(UserError, match=sentence):
        check_tells_apart(dataset, data_fields(shop_config(tmp_path, **fields)))


def test_one_coarse_class_is_no_error(tmp_path):
    rows = [(row[0], "Apparel", *row[2:]) for row in ROWS]
    dataset = load(tmp_path, rows)
    assert dataset.taxonomy.num_classes("main") == 1
    check_tells_apart(dataset, data_fields(shop_config(tmp_path)))


def test_a_few_missing_files_are_counted_and_many_stop_the_run(tmp_path):
    write_shop(tmp_path, ROWS, HEADER)
    for i in (3, 35):
        (tmp_path / "images" / f"{i}.jpg").unlink()
    config = shop_config(tmp_path, splits="fold", max_bad_fraction=0.05)
    dataset = load_dataset(config)
    assert (len(dataset.splits["train"]), len(dataset.splits["validation"])) == (29, 9)
    assert dataset.left_out == {"there is no such file": ["3 (line 5)", "35 (line 37)"]}
    config.data.max_bad_fraction = 0.04
    with pytest.raises(
        UserError,
        match=r"2 of 40 images cannot be used, such as .*/3\.jpg \(line 5: there is no .*\), .*max_bad_fraction, 0\.04",
    ):
        load_dataset(config)


@pytest.mark.parametrize("fields", [{"splits": {"train": 0.7, "validation": 0.3}}, {"folds": 4, "fold": 1}])
def test_an_image_that_goes_bad_moves_no_other(tmp_path, fields):
    """Splits depend only on the seed and all images; otherwise evaluation would show images that training has seen."""
    write_shop(tmp_path, ROWS, HEADER)
    config = shop_config(tmp_path, max_bad_fraction=0.2, **fields)
    before = {name: list(split.ids) for name, split in load_dataset(config).splits.items()}
    gone = {"0", "7", before["train"][5], before["validation"][2]}
    for name in gone:
        (tmp_path / "images" / f"{name}.jpg").write_bytes(b"")
    after = load_dataset(config)
    assert {name: list(split.ids) for name, split in after.splits.items()} == {
        name: [x for x in ids if x not in gone] for name, ids in before.items()
    }
    assert list(load_split(config, after.taxonomy, "validation").ids) == list(after.splits["validation"].ids)
    assert {name.partition(" ")[0] for name in after.left_out["the file is empty"]} == gone


def test_a_bad_image_of_no_split_is_counted_once(tmp_path):
    write_shop(tmp_path, changed({38: {"fold": "spare"}, 39: {"fold": "spare"}}), HEADER)
    (tmp_path / "images" / "39.jpg").unlink()
    dataset = load_dataset(shop_config(tmp_path, splits="fold", max_bad_fraction=0.05))
    assert dataset.left_out == {"there is no such file": ["39 (line 41)"], "fold is 'spare'": ["38 (line 40)"]}


def test_further_rows_of_an_image_are_left_out(tmp_path):
    """Otherwise an image could be in training and in validation."""
    dataset = load(tmp_path, [*ROWS, ("0", "Footwear", "Shoes", "validation")])
    assert len(dataset.splits["validation"]) == 10
    assert dataset.left_out == {"listed before": ["0 (line 42)"]}


def test_labels_of_further_rows_that_the_first_lacks_are_told(tmp_path):
    rows = changed({0: {"masterCategory": "", "subCategory": ""}, 1: {"subCategory": ""}})
    more = [("0", "Apparel", ""), ("0", "Apparel", "Topwear"), ("1", "Footwear", "Shoes"), ("2", "Footwear", "")]
    dataset = load(tmp_path, [*rows, *((*row, "validation") for row in more)])
    assert dataset.splits["train"].labels["main"][0] == -1 and len(dataset.left_out["listed before"]) == 4
    (said,) = [warning for warning in dataset.warnings if "named again" in warning]
    assert said.startswith(
        "2 images are named again by a row with a label that the first row lacks, such as 0 (line 2)"
    )
    assert "again line 42: only the first row counts" in said


def test_a_wrong_place_of_the_images_is_told_before_a_wrong_split(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text("1163.jpg")
    write_shop(tmp_path, ROWS, HEADER)
    fields = {"image": "photos/{id}.jpg", "splits": {"train": "a.txt", "validation": "b.txt"}}
    with pytest.raises(UserError, match=r"set data\.image to|--config\.data\.image="):
        load_dataset(shop_config(tmp_path, **fields))


@pytest.mark.parametrize(
    ("splits", "group_column", "sentence"),
    [
        ("half", "", "No row is in the split 'train' by the column 'half', which has 'A', 'B'"),
        ({"train": "a.txt", "validation": "b.txt"}, "", r"No id of data\.splits\.train, 'a\.txt', such as 'x'"),
        ("fold", "product", r"1 of the groups of data\.group_column, 'product', stand in two splits"),
        ({"train": 0.8, "validation": 0.2}, "one", r"The split 'validation' has no images: check data\.splits"),
    ],
)
def test_splits_are_checked_before_any_image(tmp_path, monkeypatch, splits, group_column, sentence):
    monkeypatch.setattr("fashion_jax.data.dataset.check_files", None)
    for name, text in (("a", "x"), ("b", "1")):
        (tmp_path / f"{name}.txt").write_text(text)
    rows = [(*row, "AB"[i % 2], f"p{i % 35}", "one") for i, row in enumerate(ROWS)]
    rows[34:] = [(*row[:5], f"q{i}", row[6]) for i, row in enumerate(rows[34:])]
    rows[30] = (*rows[30][:5], "p0", "one")
    write_shop(tmp_path, rows, (*HEADER, "half", "product", "one"))
    with pytest.raises(UserError, match=sentence):
        load_dataset(shop_config(tmp_path, splits=splits, group_column=group_column))


@pytest.mark.parametrize("splits", ["fold", {"train": 0.8, "validation": 0.2}])
def test_a_split_that_is_not_there_is_told_before_any_image(tmp_path, monkeypatch, splits):
    taxonomy = load(tmp_path).taxonomy
    monkeypatch.setattr("fashion_jax.data.dataset.check_files", None)
    with pytest.raises(UserError, match=r"no split 'tset'.*: use --split train, validation or all\."):
        load_split(shop_config(tmp_path, splits=splits), taxonomy, "tset")


def test_a_table_of_one_split_is_measured_on_that_split(tmp_path):
    taxonomy = load(tmp_path).taxonomy
    write_shop(tmp_path, [(*row[:3], "Testing") for row in ROWS], HEADER)
    for fields in ({}, {"rare_classes": "merge"}, {"drop_leaks": True}):
        assert len(load_split(shop_config(tmp_path, splits="fold", **fields), taxonomy, "test")) == 40
    with pytest.raises(UserError, match=r"no split 'validation' in the column 'fold': use --split test or all\."):
        load_split(shop_config(tmp_path, splits="fold"), taxonomy, "validation")


def test_a_validation_that_is_a_copy_of_training_leaves_nothing_without_its_leaks(tmp_path):
    write_shop(tmp_path, ROWS, HEADER)
    for i in range(30):
        copy = tmp_path / "images" / f"{30 + i % 10}.jpg"
        (tmp_path / "images" / f"{i}.jpg").write_bytes(copy.read_bytes())
    with pytest.raises(
        UserError, match=r"'train' has no images left, as data\.drop_leaks .* that 'validation' has too"
    ):
        load_dataset(shop_config(tmp_path, splits="fold", drop_leaks=True))


def test_a_users_taxonomy_fixes_the_classes(tmp_path):
    taxonomy = load(tmp_path).taxonomy
    path = tmp_path / "taxonomy.json"
    path.write_text(taxonomy.to_json())
    hat = {"masterCategory": "Headwear", "subCategory": "Hats"}
    dataset = load(tmp_path, changed({0: hat}), taxonomy=str(path))
    assert dataset.taxonomy == taxonomy
    assert dataset.splits["train"].labels["main"][0] == -1


def test_a_users_taxonomy_must_fit_the_data(tmp_path):
    tree = json.loads(load(tmp_path).taxonomy.to_json())
    path = tmp_path / "taxonomy.json"
    tree["classes"]["sub"].append("Footwear/Boots")
    tree["parents"]["sub"].append(1)
    path.write_text(json.dumps(tree))
    with pytest.raises(UserError, match=r"The class 'Footwear/Boots' of .*taxonomy\.json has no training images"):
        load(tmp_path, taxonomy=str(path))
    with pytest.raises(UserError, match=r"has the levels main, sub, but data\.levels has sub"):
        load(tmp_path, taxonomy=str(path), levels={"sub": "subCategory"})
    with pytest.raises(UserError, match=r"data\.taxonomy is .* no such file"):
        load(tmp_path, taxonomy=str(tmp_path))


def test_a_level_without_any_label_is_named(tmp_path):
    rows = changed({i: {"subCategory": ""} for i in range(30)})
    with pytest.raises(UserError, match="No training row has a label at the level 'sub'"):
        load(tmp_path, rows)


def test_equal_names_under_different_parents_are_different_classes(tmp_path):
    rows = changed({i: {"subCategory": "Other"} for i in range(40)})
    assert load(tmp_path, rows).taxonomy.classes["sub"] == ("Apparel/Other", "Footwear/Other")


def test_any_number_of_levels(tmp_path):
    dataset = load(tmp_path, levels={"sub": "subCategory"})
    assert dataset.taxonomy.levels == ("sub",)
    assert dataset.taxonomy.classes["sub"] == ("Dress", "Shoes", "Topwear")


def test_the_catalogue_serves_overlays_for_other_tables_too(catalogue_cache):
    """Its table, images and splits are known, whatever the config says of other data."""
    config = default.get_config()
    config.data.cache_dir, config.data.catalogue.num_images = catalogue_cache, 200
    expected = load_dataset(config).summary(8)
    config.data.csv, config.data.image, config.data.group_column = "x.csv", "{x}.png", "x"
    config.data.splits = {"train": "train.txt", "validation": "validation.txt"}
    assert load_dataset(config).summary(8) == expected
    config.data.splits = "fold"
    assert load_dataset(config).summary(8) == expected
    assert expected["splits"]["train"]["images"] + expected["splits"]["validation"]["images"] == 200


def test_a_tilde_in_any_path_of_the_data_is_the_home_directory(tmp_path, monkeypatch):
    write_shop(tmp_path / "shop", ROWS, HEADER)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, ids in (("train", range(30)), ("validation", range(30, 40))):
        (tmp_path / f"{name}.txt").write_text("\n".join(map(str, ids)))
    splits = {"train": "~/train.txt", "validation": "~/validation.txt"}
    dataset = load_dataset(
        shop_config("~", csv="~/shop/styles.csv", image="~/shop/images/{id}.jpg", splits=splits, cache_dir="~/cache")
    )
    assert [len(split) for split in dataset.splits.values()] == [30, 10]


def test_a_table_outside_of_the_folder_of_the_images(tmp_path):
    write_shop(tmp_path / "shop", ROWS, HEADER)
    write_table(tmp_path / "mine.csv", ROWS, HEADER)
    (tmp_path / "shop" / "styles.csv").unlink()
    dataset = load_dataset(shop_config(tmp_path / "shop", csv=str(tmp_path / "mine.csv"), splits="fold"))
    assert len(dataset.splits["train"]) == 30

"""The folder source: class folders to splits of labelled images, whatever else lies there."""

import os
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from configs import clothing
from fashion_jax.config.fields import DEFAULT_SPLITS
from fashion_jax.data.dataset import (
    ALL,
    check_fractions,
    check_paths,
    check_tells_apart,
    load_dataset,
    load_split,
)
from fashion_jax.data.fields import data_fields
from fashion_jax.data.sources import walk as walk_module
from fashion_jax.data.sources.inputs import Inputs
from fashion_jax.data.sources.walk import OF_A_RUN, READ_ANYWAY, Found, walk
from fashion_jax.errors import UserError
from fashion_jax.training.train import train_and_evaluate
from tests.shop import shop_config, smallest_image

TWO_LEVELS = {f"{path}/{i}.jpg": b"" for path in ("Apparel/Dress", "Apparel/Tops", "Shoes/Boots") for i in range(10)}
ONE_LEVEL = {f"{path}/{i}.jpg": b"" for path in ("dress", "tops", "boots") for i in range(10)}
YAML = "Apparel: [dress, tops]\nShoes: [boots]\n"


def write_tree(folder, *names: str):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(smallest_image(name))
    return folder


def config_of(folder, **data):
    return shop_config(folder, **{"source": "folder", **data})


def load(folder, **data):
    return load_dataset(config_of(folder, **data))


def yaml_file(folder, text: str = YAML) -> str:
    (folder / "classes.yaml").write_text(text, encoding="utf-8")
    return str(folder / "classes.yaml")


def count(dataset) -> dict[str, int]:
    return {name: len(split) for name, split in dataset.splits.items()}


def test_folders_are_classes_and_fractions_split_them(tmp_path):
    dataset = load(write_tree(tmp_path, *TWO_LEVELS))
    assert dataset.taxonomy.classes["sub"] == ("Apparel/Dress", "Apparel/Tops", "Shoes/Boots")
    assert count(dataset) == {"train": 24, "validation": 6} and dataset.left_out == {}
    train = dataset.splits["train"]
    assert all(train.ids[i] in TWO_LEVELS and train.files[i] == str(tmp_path / train.ids[i]) for i in range(24))
    assert [train.ids[i].rpartition("/")[0] for i in (0, 8, 16)] == ["Apparel/Dress", "Apparel/Tops", "Shoes/Boots"]
    assert train.labels["sub"].tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert train.labels["main"].tolist() == [0] * 16 + [1] * 8


def test_a_taxonomy_gives_class_folders_their_parents(tmp_path):
    folder = write_tree(tmp_path / "data", *ONE_LEVEL)
    dataset = load(folder, taxonomy=yaml_file(tmp_path))
    assert dataset.taxonomy.classes["sub"] == ("Apparel/dress", "Apparel/tops", "Shoes/boots")
    assert set(dataset.splits["train"].labels["main"].tolist()) == {0, 1}
    (tmp_path / "taxonomy.json").write_text(dataset.taxonomy.to_json())
    assert load(folder, taxonomy=str(tmp_path / "taxonomy.json")).summary(8) == dataset.summary(8)


def test_any_number_of_levels(tmp_path):
    deep = load(write_tree(tmp_path / "a", *(f"x/{p}" for p in TWO_LEVELS)), levels={"a": "", "b": "", "c": ""})
    assert deep.taxonomy.classes["c"][0] == "x/Apparel/Dress"
    flat = load(write_tree(tmp_path / "b", *ONE_LEVEL), levels={"sub": ""})
    assert flat.taxonomy.classes["sub"] == ("boots", "dress", "tops")


def in_splits(**tops: str) -> list[str]:
    return [f"{top}/{name}" for top in tops.values() for name in TWO_LEVELS]


def test_train_and_validation_folders_are_the_splits(tmp_path):
    folder = write_tree(tmp_path, *in_splits(a="train", b="validation", c="test"), "extra/Apparel/Dress/1.jpg")
    dataset = load(folder)
    assert count(dataset) == {"train": 30, "validation": 30, "test": 30}
    assert all(image_id.startswith("validation/") for image_id in dataset.splits["validation"].ids)
    assert dataset.left_out == {"in the folder of no split": ["extra/Apparel/Dress/1.jpg"]}
    assert len(load_split(config_of(folder), dataset.taxonomy, "test")) == 30
    assert len(load_split(config_of(folder), dataset.taxonomy, ALL)) == 90


def test_fractions_of_folders_that_are_splits_are_refused_in_a_new_run(tmp_path):
    folder, wanted = write_tree(tmp_path / "data", *in_splits(a="train", b="val")), {"train": 0.5, "validation": 0.1}
    archive = shutil.make_archive(str(tmp_path / "data"), "zip", folder)
    for path in (folder, archive):
        config = config_of(path, splits=wanted, cache_dir=str(tmp_path / "cache"))
        with pytest.raises(UserError, match=r"data\.splits is .*0\.1}, but .* the folders train, val, ") as refused:
            train_and_evaluate(config, tmp_path / "run")
        assert f"set it to { {'train': 'train', 'validation': 'val'} }" in str(refused.value)
    for splits in (DEFAULT_SPLITS, {"train": "train", "validation": "val"}):
        check_fractions(data_fields(config_of(folder, splits=splits)))
    check_fractions(data_fields(config_of(write_tree(tmp_path / "classes", *TWO_LEVELS), splits=wanted)))


def test_other_folders_are_splits_where_they_are_named(tmp_path):
    folder = write_tree(tmp_path, *in_splits(a="Train", b="val"))
    splits = {"train": "Train", "validation": "val"}
    assert count(load(folder, splits=splits)) == {"train": 30, "validation": 30}
    check_paths(data_fields(config_of(folder, splits=splits)))
    with pytest.raises(UserError, match=r"data\.splits\.validation is .*valid', but there is no such file"):
        check_paths(data_fields(config_of(folder, splits={"train": "Train", "validation": "valid"})))


@pytest.mark.parametrize("names", [("Train/", "./val"), ("./Train", "val/")])
def test_folders_of_splits_may_be_written_as_a_shell_completes_them(tmp_path, names):
    folder = write_tree(tmp_path, *in_splits(a="Train", b="val"))
    assert count(load(folder, splits=dict(zip(("train", "validation"), names, strict=True)))) == {
        "train": 30,
        "validation": 30,
    }


@pytest.mark.parametrize("name", ["val", "valid"])
def test_validation_may_be_shortened(tmp_path, name):
    folder = write_tree(tmp_path, *in_splits(a="train", b=name, c="test"))
    dataset = load(folder)
    assert count(dataset) == {"train": 30, "validation": 30, "test": 30}
    assert dataset.taxonomy.classes["main"] == ("Apparel", "Shoes")


@pytest.mark.parametrize(
    "names", [("Train", "Validation"), ("TRAIN", "Val"), ("training", "dev"), ("Training", "Valid", "Testing")]
)
def test_usual_names_of_splits_are_taken_in_any_case(tmp_path, names):
    folder = write_tree(tmp_path, *in_splits(**dict(zip("abc", names, strict=False))))
    dataset = load(folder)
    assert count(dataset) == dict(zip(("train", "validation", "test"), [30] * len(names), strict=False))
    assert all(image_id.startswith(names[0]) for image_id in dataset.splits["train"].ids)


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        (("test", "train"), {"train": "train", "validation": "test"}),
        (("Dev", "Test"), {"train": "FOLDER", "validation": "Dev"}),
        (("train", "Train"), {"train": "Train", "validation": "FOLDER"}),
    ],
)
def test_folders_that_look_like_splits_are_no_classes(tmp_path, names, advice):
    folder = write_tree(tmp_path, *in_splits(a=names[0], b=names[1]))
    with pytest.raises(UserError, match="look like splits, not classes") as refused:
        load(folder)
    assert str(advice) in str(refused.value)
    assert count(load(folder, splits={"train": names[1], "validation": names[0]})) == {"train": 30, "validation": 30}


def test_two_folders_for_one_split_are_refused(tmp_path):
    folder = write_tree(tmp_path, *in_splits(a="train", b="val", c="Validation"))
    with pytest.raises(UserError, match=r"'Validation' and 'val' below .* could all be the split 'validation'"):
        load(folder)


def test_a_single_folder_that_looks_like_a_split_is_refused(tmp_path):
    folder = write_tree(tmp_path, *(f"train/{name}" for name in ONE_LEVEL))
    with pytest.raises(UserError, match=rf"'train', the only folder .* set data\.path to '{folder}/train'"):
        load(folder)
    toys = load(write_tree(tmp_path, *(f"car/{name}" for name in ONE_LEVEL)))
    assert toys.taxonomy.classes["main"] == ("car", "train")


def test_what_runs_have_made_is_no_data(tmp_path):
    """The folder holds a work directory beside the images, one around them, and a report that evaluate has written."""
    folder = write_tree(tmp_path / "shop", *TWO_LEVELS)
    expected = load(folder).summary(8)
    made = ("checkpoints/8/x", "report/figures/a.png", "predictions/x/b.png", "config.json", "taxonomy.json", "lock")
    write_tree(folder / "runs" / "a", *made)
    write_tree(folder / "b", "config.json", "taxonomy.json", "data.json", "report/a.png")
    write_tree(folder / "measured", "index.html", "label_errors.csv", "sub/curves.png", "curves.png")
    write_tree(folder / "runs" / "begun", "lock")
    dataset = load(folder)
    assert dataset.left_out == {OF_A_RUN: ["b", "measured", "runs/a", "runs/begun"]}
    assert {name: split["classes"] for name, split in dataset.summary(8)["splits"].items()} == {
        name: split["classes"] for name, split in expected["splits"].items()
    }
    write_tree(folder, *made)
    assert {"checkpoints", "predictions", "report"} <= set(load(folder).left_out[OF_A_RUN])
    assert len(list(Inputs([str(folder)], ""))) == 30 + 3


def test_a_deep_folder_of_a_split_is_told(tmp_path):
    folder = write_tree(tmp_path, *in_splits(a="deep/Train", b="val"))
    with pytest.raises(UserError, match=r"the folder 'deep/Train', which is not one directly below .*: name a folder"):
        load(folder, splits={"train": "deep/Train", "validation": "val"})


def test_files_of_ids_are_splits_too(tmp_path):
    folder = write_tree(tmp_path, *TWO_LEVELS, "train/x/y.jpg", "validation/x/y.jpg")
    names = list(TWO_LEVELS)
    (tmp_path / "t.txt").write_text("\n".join(names[::2]))
    (tmp_path / "v.txt").write_text("\n".join(names[1::2]))
    dataset = load(folder, splits={"train": "t.txt", "validation": "v.txt"})
    assert list(dataset.splits["validation"].ids) == names[1::2]
    assert dataset.left_out["in no split"] == ["train/x/y.jpg", "validation/x/y.jpg"]


def write_odd(folder) -> None:
    """Writes, beside good images, system files, other files, links, odd names and places."""
    write_tree(folder, *TWO_LEVELS, "Apparel/Dress/A.JPEG", "Apparel/Dress/b.WebP", "Apparel/notes.txt", "a.pdf")
    write_tree(
        folder, ".DS_Store", "Apparel/Thumbs.db", "__MACOSX/x/y/._1.jpg", "Apparel/Dress/._1.jpg", ".git/x/1.jpg"
    )
    os.symlink(folder, folder / "Shoes" / "Circle")
    os.symlink("Dress", folder / "Apparel" / "Again")
    os.symlink("nothing", folder / "Shoes" / "Boots" / "broken.jpg")
    os.symlink("1.jpg", folder / "Shoes" / "Boots" / "link.jpg")
    os.symlink("self.jpg", folder / "Shoes" / "Boots" / "self.jpg")
    os.mkfifo(folder / "Shoes" / "Boots" / "pipe.jpg")
    write_tree(folder.parent / "elsewhere", "1.jpg")
    os.symlink(folder.parent / "elsewhere", folder / "Shoes" / "Pumps")
    os.mkdir(os.fsencode(folder) + b"/Shoes/\xff")
    for i in range(2):
        with open(os.fsencode(folder) + b"/Shoes/\xff/\xfe%d.png" % i, "wb") as file:
            file.write(smallest_image(str(i)))


ODD = {
    "not an image by its name": ["Apparel/notes.txt", "a.pdf"],
    READ_ANYWAY: ["Apparel/Again", "Shoes/Circle"],
    "there is no such file": ["Shoes/Boots/broken.jpg"],
    "the file cannot be read (Too many levels of symbolic links)": ["Shoes/Boots/self.jpg"],
    "this is no regular file": ["Shoes/Boots/pipe.jpg"],
    "in 0 folders, not in 2 (main/sub)": ["stray.jpg"],
    "in 3 folders, not in 2 (main/sub)": ["Apparel/Dress/more/1.jpg"],
}


def test_whatever_else_lies_there_is_named_and_counted(tmp_path):
    folder = tmp_path / "shop"
    write_odd(folder)
    write_tree(folder, "stray.jpg", "Apparel/Dress/more/1.jpg")
    dataset = load(folder, max_bad_fraction=0.2)
    assert dataset.left_out == ODD
    assert sum(count(dataset).values()) == 30 + 2 + 1 + 1 + 2
    assert {"Shoes/Pumps", r"Shoes/\\udcff"} <= set(dataset.taxonomy.classes["sub"])
    files = [file for split in dataset.splits.values() for file in split.files]
    assert len(set(files)) == len(files) and all(os.path.isfile(file) for file in files)
    with pytest.raises(
        UserError, match=r"5 of 41 images below .* cannot be used, such as .*\(.*\), .*\(.*\), .*\(.*\): "
    ):
        load(folder, max_bad_fraction=0.1)


@pytest.mark.parametrize("name", ["products.csv", "my products.TSV", "products.parquet"])
def test_a_table_beside_the_images_is_named_first(tmp_path, name):
    """The folders alone would give one class, which is called like the folder of all images."""
    write_tree(tmp_path, *(f"images/{i}.jpg" for i in range(10)), name, "images/1.csv", "notes.txt")
    quoted = f"'{name}'" if " " in name else name
    advice = (
        f"if {name!r} names the classes, set --config.data.source=csv --config.data.csv={quoted} and its columns in "
        "--config.data.levels; otherwise "
    )
    with pytest.raises(UserError, match=re.escape(f": {advice}for 1 level of classes set")):
        load(tmp_path)
    config = config_of(tmp_path, levels={"class": ""})
    with pytest.raises(UserError, match=re.escape(f"'images', so that it has nothing to learn: {advice}add")):
        check_tells_apart(load_dataset(config), data_fields(config))


def test_a_table_in_a_folder_of_a_class_is_not_named(tmp_path):
    with pytest.raises(UserError, match=": for 1 level of classes set"):
        load(write_tree(tmp_path, *(f"images/{i}.jpg" for i in range(10)), "images/1.csv"))


def test_an_unreadable_folder_is_named(tmp_path, monkeypatch):
    folder, scandir = write_tree(tmp_path, *TWO_LEVELS), os.scandir

    def refuse(path):
        if str(path).endswith("Boots"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(walk_module.os, "scandir", refuse)
    dataset = load(folder, max_bad_fraction=0.1)
    assert dataset.left_out == {"the folder cannot be read (Permission denied)": ["Shoes/Boots"]}


def test_no_link_multiplies_files(tmp_path):
    """Links lead to the folder itself, above it, to, into and around another that is read, and in circles of two."""
    write_tree(tmp_path / "root", "a/1.jpg", "b/2.jpg")
    write_tree(tmp_path / "other", "x/3.jpg")
    for place, target in (("a/up", "."), ("a/home", "/"), ("b/other", "other"), ("b/x", "other/x"), ("c", "root/a")):
        os.symlink(tmp_path / target, tmp_path / "root" / place)
    os.symlink(tmp_path / "root", tmp_path / "other" / "x" / "back")
    found = list(walk(str(tmp_path / "root")))
    assert [path for path, error in found if not error] == ["a/1.jpg", "b/2.jpg", "b/other/x/3.jpg"]
    assert [path for path, error in found if error == READ_ANYWAY] == ["a/home", "a/up", "b/other/x/back", "b/x", "c"]
    assert list(walk(str(tmp_path / "none"))) == [Found("", "the folder cannot be read (No such file or directory)")]


def test_links_into_a_hidden_folder_are_followed_once(tmp_path):
    write_tree(tmp_path, ".store/boots/1.jpg", ".store/x/2.jpg", "a/3.jpg")
    for name in ("boots", "again"):
        os.symlink(tmp_path / ".store" / "boots", tmp_path / name)
    found = {path: error for path, error in walk(str(tmp_path))}
    assert found == {"a/3.jpg": "", "again/1.jpg": "", "boots": READ_ANYWAY}


def test_links_of_splits_may_lead_beside_them(tmp_path):
    """Each split's folder is walked as if it were alone, also if it is a link itself."""
    folder = write_tree(tmp_path, *(f"all/{name}/{i}.jpg" for name in ("a", "b", "c") for i in range(20)))
    write_tree(tmp_path, "test/b/1.jpg", "test/c/2.jpg")
    (folder / "train").mkdir()
    for name in ("b", "c"):
        os.symlink(f"../all/{name}", folder / "train" / name)
    os.symlink("test", folder / "val")
    dataset = load(folder, levels={"class": ""})
    assert len(dataset.splits["train"]) == 40 and sorted(dataset.splits["validation"].ids) == [
        "val/b/1.jpg",
        "val/c/2.jpg",
    ]
    assert "a link" not in str(dataset.left_out)


def test_a_class_called_lock_is_read(tmp_path):
    write_tree(tmp_path, "Security/lock/1.jpg", "run/lock")
    assert [path for path, error in walk(str(tmp_path)) if not error] == ["Security/lock/1.jpg"]


def test_a_folder_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match="which you may not read: change its permissions"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("names", "data", "sentence"),
    [
        (ONE_LEVEL, {}, r"such as boots/0\.jpg \(in 1 .*: for 1 level .* --config\.data\.levels=\"\{'class': ''\}\""),
        (
            [f"train/{x}" for x in ONE_LEVEL] + ["val/boots/1.jpg"],
            {},
            r"for 1 level of classes set --config",
        ),
        (["1.jpg", "2.jpg"], {}, "put each into a folder named by its class, or set data.source to csv"),
        ([f"x/{x}" for x in TWO_LEVELS], {}, r"for 3 levels set .*'main': '', 'sub': '', 'type': ''"),
        (["notes.txt"], {}, "There are no images below"),
        ([*ONE_LEVEL, "x/y/z/1.jpg"], {}, "folders of splits may be named in data.splits"),
        ([*ONE_LEVEL, "hats/1.jpg"], {"taxonomy": YAML}, r"The folder 'hats' is no class of .*classes\.yaml"),
        (ONE_LEVEL, {"taxonomy": YAML + "Bags: [bag]"}, r"class 'Bags' of .*classes\.yaml has no training images"),
        (ONE_LEVEL, {"taxonomy": YAML + "Bags: [dress]"}, r"'dress' could be Apparel/dress or Bags/dress"),
    ],
    ids=[
        "one level",
        "one level in splits",
        "no folders",
        "three levels",
        "nothing",
        "several depths",
        "a folder of no class",
        "a class without a folder",
        "a class of two parents",
    ],
)
def test_folders_that_do_not_fit_are_one_sentence(tmp_path, names, data, sentence):
    folder = write_tree(tmp_path / "data", *names)
    if "taxonomy" in data:
        data = {"taxonomy": yaml_file(tmp_path, data["taxonomy"])}
    with pytest.raises(UserError, match=sentence):
        load(folder, **data)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"data\.path is .*nowhere', which is not a folder or a zip"):
        check_paths(data_fields(config_of(tmp_path / "nowhere")))


def test_composed_and_decomposed_names_of_splits_and_inputs(tmp_path):
    composed, decomposed = "Pr\u00fcfung", "Pru\u0308fung"
    folder = write_tree(tmp_path / decomposed, *in_splits(a="train", b=decomposed))
    dataset = load(tmp_path / composed, splits={"train": "train", "validation": composed})
    assert count(dataset) == {"train": 30, "validation": 30} and all(
        image_id.startswith(composed) for image_id in dataset.splits["validation"].ids
    )
    assert [x.file for x in Inputs([str(tmp_path / composed)], "")] == [x.file for x in Inputs([str(folder)], "")]


def test_composed_and_decomposed_accents_are_the_same_class(tmp_path):
    folder = write_tree(tmp_path / "data", *(f"Ro\u0308cke/{i}.jpg" for i in range(10)))
    dataset = load(folder, taxonomy=yaml_file(tmp_path, "Damen: [R\u00f6cke]"))
    assert dataset.taxonomy.classes["sub"] == ("Damen/R\u00f6cke",) and count(dataset) == {"train": 8, "validation": 2}


def test_a_zip_is_as_its_folder(tmp_path):
    folder = write_tree(tmp_path / "shop", *in_splits(a="train", b="validation"))
    with zipfile.ZipFile(tmp_path / "shop.zip", "w") as file:
        for name in in_splits(a="train", b="validation"):
            file.writestr(f"shop/{name}", smallest_image(name))
    expected = load(folder)
    found = load(tmp_path / "shop.zip", cache_dir=str(tmp_path / "cache"))
    assert found.summary(8) == expected.summary(8)
    assert [list(split.ids) for split in found.splits.values()] == [list(s.ids) for s in expected.splits.values()]


def test_the_only_class_at_the_top_of_a_zip_is_told_the_way_out(tmp_path):
    """A single folder at the top of a zip is taken for one that holds the classes, as where a folder was packed."""
    names = [f"Apparel/{sub}/{i}.jpg" for sub in ("Topwear", "Dress") for i in range(10)]
    folder = write_tree(tmp_path / "shop", *names)
    assert list(load(folder).taxonomy.classes["main"]) == ["Apparel"]
    archive = shutil.make_archive(str(tmp_path / "shop"), "zip", folder)
    with pytest.raises(UserError, match="or, if 'Apparel', the top folder of the zip, is a class too, unpack it and"):
        load(Path(archive), cache_dir=str(tmp_path / "cache"))


def test_evaluation_gets_the_split_of_training_where_an_image_lies_outside_of_the_classes(tmp_path):
    folder = write_tree(tmp_path, *TWO_LEVELS, "Apparel/stray.jpg", "Tops/another.jpg")
    config = config_of(folder, max_bad_fraction=0.1)
    dataset = load_dataset(config)
    for name, split in dataset.splits.items():
        assert list(load_split(config, dataset.taxonomy, name).ids) == list(split.ids)


def test_another_folder_is_labelled_by_a_run_s_classes(tmp_path):
    """Evaluating with --split all reads MAIN/SUB or CLASS folders; classes that the run does not know are unknown."""
    taxonomy = load(write_tree(tmp_path / "a", *TWO_LEVELS)).taxonomy
    by_path = ["Apparel/Tops/1.jpg", "Shoes/Boots/2.jpg", "Toys/Dolls/3.jpg"]
    by_class = ["Boots/2.jpg", "Dolls/3.jpg", "Tops/1.jpg"]
    for names, labels in ((by_path, [1, 2, -1]), (by_class, [2, -1, 1])):
        split = load_split(config_of(write_tree(tmp_path / names[0][:4], *names)), taxonomy, ALL)
        assert (list(split.ids), split.labels["sub"].tolist()) == (names, labels)


def test_clothing_s_own_taxonomy_has_its_classes(tmp_path):
    config = clothing.get_config()
    names = ("dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt")
    write_tree(
        tmp_path, *(f"{top}/{name}/{i}.jpg" for top in ("train", "validation") for name in names for i in range(7))
    )
    config.data.path = str(tmp_path)
    taxonomy = load_dataset(config).taxonomy
    assert taxonomy.classes["main"] == ("Accessories", "Lower body", "Upper body", "Whole body")
    assert len(taxonomy.classes["sub"]) == 10


def test_no_file_is_asked_for_when_folders_are_listed(tmp_path, monkeypatch):
    """A system call for each of a million files on a network would take minutes."""
    folder = write_tree(tmp_path, *TWO_LEVELS)
    expected, isdir = list(walk(str(folder))), os.path.isdir
    monkeypatch.setattr(walk_module.os, "stat", lambda *_, **__: pytest.fail("a file is asked for"))
    monkeypatch.setattr(
        walk_module.os.path, "isdir", lambda path: isdir(path) if path == str(folder) else pytest.fail()
    )
    assert list(walk(str(folder))) == expected and len(expected) == 30

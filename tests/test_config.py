"""Loading, overriding and checking the config."""

import ast
import functools
import json
import math
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
from ml_collections import ConfigDict

from configs import default
from fashion_jax.config import fields as config_checks
from fashion_jax.config.combinations import best_metric
from fashion_jax.config.files import config_names
from fashion_jax.config.loading import (
    check_config,
    config_to_json,
    flatten,
    get_config,
    load_config,
    load_export_config,
    load_run_config,
    read_config,
)
from fashion_jax.errors import UserError

ROOT = Path(__file__).parent.parent
OVERLAYS = sorted(path for path in (ROOT / "configs").glob("*.py") if path.name != "__init__.py")
MTL = str(ROOT / "configs" / "mtl.py")

NO_INTEGERS = (math.nan, math.inf, 1.0, True, "1", None, [], -1)
NO_NUMBERS = (math.nan, math.inf, -math.inf, -0.1, True, "0.1", None, [])
NO_LEVEL_TABLES = ("main", 3, None, ["main"], {"a b": "x"}, {3: "x"}, {"main": None})
WRONG = {
    "seed": (*NO_INTEGERS, 2**32),
    "time_limit": ("30", "0m", "m", "30 minutes", "-5m", "1.5h", "5m1h", 30, None),
    "image_size": (*NO_INTEGERS, 31, (31, 64), (64,), (64, 64, 3), (64, 64.0), (64, True)),
    "batch_size": (*NO_INTEGERS, 0, 1),
    "num_epochs": (*NO_INTEGERS, 0),
    "learning_rate": (*NO_NUMBERS, 0, 0.0),
    "learning_rate_batch_size": (*NO_INTEGERS, -1),
    "watchdog_minutes": (*NO_NUMBERS, -1),
    "momentum": (*NO_NUMBERS, 1.1),
    "weight_decay": NO_NUMBERS,
    "optimizer": ("adam", "SGD", None, 1),
    "adam_beta2": (*NO_NUMBERS, 1, 1.0),
    "no_decay": (1, "true", None),
    "schedule": ("step", "Cosine", "", None, 1, []),
    "schedule_per": ("batch", None, True),
    "warmup_epochs": NO_NUMBERS,
    "learning_rate_factors": (None, [], "trunk", {"(": 0.1}, {"": 0.1}, {3: 0.1}, {"trunk": -1}, {"trunk": "0"}),
    "layer_decay": (*NO_NUMBERS, 0, 1.1),
    "average": (*NO_NUMBERS, 1, 1.0),
    "early_stopping": (
        None,
        3,
        {"patience": 3},
        {"metric": 3, "patience": 3},
        {"metric": "validation/loss", "patience": 0},
    ),
    "label_smoothing": (*NO_LEVEL_TABLES, {"main": -0.1}, {"main": 1.0}),
    "learning_rate_decay": (*NO_NUMBERS, 0, 1.1),
    "loss_weights": (*NO_LEVEL_TABLES, {"main": -1}, {"main": math.nan}, {"main": True}),
    "batch_norm": ("none", None, 1),
    "batch_norm_group_size": (*NO_INTEGERS, 1),
    "dtype": ("float16", "int8", None),
    "clip_gradient_norm": NO_NUMBERS,
    "deterministic": (1, 0, "true", None),
    "on_nonfinite": ("ignore", None),
    "accumulate": (*NO_INTEGERS, 0),
    "steps_per_dispatch": (*NO_INTEGERS, 0),
    "remat": ("all", True, None),
    "nonfinite.max_in_a_row": (*NO_INTEGERS, 0),
    "nonfinite.learning_rate_factor": (*NO_NUMBERS, 0, 1.1),
    "nonfinite.max_rollbacks": (*NO_INTEGERS, 0),
    "augment": ("weak", True, None),
    "progressive.epochs": NO_INTEGERS,
    "progressive.image_size": (0, 31, 64.0, "64", [48], [48, 16], None),
    "eval_flip": (1, 0, "true", None),
    "rare_classes.weights": (*NO_LEVEL_TABLES, {"sub": "rare"}),
    "rare_classes.beta": (*NO_NUMBERS, 1, 1.0),
    "rare_classes.loss": (*NO_LEVEL_TABLES, {"sub": "focal"}),
    "rare_classes.tau": NO_NUMBERS,
    "rare_classes.post_hoc": (*NO_LEVEL_TABLES, {"sub": -1}, {"sub": "1"}),
    "rare_classes.draw": (*NO_LEVEL_TABLES, {"sub": True}),
    "model.name": ("resnet", None, 34),
    "model.fusion": ("sum", None, True),
    "model.init_heads_from": (None, 3, []),
    "model.init_from": (None, [], "runs/mtl", {"hybrid": "runs/mtl"}, {"vgg16": ""}, {"vgg16": 3}, {3: "runs/mtl"}),
    "model.normalization": (
        None,
        [],
        {"hybrid": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}},
        {"vgg16": "imagenet"},
        {"vgg16": {"mean": [0.5, 0.5, 0.5]}},
        {"vgg16": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2]}},
        {"vgg16": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.0]}},
        {"vgg16": {"mean": [123.7, 116.8, 103.9], "std": [1.0, 1.0, 1.0]}},
        {"vgg16": {"mean": [0.5, math.nan, "0.5"], "std": [0.2, 0.2, 0.2]}},
    ),
    "model.frozen": (None, "vgg16", {}, ["hybrid"], [3], ["vgg16", "vgg16"]),
    "model.condition_on_parent": (1, "true", None),
    "model.heads": (*NO_LEVEL_TABLES, {"main": "big"}),
    "checkpoint.every_steps": (*NO_INTEGERS, 0),
    "checkpoint.keep": (*NO_INTEGERS, 0),
    "checkpoint.best": (None, 1, "validation/main/f1", "train/loss"),
    "data.source": ("web", None),
    "data.path": (None, 3, "gs://bucket/photos", ["a"], "a\0", "a\udcff"),
    "data.csv": (None, 3),
    "data.tfds": (None, 3),
    "data.image": (
        None,
        3,
        "",
        "a.jpg",
        "{}.jpg",
        "{id.jpg",
        "id}.jpg",
        "*/{id}.jpg",
        "{a*}.jpg",
        [],
        ["a.jpg"],
        ["{id}.jpg", 3],
    ),
    "data.levels": (
        *NO_LEVEL_TABLES,
        {},
        {"main": 3},
        {"path": "p"},
        {"main": "m", "main_probability": "p"},
        {"main": "m", "main_name": "p"},
    ),
    "data.taxonomy": (None, 3),
    "data.splits": (
        None,
        3,
        "",
        ["a"],
        {},
        {"train": 0.5},
        {"train": 0.8, "validation": 0.3},
        {"train": 1, "validation": 0},
        *(
            {"train": 0.8, "validation": "a.txt"},
            {"train": math.nan, "validation": 0.1},
            {"train": "", "validation": "v"},
        ),
        {"train": 0.5, "validation": 0.2, 3: 0.1},
    ),
    "data.folds": (*NO_INTEGERS, 1),
    "data.fold": NO_INTEGERS,
    "data.group_column": (None, 3),
    "data.min_images_per_class": (*NO_INTEGERS, 0),
    "data.rare_classes": ("keep", None, True),
    "data.max_bad_fraction": (*NO_NUMBERS, 1.1),
    "data.drop_leaks": (None, 1, "yes"),
    "data.resize": ("pad", None),
    "data.canvas_size": (math.nan, True, 1.0, "0", 16, -1, (0, 0)),
    "data.cache": ("disk", True),
    "data.cache_dir": (None, 3),
    "data.catalogue.num_images": (*NO_INTEGERS, 0),
    "data.catalogue.seed": NO_INTEGERS,
    "data.catalogue.label_noise": (-0.1, 1.1, math.nan, "0.1", True),
    "log_every_steps": (*NO_INTEGERS, 0),
}


def with_value(field: str, value: object) -> ConfigDict:
    config = default.get_config()
    *sections, name = field.split(".")
    node = config
    for section in sections:
        node = node[section]
    with node.unlocked():
        del node[name]  # otherwise ConfigDict turns True into 1.0 where the default is 0.1
        node[name] = value
    return config


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.stem)
def test_every_overlay_is_good_and_survives_json(path):
    config = load_config(str(path))
    again = read_config(config_to_json(config), "config.json")
    assert flatten(again) == flatten(config)
    assert set(flatten(config)) == set(config_checks.CHECKS)
    assert list(again.data.levels) == list(config.data.levels)


def test_json_keeps_the_order_of_levels_and_the_numbers_to_the_last_bit():
    config = with_value("data.levels", {"z": "Z", "a": "A", "m": "M"})
    config.learning_rate, config.image_size = 0.1 + 0.2, (64, 96)
    again = read_config(config_to_json(config), "config.json")
    assert list(again.data.levels) == ["z", "a", "m"]
    assert again.learning_rate == config.learning_rate
    assert list(again.image_size) == [64, 96]


def test_the_config_of_an_earlier_version_has_what_that_version_did():
    now = flatten(default.get_config())
    assert {field: now[field] for field in config_checks.ADDED} == config_checks.ADDED, "the defaults, so far"
    tree = json.loads(config_to_json(default.get_config()))
    for field in config_checks.ADDED:
        *sections, name = field.split(".")
        functools.reduce(dict.__getitem__, sections, tree).pop(name)
    old = read_config(json.dumps(tree), "config.json")
    assert flatten(old) == now
    old.model.init_from["vgg16"] = "x"
    assert config_checks.ADDED["model.init_from"] == {}, "each config has its own"


def test_configs_that_earlier_commits_recorded_are_still_read():
    """A new field that is not in ADDED would stop their runs from going on, and from being used."""
    files = [*(ROOT / "benchmarks" / "results").glob("*.json")]
    results = [(path, json.loads(path.read_text())) for path in files]
    configs = [(path, result["config"]) for path, result in results if isinstance(result, dict) and "config" in result]
    configs = [(path, tree) for path, tree in configs if isinstance(tree, dict)]
    assert len({"time_limit" in tree for _, tree in configs}) == 2, "of commits before and after a field was added"
    for path, tree in configs:
        read_config(json.dumps(tree), str(path))


def test_every_field_has_values_to_be_refused():
    assert set(WRONG) == set(config_checks.CHECKS)


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values])
def test_a_wrong_value_is_refused_by_field_and_value(field, value):
    with pytest.raises(UserError) as refused:
        check_config(with_value(field, value))
    shown = list(value) if isinstance(value, tuple) else value
    sentence = str(refused.value)
    assert sentence.startswith(f"{field} is {shown!r}, but must be ")
    assert "\n" not in sentence and sentence.endswith(".")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_size", (32, 48)),
        ("image_size", [64, 64]),
        ("momentum", 0),
        ("momentum", 1),
        ("weight_decay", 0),
        ("data.canvas_size", 80),
        ("data.canvas_size", (64, 70)),
        ("seed", 2**32 - 1),
        ("learning_rate", 1),
        ("data.splits", "split"),
        ("data.splits", {"train": "a.txt", "validation": "b.txt", "test": "c.txt"}),
        ("data.splits", {"train": 0.5, "validation": 0.2}),
        ("data.image", "{folder name}/{id}.png"),
        ("data.image", ["a/{id}_*.png", "b/{id}.jpg"]),
        ("checkpoint.best", "validation/main/loss"),
        ("loss_weights", {"main": 0, "sub": 2.5}),
        ("model.heads", {"sub": "linear"}),
        ("data.max_bad_fraction", 0),
        ("eval_flip", True),
        ("model.init_from", {"resnet34": "runs/mtl"}),
        ("model.normalization", {"resnet34": {"mean": (0, 0.5, 1), "std": [0.1, 1, 1 / 255]}}),
        ("model.condition_on_parent", True),
        ("rare_classes.draw", {"main": "square_root"}),
        ("rare_classes.post_hoc", {"main": 0, "sub": 1.5}),
    ],
)
def test_a_good_value_passes(field, value):
    check_config(with_value(field, value))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"model.heads": {"color": "sub"}},
            "model.heads names the level 'color', but data.levels has only main, sub: take it out",
        ),
        ({"loss_weights": {"color": 1}}, "loss_weights names the level 'color'"),
        ({"model.heads": {"main": "main"}}, "model.heads must have the finest level, 'sub'"),
        ({"model.heads": {"sub": "sub"}, "loss_weights": {"main": 1}}, "model.heads gives it no head"),
        ({"loss_weights": {"main": 0, "sub": 0}}, "trains nothing"),
        ({"model.heads": {"sub": "sub"}, "loss_weights": {"sub": 0.0}}, "trains nothing"),
        ({"rare_classes.weights": {"color": "inverse"}}, "rare_classes.weights names the level 'color'"),
        ({"rare_classes.draw": {"color": "square_root"}}, "rare_classes.draw names the level 'color'"),
        (
            {"model.heads": {"sub": "sub"}, "rare_classes.loss": {"main": "balanced_softmax"}},
            "rare_classes.loss has 'main', but model.heads gives it no head",
        ),
        (
            {"rare_classes.loss": {"sub": "balanced_softmax"}, "rare_classes.weights": {"sub": "inverse"}},
            "rare_classes.loss and rare_classes.weights both have 'sub'",
        ),
        (
            {"rare_classes.loss": {"sub": "balanced_softmax"}, "rare_classes.post_hoc": {"sub": 1}},
            "rare_classes.loss and rare_classes.post_hoc both have 'sub'",
        ),
        (
            {"rare_classes.draw": {"main": "square_root", "sub": "square_root"}},
            "rare_classes.draw has main, sub, but images are drawn by one level",
        ),
        (
            {"rare_classes.draw": {"main": "square_root"}, "rare_classes.weights": {"sub": "inverse"}},
            "rare_classes.draw and rare_classes.weights would favor rare classes twice",
        ),
        ({"data.canvas_size": 48}, r"data.canvas_size is \[48, 48\], .* image_size, \[64, 64\]"),
        ({"batch_norm": "group", "batch_size": 40}, "batch_size is 40, .* batch_norm_group_size, 32"),
        ({"accumulate": 3}, "accumulate is 3, but batch_size, 64, must be a multiple of it"),
        ({"accumulate": 64}, "a part a multiple of 2 images"),
        ({"accumulate": 4, "batch_norm": "group"}, "a part a multiple of 32 images"),
        ({"remat": "blocks", "model.name": "vgg16_bn"}, "remat is 'blocks', but vgg16_bn has none"),
        (
            {"model.init_from": {"vgg16": "x"}},
            "model.init_from has 'vgg16', but the model 'resnet34' is made of resnet34:",
        ),
        (
            {"model.name": "hybrid", "model.init_from": {"resnet18": "x"}},
            "model.init_from has 'resnet18', .* made of resnet34 and vgg16",
        ),
        (
            {"model.normalization": {"vgg16": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}}},
            "model.normalization has 'vgg16', but the model 'resnet34' is made of resnet34:",
        ),
        ({"model.frozen": ["vgg16"]}, "model.frozen has 'vgg16', but the model 'resnet34'"),
        ({"model.frozen": ["resnet34"]}, r"would stay as it was drawn: name the run .* model\.init_from\.resnet34\."),
        (
            {"model.condition_on_parent": True, "model.heads": {"sub": "sub"}},
            "model.condition_on_parent is True, but model.heads gives 'main' no head",
        ),
        (
            {"model.condition_on_parent": True, "data.levels": {"sub": "s"}},
            "'sub', the only level, has no parent: set it to False",
        ),
        ({"data.source": "csv"}, "data.path is empty"),
        ({"data.source": "folder"}, "data.path is empty"),
        ({"data.source": "folder", "data.path": "x", "data.splits": "fold"}, "data.splits is 'fold', .* no columns"),
        (
            {"data.source": "folder", "data.path": "x", "data.group_column": "sku"},
            "data.group_column is 'sku', .* no col",
        ),
        ({"data.fold": 1}, "data.fold is 1, but data.folds is 0: set data.folds to the number of parts"),
        ({"data.folds": 3, "data.fold": 3}, "data.fold is 3, but must be below data.folds, 3"),
        (
            {"data.source": "csv", "data.path": "x", "data.splits": "fold", "data.folds": 3},
            "data.folds is 3, but data.splits is 'fold': set it to fractions",
        ),
        ({"data.rare_classes": "merge", "data.taxonomy": "t.json"}, "data.rare_classes is 'merge', but data.taxonomy"),
        ({"data.rare_classes": "merge"}, "data.rare_classes is 'merge', but with data.min_images_per_class = 1 no"),
        (
            {"data.drop_leaks": True, "data.source": "tfds", "data.tfds": "x"},
            "data.drop_leaks is True, but the records",
        ),
        ({"model.fusion": "gated"}, "model.fusion is 'gated', but model.name is 'resnet34'"),
        ({"learning_rate_decay": 0.5}, "learning_rate_decay is 0.5, but schedule is cosine"),
        ({"rare_classes.tau": 0.5}, "rare_classes.tau is 0.5, but no level"),
        ({"adam_beta2": 0.95}, "adam_beta2 is 0.95, but optimizer is sgd"),
        ({"progressive.epochs": 8}, "progressive.epochs is 8, but must be below num_epochs, 8"),
        (
            {"progressive.epochs": 1, "progressive.image_size": [48, 80]},
            r"progressive.image_size is \[48, 80\], .* smaller than image_size, 64",
        ),
        (
            {"progressive.epochs": 1, "progressive.image_size": 64},
            "progressive.image_size is 64, .* smaller than image_si",
        ),
        ({"progressive.image_size": 48}, "progressive.image_size is 48, but no epoch has it"),
        (
            {"progressive.epochs": 1, "time_limit": "5m"},
            "progressive.epochs is 1, but time_limit chooses one image size",
        ),
        ({"warmup_epochs": 8.0}, "warmup_epochs is 8, but must be below num_epochs, 8"),
        ({"warmup_epochs": 0.5}, "warmup_epochs is 0.5, but schedule_per is epoch"),
        ({"label_smoothing": {"brand": 0.1}}, "label_smoothing names the level 'brand'"),
        (
            {"early_stopping": {"metric": "sub/accuracy", "patience": 2}},
            "early_stopping.metric is 'sub/accuracy', but must be one of validation/loss",
        ),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(changes, sentence):
    config = default.get_config()
    for field, value in changes.items():
        section, _, name = field.rpartition(".")
        (config[section] if section else config)[name] = value
    with pytest.raises(UserError, match=sentence):
        check_config(config)


def test_a_table_given_as_a_configdict_would_lose_its_order():
    with pytest.raises(UserError, match=r"data\.levels is a ConfigDict, but must be a plain dict"):
        check_config(with_value("data.levels", ConfigDict({"sub": "s", "main": "m"})))


@pytest.mark.parametrize(
    ("field", "close"),
    [("learing_rate", "learning_rate"), ("data.level", "data.levels"), ("lr", "learning_rate"), ("zzz", "")],
)
def test_an_unknown_field_of_the_command_line_is_told_the_close_one(field, close):
    with pytest.raises(UserError) as refused:
        load_config(MTL, [(field, "1")])
    assert repr(field) in str(refused.value)
    assert (f"did you mean --config.{close}" if close else "configs/default.py") in str(refused.value)


def test_an_unknown_field_of_a_file_is_told_the_close_one(tmp_path):
    path = tmp_path / "mine.py"
    lines = ["from configs import default", "def get_config():", "    config = default.get_config()"]
    path.write_text("\n".join([*lines, "    config.learing_rate = 0.1", "    return config"]))
    with pytest.raises(UserError, match=r"no field 'learing_rate'; did you mean learning_rate\?"):
        load_config(str(path))


def test_a_field_that_a_file_has_added_cannot_be_set(tmp_path):
    path = tmp_path / "mine.py"
    lines = ["from ml_collections import ConfigDict", "from configs import default", "def get_config():"]
    path.write_text("\n".join([*lines, "    return ConfigDict(default.get_config().to_dict() | {'mine': 'x'})"]))
    with pytest.raises(UserError, match="no field 'mine'"):
        load_config(str(path), [("mine", "3")])


def test_unknown_and_lacking_fields_of_ones_own_config_are_refused():
    config = ConfigDict({"seed": 0})
    with pytest.raises(UserError, match="The config lacks time_limit"):
        check_config(config)
    with pytest.raises(UserError, match=r"no field 'sed'.*did you mean seed"):
        check_config(ConfigDict({"sed": 0}))
    with pytest.raises(UserError, match="data is 3, but must be a section"):
        check_config(with_value("data", 3))


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("learning_rate", "1e-3", 1e-3),
        ("image_size", "(64, 96)", [64, 96]),
        ("data.path", "2024", "2024"),
        ("data.path", "['a']", "['a']"),
        ("data.image", "images/{id}_*.jpg", "images/{id}_*.jpg"),
        ("data.image", "['{id}_front.jpg', '{id}_back.jpg']", ["{id}_front.jpg", "{id}_back.jpg"]),
        ("data.splits", "fold", "fold"),
        ("data.splits.validation", "0.1", {"train": 0.8, "validation": 0.1}),
        ("data.levels.type", "articleType", {"main": "masterCategory", "sub": "subCategory", "type": "articleType"}),
        ("model.heads", "{'sub': 'linear'}", {"sub": "linear"}),
    ],
)
def test_overrides_take_the_type_of_their_field(field, text, value):
    name = "data.splits" if field == "data.splits.validation" else field.removesuffix(".type")
    files = [("data.source", "csv"), ("data.path", "shop")]
    assert flatten(load_config(MTL, [*files, (field, text)]))[name] == value


def test_the_default_splits_are_those_of_the_default_config():
    assert default.get_config().data.splits == config_checks.DEFAULT_SPLITS


@pytest.mark.parametrize("field", ["data.path", "data.csv", "data.image", "data.tfds", "data.group_column"])
def test_files_that_the_catalogue_would_not_read_are_refused(field):
    sentence = rf"{field} is '{{id}}\.jpg', but data\.source is catalogue, .*: set data\.source to csv, folder or tfds"
    with pytest.raises(UserError, match=sentence):
        load_config(MTL, [("data.source", "catalogue"), (field, "{id}.jpg")])


@pytest.mark.parametrize(
    "overrides",
    [
        [("data.splits.train", "train.txt"), ("data.splits.validation", "val.txt")],
        [("data.splits", "{'train': 'train.txt', 'validation': 'val.txt'}")],
        [("data.splits", "split")],
    ],
)
def test_splits_that_the_catalogue_would_not_read_are_refused(overrides):
    with pytest.raises(UserError, match=rf"{overrides[0][0]} is .*, but data\.source is catalogue, which is drawn and"):
        load_config(MTL, overrides)
    assert load_config(str(ROOT / "configs" / "product_images.py"), [("data.source", "catalogue")])  # of the overlay
    assert load_config(MTL, [("data.splits.train", "0.7")]).data.splits == {"train": 0.7, "validation": 0.2}


@pytest.mark.parametrize(
    ("source", "field", "text", "way_out"),
    [
        ("csv", "data.catalogue.label_noise", "0.2", "catalogue"),
        ("folder", "data.catalogue.num_images", "100", "catalogue"),
        ("folder", "data.csv", "labels.csv", "csv"),
        ("folder", "data.image", "{id}.jpg", "csv"),
        ("csv", "data.tfds", "fashion_mnist", "tfds"),
    ],
)
def test_fields_that_another_source_reads_are_refused_unless_a_file_sets_them(source, field, text, way_out, tmp_path):
    data = [("data.source", source), ("data.path", "shop")]
    with pytest.raises(UserError) as refused:
        load_config(MTL, [*data, (field, text)])
    assert str(refused.value) == (
        f"{field} is {text!r}, but data.source is {source}, which does not read it: take it out, or set data.source to "
        f"{way_out}."
    )
    lines = ["from configs import default", "", "", "def get_config():", "    config = default.get_config()"]
    lines += [f"    config.{field} = {text if way_out == 'catalogue' else repr(text)}", "    return config"]
    (tmp_path / "mine.py").write_text("\n".join(lines))
    assert load_config(str(tmp_path / "mine.py"), data).data.source == source
    prepared = [("data.source", "tfds"), ("data.path", "set")]  # with the config by which it was prepared
    assert load_config(MTL, [*prepared, (field, text)]).data.source == "tfds"


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("momentum", "True"),
        ("learning_rate", "(" * 1000),
        ("loss_weights", "{['a']: 1}"),
        ("data", "3"),
        ("seed.x", "3"),
        ("", "3"),
    ],
)
def test_overrides_that_make_no_sense_are_refused(field, text):
    with pytest.raises(UserError):
        load_config(MTL, [(field, text)])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("def get_config(:", "fails: SyntaxError"),
        ("x = 1", "has no attribute 'get_config'"),
        ("raise SystemExit(3)", "fails: SystemExit: 3"),
        ("def get_config(): return {}", "returns dict, not a ConfigDict"),
        ("\0", "fails: "),
    ],
)
def test_a_config_file_that_fails_is_named(tmp_path, text, sentence):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence) as refused:
        load_config(str(path))
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    "name", ["", "nothing.py", "x" * 5000 + ".py", "\0.py", str(ROOT / "configs"), str(ROOT / "LICENSE")]
)
def test_what_is_no_config_file_is_refused(name):
    with pytest.raises(UserError, match="is not a config file"):
        load_config(name)


@pytest.mark.parametrize("name", ["mtl", "smoke", "clothing", "fashion_mnist"])
def test_the_projects_configs_are_found_by_name_in_any_directory(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert load_config(name).to_dict() == load_config(str(ROOT / "configs" / f"{name}.py")).to_dict()
    assert name in config_names() and "__init__" not in config_names()


@pytest.mark.parametrize("name", ["mlt", "mlt.py", "configs/mtl.py", "nowhere/mtl"])
def test_an_unknown_config_is_told_the_close_one(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"did you mean mtl\?.*smoke"):
        load_config(name)


def test_configs_is_the_projects_only_while_a_config_file_runs(monkeypatch, tmp_path):
    """A user's package of that name neither hides it nor is hidden by it."""
    theirs = ModuleType("configs")
    monkeypatch.setitem(sys.modules, "configs", theirs)
    monkeypatch.delitem(sys.modules, "configs.default", raising=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "base.py").write_text("SEED = 7")
    (tmp_path / "mine" / "one.py").write_text(
        "from configs import default\nfrom mine import base\n"
        "def get_config():\n    config = default.get_config()\n    config.seed = base.SEED\n    return config"
    )
    searched = list(sys.path)
    assert load_config(str(tmp_path / "mine" / "one.py")).seed == 7
    assert sys.modules["configs"] is theirs and "configs.default" not in sys.modules and sys.path == searched
    monkeypatch.delitem(sys.modules, "mine.base")
    monkeypatch.delitem(sys.modules, "mine")


def test_a_folder_of_configs_with_a_default_of_its_own_is_used(tmp_path):
    (tmp_path / "configs").mkdir()
    for name in ("__init__", "default", "mtl"):
        shutil.copy(ROOT / "configs" / f"{name}.py", tmp_path / "configs")
    file = tmp_path / "configs" / "default.py"
    file.write_text(file.read_text().replace("config.seed = 0", "config.seed = 11"))
    assert load_config(str(tmp_path / "configs" / "mtl.py")).seed == 11
    assert load_config("mtl").seed == 0


def test_a_config_in_python_takes_values():
    levels = {"main": "category", "sub": "subcategory"}
    fields = {"data.source": "folder", "data.path": Path("photos"), "data.levels": levels, "data.splits.train": 0.7}
    config = get_config("mtl", num_epochs=3, learning_rate=1, **fields)
    assert (config.num_epochs, config.learning_rate, config.data.path) == (3, 1, "photos")
    assert config.data.levels == levels and config.data.levels is not levels and config.data.splits["train"] == 0.7
    assert get_config().to_dict() == default.get_config().to_dict()
    assert get_config(ROOT / "configs" / "smoke.py").model.name == "resnet10"


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("mlt", {}, "did you mean mtl?"),
        ("mtl", {"lr": 0.1}, "did you mean learning_rate?"),
        ("mtl", {"data.level": {}}, "did you mean data.levels?"),
        ("mtl", {"num_epochs": "3"}, "num_epochs is '3', but must be a whole number"),
        ("mtl", {"eval_flip": "true"}, "eval_flip is 'true'"),
        ("mtl", {"data": {}}, "data is a section"),
        ("mtl", {"data.csv": "photos.csv"}, "set data.source to"),
    ],
)
def test_a_wrong_config_in_python_is_told(name, fields, said):
    with pytest.raises(UserError) as refused:
        get_config(name, **fields)
    assert said in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"seed": 0}', '{"data": 3}', '{"seed": NaN}'])
def test_a_damaged_config_json_is_refused(text):
    with pytest.raises(UserError, match=r"^config\.json (is not the config of a run|does not suit this version)"):
        read_config(text, "config.json")


def test_what_a_file_and_the_overrides_make_together_is_checked():
    with pytest.raises(UserError, match=r"data\.canvas_size is \[48, 48\]"):
        load_config(MTL, [("data.canvas_size", "48")])


def test_reading_a_config_executes_nothing():
    tree = json.loads(config_to_json(default.get_config()))
    tree["data"]["path"] = "__import__('os').abort()"
    assert read_config(json.dumps(tree), "config.json").data.path == tree["data"]["path"]


def test_the_folder_of_the_cache_is_taken_from_no_config_json(tmp_path):
    """Compiled programs are loaded from it: only flags and config files may name it."""
    (tmp_path / "config.json").write_text(config_to_json(with_value("data.cache_dir", "/planted")))
    mine = [("data.cache_dir", "/mine")]
    for read in (
        lambda *more: load_run_config(tmp_path / "config.json", *more),
        lambda *more: load_export_config(tmp_path / "config.json", *more),
        lambda *more: load_config(f"{tmp_path}/config.json", *more),
    ):
        assert read().data.cache_dir == ""
        assert read(mine).data.cache_dir == "/mine"


def test_training_checks_a_config_made_by_hand(tmp_path):
    from fashion_jax.training.train import train_and_evaluate

    with pytest.raises(UserError, match="learning_rate is nan"):
        train_and_evaluate(with_value("learning_rate", math.nan), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_best_metric_is_macro_f1_of_the_finest_level_unless_the_config_names_another():
    assert best_metric(with_value("data.levels", {"a": "x", "b": "y", "c": "z"})) == "validation/c/macro_f1"
    assert best_metric(with_value("checkpoint.best", "validation/main/loss")) == "validation/main/loss"


@pytest.mark.parametrize(
    "name", ["config/loading", "config/data_source", "config/fields", "config/combinations", "errors", "json_text"]
)
def test_the_config_imports_neither_jax_nor_tensorflow(name):
    tree = ast.parse((ROOT / "fashion_jax" / f"{name}.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {module.split(".")[0] for module in imported} & {"jax", "tensorflow", "flax", "orbax", "clu"}


@pytest.mark.parametrize(
    ("files", "overrides", "source"),
    [
        (["styles.csv", "images/1.jpg"], [], "csv"),
        (["products.csv", "images/1.jpg"], [("data.csv", "products.csv")], "csv"),
        (["Shoes/Boots/1.jpg"], [], "folder"),
        (["dataset_info.json"], [], "tfds"),
        (["styles.csv"], [("data.source", "folder")], "folder"),
    ],
)
def test_a_path_alone_says_what_the_source_is(tmp_path, files, overrides, source):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    shutil.make_archive(str(tmp_path.with_suffix("")), "zip", tmp_path)
    for path in (tmp_path, tmp_path.with_suffix(".zip")):
        config = load_config(str(ROOT / "configs" / "mtl.py"), [("data.path", str(path)), *overrides])
        assert config.data.source == source
        assert get_config("mtl", **{"data.path": path}, **dict(overrides)).data.source == source


def test_a_path_in_a_config_file_says_what_the_source_is(tmp_path):
    (tmp_path / "shop" / "Boots").mkdir(parents=True)
    lines = ["from configs import default", "", "", "def get_config():", "    config = default.get_config()"]
    lines += [f"    config.data.path = {str(tmp_path / 'shop')!r}", "    return config"]
    (tmp_path / "mine.py").write_text("\n".join(lines))
    config = load_config(str(tmp_path / "mine.py"), [])
    assert config.data.source == "folder"
    (tmp_path / "config.json").write_text(config_to_json(config).replace('"folder"', '"catalogue"'))
    assert load_config(str(tmp_path / "config.json"), []).data.source == "catalogue"  # a run has what it was trained on

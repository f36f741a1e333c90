"""Prepared directories: the same batches as the source, resumable, the same bytes whatever the workers."""

import dataclasses
import json
import re
import shlex
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fashion_jax.config.fields import literal
from fashion_jax.config.loading import check_config, image_shape, load_config
from fashion_jax.data import preparing as shards
from fashion_jax.data.batches.chosen_images import decode_rows
from fashion_jax.data.batches.pipeline import canvas_shape, eval_batches, open_images
from fashion_jax.data.dataset import load_dataset, load_split
from fashion_jax.data.fields import data_fields
from fashion_jax.data.records.prepared_use import unlike_photos
from fashion_jax.errors import UserError
from fashion_jax.prepare import _follow, main, parse, prepare
from fashion_jax.terminal import Task
from fashion_jax.training.launch import check
from fashion_jax.training.notes import warnings_of
from fashion_jax.training.train import train_and_evaluate
from tests.shop import HEADER, batches_of_steps, products, shop_config, write_image, write_shop, write_table

beam = pytest.importorskip("apache_beam", reason="Apache Beam, the extra prepare, is not installed")

SHAPE = (32, 32)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, catalogue_cache) -> Path:
    """Returns the catalogue of tiny_config, prepared in this process in several shards."""
    config = load_config("configs/smoke.py")
    config.batch_size, config.num_epochs = 16, 2
    config.data.cache_dir, config.data.catalogue.num_images = catalogue_cache, 200
    folder = tmp_path_factory.mktemp("prepared") / "set"
    prepare(config, folder, SHAPE, images_per_shard=50)
    return folder


def on(config, folder: Path):
    """Returns the same config on a prepared directory."""
    config = config.copy_and_resolve_references()
    config.data.source, config.data.path = "tfds", str(folder)
    return config


def said_by_training(config) -> list[str]:
    """Returns the warnings of a training before its first step."""
    data, canvas = data_fields(config), canvas_shape(config, image_shape(config))
    return warnings_of(load_dataset(config), data, config.data.resize, canvas, ["main", "sub"])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("cache", ["none", "host"])
def test_the_batches_are_those_of_the_source(prepared, tiny_config, cache):
    tiny_config.data.cache = cache
    batches = []
    for config in (tiny_config, on(tiny_config, prepared)):
        dataset = load_dataset(config)
        split = dataset.splits["train"]
        batches.append(list(batches_of_steps(split, open_images(split, config, SHAPE), config, 3, 25)))
    for ours, theirs in zip(*batches, strict=True):
        np.testing.assert_array_equal(ours["image"], theirs["image"])
        assert {k: v.tolist() for k, v in ours["labels"].items()} == {
            k: v.tolist() for k, v in theirs["labels"].items()
        }


def test_labels_ids_and_classes_are_those_of_the_source(prepared, tiny_config):
    source, copy = load_dataset(tiny_config), load_dataset(on(tiny_config, prepared))
    assert copy.taxonomy == source.taxonomy
    assert copy.summary(16) == source.summary(16)
    for name, split in source.splits.items():
        assert list(copy.splits[name].ids) == list(split.ids)
        assert Image.open(copy.splits[name].picture(3)).size == SHAPE


@pytest.mark.parametrize("levels", [{"sub": "s"}, {"sub": "s", "main": "m"}, {"main": "m", "sub": "s", "type": "t"}])
def test_other_levels_than_it_was_prepared_with_are_told(prepared, tiny_config, levels):
    tiny_config.data.levels = levels
    with pytest.raises(UserError, match=r"data\.levels is .* was prepared with main, sub: name these, in order"):
        load_dataset(on(tiny_config, prepared))


def test_another_resize_than_it_was_prepared_with_is_refused(prepared, tiny_config, tmp_path):
    """Its pixels stay as they are, but the run's config would tell prediction to decode photos otherwise."""
    config = on(tiny_config, prepared)
    check(config, tmp_path / "run")
    config.data.resize = "letterbox"
    sentence = r"data\.resize is 'letterbox', but .* was prepared with 'stretch'.*: set it to 'stretch'"
    with pytest.raises(UserError, match=sentence):
        check(config, tmp_path / "run")
    with pytest.raises(UserError, match=sentence):
        prepare(config, tmp_path / "again", SHAPE)


def test_a_run_that_was_begun_with_another_resize_goes_on_with_a_warning(prepared, tiny_config, tmp_path):
    config = on(tiny_config, prepared)
    config.data.resize = "letterbox"
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    check(config, tmp_path)
    (warning,) = said_by_training(config)
    assert warning.startswith("data.resize is 'letterbox', but")


def test_a_set_of_an_earlier_version_says_nothing_of_what_it_does_not_know(prepared, tiny_config, tmp_path):
    old = Path(shutil.copytree(prepared, tmp_path / "old"))
    plan = json.loads((old / "prepare.json").read_text())
    del plan["source"]["data"]["resize"], plan["canvas"]
    (old / "prepare.json").write_text(json.dumps(plan))
    config = on(tiny_config, old)
    config.data.resize, config.image_size = "letterbox", 48
    check(config, tmp_path / "run")
    assert said_by_training(config) == []


@pytest.mark.parametrize("fields", [{"image_size": 48}, {"augment": "light"}])
def test_prepared_images_that_are_enlarged_are_told(prepared, tiny_config, fields):
    config = on(tiny_config, prepared)
    assert said_by_training(config) == []
    config.update(fields)
    (warning,) = said_by_training(config)
    assert re.search(r"prepared at 32 × 32 pixels and are enlarged to (48 × 48|40 × 40): .* prepare them anew", warning)


@pytest.mark.parametrize("resize", ["crop", "letterbox"])
def test_prepared_images_that_are_fitted_again_are_told(tmp_path, resize):
    write_shop(tmp_path / "shop", products(30))
    config = shop_config(tmp_path / "shop", resize=resize)
    prepare(config, tmp_path / "set", (64, 48))
    config = on(config, tmp_path / "set")
    for size in ((64, 48), (60, 44)):  # the second differs by rounding alone
        config.image_size = size
        assert said_by_training(config) == []
    config.image_size = 48
    (warning,) = said_by_training(config)
    assert re.search(
        rf"prepared at 64 × 48 pixels with data\.resize '{resize}' and are fitted to 48 × 48 once", warning
    )
    data = data_fields(config)
    assert unlike_photos(data, resize, (48, 48)) == [warning]
    other, again = unlike_photos(data, "stretch", (48, 48))
    assert again == warning  # which names how the set was made
    assert f"'stretch', but {str(tmp_path / 'set')!r} was prepared with {resize!r}" in other
    assert unlike_photos(dataclasses.replace(data, path=""), "stretch", (96, 96)) == []


def test_its_splits_keep_the_groups_it_was_prepared_with(tmp_path):
    rows = [(*row, str(int(row[0]) // 2)) for row in products(60)]
    write_shop(tmp_path / "shop", rows, ("id", "masterCategory", "subCategory", "product"))
    config = shop_config(tmp_path / "shop", group_column="product")
    prepare(config, tmp_path / "set", SHAPE, images_per_shard=50)
    expected = load_dataset(config)
    found = load_dataset(on(config, tmp_path / "set"))
    assert [list(split.ids) for split in found.splits.values()] == [list(s.ids) for s in expected.splits.values()]
    expected_splits, config.data.folds = config.data.splits, 2
    with pytest.raises(UserError, match=r"group_column is 'product', .* no columns: set data\.splits to .*folds to 0"):
        load_dataset(on(config, tmp_path / "set"))
    config.data.folds, config.data.group_column = 0, ""
    check(on(config, tmp_path / "set"), tmp_path / "run")
    config.data.splits = {"train": 0.7, "validation": 0.3}
    with pytest.raises(UserError, match=r"data\.splits is .* prepared with data\.group_column 'product', whose images"):
        check(on(config, tmp_path / "set"), tmp_path / "run")
    config.data.splits, config.data.group_column = expected_splits, "size"
    with pytest.raises(UserError, match=r"data\.group_column is 'size', but .* was prepared with 'product'"):
        check(on(config, tmp_path / "set"), tmp_path / "run")


@pytest.mark.parametrize("header", [("id", *HEADER[1:]), ("code", *HEADER[1:])])
def test_other_splits_do_not_part_the_images_of_a_row(tmp_path, header):
    shop, rows = tmp_path / "shop", products(40)
    shop.mkdir()
    write_table(shop / "styles.csv", rows, header)
    for row in rows:
        for i in range(2):
            write_image(shop / "images" / f"{row[0]}_{i}.jpg", seed=2 * int(row[0]) + i)
    config = shop_config(shop, image=f"images/{{{header[0]}}}_*.jpg")
    prepare(config, tmp_path / "set", SHAPE)
    config = on(config, tmp_path / "set")
    sentence = r"data\.splits is .* prepared with several images of one id, such as .* name whole splits of train, val"
    for splits in ({"train": 0.7, "validation": 0.3}, {"train": "train[:33]", "validation": "train[33:]"}):
        config.data.splits = splits
        with pytest.raises(UserError, match=sentence):
            check(config, tmp_path / "run")
    config.data.splits = {"train": "validation", "validation": "train"}
    check(config, tmp_path / "run")
    assert len(load_dataset(config).splits["validation"]) == 64


def test_some_of_its_images_are_shown_as_those_of_the_source(prepared, tiny_config):
    """The page shows the augmented images and where the network looked."""
    shown = []
    for config in (tiny_config, on(tiny_config, prepared)):
        split = load_dataset(config).splits["train"]
        indices, canvases = decode_rows(split, [5, 3, 150], canvas_shape(config, SHAPE), config.data.resize)
        assert indices.tolist() == [0, 1, 2]
        shown.append(canvases)
    np.testing.assert_array_equal(*shown)


@pytest.mark.usefixtures("no_report")
def test_a_run_on_it_has_the_metrics_of_a_run_on_the_source(prepared, tiny_config, finished_run, tmp_path):
    tiny_config.data.cache = "none"  # read as a set that is larger than memory is
    train_and_evaluate(on(tiny_config, prepared), tmp_path / "run")
    lines = []
    for workdir in (finished_run, tmp_path / "run"):
        text = (workdir / "metrics.jsonl").read_text(encoding="utf-8")
        lines.append([{k: v for k, v in json.loads(line).items() if k != "timing"} for line in text.splitlines()])
    assert lines[0] == lines[1]


def test_tfds_reads_it(prepared):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(prepared))
    assert builder.info.splits["train"].num_examples == 160
    example = builder.as_data_source(split="validation")[0]
    assert example["image"].shape == (32, 32, 3)
    assert set(example) == {"image", "id", "main", "sub"}


def test_other_canvases_are_made_from_the_prepared_ones(prepared, tiny_config):
    config = on(tiny_config, prepared)
    config.image_size, config.data.cache = 48, "none"
    split = load_dataset(config).splits["validation"]
    batch = next(eval_batches(split, open_images(split, config, (48, 48)), 8))
    assert batch["image"].shape == (8, 48, 48, 3)


def test_other_splits_may_be_slices_of_the_prepared_ones(prepared, tiny_config):
    config = on(tiny_config, prepared)
    config.data.splits = {"train": "train[:100]", "validation": "train[100:]", "test": "validation"}
    dataset = load_dataset(config)
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 100, "validation": 60, "test": 40}
    assert len(load_split(config, dataset.taxonomy, "test")) == 40


def test_half_of_the_last_file_is_written_anew(prepared, tiny_config, tmp_path):
    """TFDS leaves it where the disk is full."""
    begun = Path(shutil.copytree(prepared, tmp_path / "begun"))
    (begun / "dataset_info.json").write_text('{"citation": "')
    prepare(tiny_config, begun, SHAPE, images_per_shard=50)
    assert contents(begun) == contents(prepared)


@pytest.mark.parametrize("name", ["Topwear\nlong", "Topwear "])
def test_names_that_tfds_would_read_otherwise_are_refused(prepared, tiny_config, tmp_path, name):
    dataset = load_dataset(tiny_config)
    classes = dataset.taxonomy.classes
    renamed = {**classes, "main": (*classes["main"][:-1], name)}
    dataset = dataclasses.replace(dataset, taxonomy=dataclasses.replace(dataset.taxonomy, classes=renamed))
    with pytest.raises(UserError, match="has a line break, or a space at an end"):
        shards.plan_shards(tiny_config, dataset, tmp_path / "set", SHAPE, 50)


def test_an_output_in_a_bucket_is_refused():
    with pytest.raises(UserError, match="--output is 'gs:"):
        parse(["--config", "configs/smoke.py", "--output", "gs://bucket/set"])


def test_it_goes_on_where_it_was_stopped_and_ends_with_the_same_bytes(prepared, tiny_config, tmp_path, capsys):
    begun = tmp_path / "begun"
    shutil.copytree(prepared, begun)
    (begun / "dataset_info.json").unlink()
    gone = next((begun / "index").glob("train-00001*"))
    gone.unlink()
    (begun / ".prepared-train.killed").touch()
    kept = begun / "prepared-train.array_record-00000-of-00004"
    with pytest.raises(UserError, match="not complete"):
        load_dataset(on(tiny_config, begun))
    before = kept.stat()
    prepare(tiny_config, begun, SHAPE, images_per_shard=50)
    assert "1 of 5 shards are to be written" in capsys.readouterr().out
    assert kept.stat() == before
    assert contents(begun) == contents(prepared)
    prepare(tiny_config, begun, SHAPE, images_per_shard=50)
    assert "is complete" in capsys.readouterr().out


def test_another_file_of_an_image_is_told(tmp_path, capsys):
    write_shop(tmp_path / "shop", products(40))
    config, folder = shop_config(tmp_path / "shop"), tmp_path / "set"
    prepare(config, folder, SHAPE)
    write_image(tmp_path / "shop" / "images" / "7.jpg")
    with pytest.raises(UserError, match=r"begun with other data .image files of the split '\w+' have changed.: name a"):
        prepare(config, folder, SHAPE)
    plan = json.loads((folder / "prepare.json").read_text())
    for split in plan["images"].values():
        del split["contents"]  # as earlier versions wrote it
    (folder / "prepare.json").write_text(json.dumps(plan))
    prepare(config, folder, SHAPE)
    assert "is complete" in capsys.readouterr().out
    write_shop(tmp_path / "shop", products(41))
    with pytest.raises(UserError, match="the source has changed"):
        prepare(config, folder, SHAPE)


def test_labels_that_are_corrected_between_two_calls_are_read_anew(tmp_path):
    rows = products(40)
    write_shop(tmp_path / "shop", rows)
    config = shop_config(tmp_path / "shop")
    prepare(config, tmp_path / "one", SHAPE)
    write_table(tmp_path / "shop" / "styles.csv", [*rows[:-1], ("39", "Apparel", "Dress")])
    prepare(config, tmp_path / "two", SHAPE)
    assert load_dataset(on(config, tmp_path / "two")).digests == load_dataset(config).digests


@pytest.mark.parametrize("change", ["rows", "labels", "files"])
def test_data_that_changes_before_its_shards_are_written_is_told(tmp_path, change):
    """A worker reads the data again, where the images of a shard may have other places."""
    shop, rows = tmp_path / "shop", products(40)
    write_shop(shop, rows)
    config = shop_config(shop)
    planned = shards.plan_shards(config, load_dataset(config), tmp_path / "set", SHAPE, 0)
    if change == "rows":
        write_shop(shop, products(41))
    elif change == "labels":
        write_table(shop / "styles.csv", [*rows[:-1], ("39", "Apparel", "Dress")])
    else:
        write_image(shop / "images" / "39.jpg")
    with pytest.raises(UserError, match=r"The data has changed since '.*set' was begun.*: restore it"):
        shards.write_shard(planned[0])
    assert not planned[0].is_done


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"data.resize": "crop"}, "resize: 'stretch' there and 'crop' here"),
        ({"seed": 1}, "seed: 0 there and 1 here"),
        ({"data.canvas_size": 40}, "canvas_size: 0 there and 40 here"),
    ],
)
def test_another_config_is_refused_before_any_image_is_read(prepared, tiny_config, monkeypatch, change, sentence):
    monkeypatch.setattr("fashion_jax.data.dataset.load_dataset", None)
    tiny_config.update_from_flattened_dict(change)
    with pytest.raises(UserError, match=f"begun with other data .*{sentence}"):
        prepare(tiny_config, prepared, SHAPE, images_per_shard=50)


def test_another_decoder_is_refused(prepared, tiny_config, monkeypatch):
    """Otherwise half of a set would have other pixels of the same files."""
    monkeypatch.setattr(shards, "DECODER", shards.DECODER + 1)
    with pytest.raises(UserError, match=f"begun with other data .decoder is {shards.DECODER - 1} there and"):
        prepare(tiny_config, prepared, SHAPE, images_per_shard=50)


def test_a_folder_with_other_files_is_refused_before_any_image_is_read(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr("fashion_jax.data.dataset.load_dataset", None)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="holds other files"):
        prepare(tiny_config, tmp_path, SHAPE)


def test_splits_that_a_training_refuses_are_refused_before_any_image_is_read(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr("fashion_jax.data.dataset.load_dataset", None)
    for name in ("train", "val"):
        (tmp_path / "shop" / name / "Apparel" / "Topwear").mkdir(parents=True)
    tiny_config.data.update({"source": "folder", "path": str(tmp_path / "shop")})
    tiny_config.data.splits = {"train": 0.7, "validation": 0.3}
    with pytest.raises(UserError, match="is divided into the folders train, val, which are taken whole"):
        prepare(tiny_config, tmp_path / "out", SHAPE)
    tiny_config.data.folds, tiny_config.data.splits = 5, {"train": 0.7, "validation": 0.2, "test": 0.1}
    with pytest.raises(UserError, match=r"data\.folds is 5, .* keeps some out"):
        prepare(tiny_config, tmp_path / "out", SHAPE)


def test_unknown_labels_and_images_left_out_stay_so(tmp_path):
    rows = products(40)
    rows[3] = ("3", "Apparel", "")
    rows[4] = ("4", "", "")
    write_shop(tmp_path, rows)
    for row in rows:
        write_image(tmp_path / "images" / f"{row[0]}.jpg", seed=int(row[0]))
    write_table(tmp_path / "styles.csv", [*rows, ("gone", "Apparel", "Dress")])
    config = shop_config(tmp_path, max_bad_fraction=0.1)
    prepare(config, tmp_path / "out", SHAPE)
    source, copy = load_dataset(config), load_dataset(on(config, tmp_path / "out"))
    assert copy.summary(8) == {name: x for name, x in source.summary(8).items() if name != "warnings"}
    assert "1 row has no 'masterCategory' (line 6)" in source.warnings[0]  # the copy has no table
    assert copy.left_out == {"there is no such file": ["gone (line 42)"]}


def test_what_may_be_wrong_with_the_data_is_told_as_training_tells_it(tmp_path, capsys):
    """Training on the set sees no files and no table, and so cannot find it again."""
    rows = products(60)
    rows[4] = ("4", "", "")
    write_shop(tmp_path / "shop", rows)
    for row in rows:  # all files are equal
        write_image(tmp_path / "shop" / "images" / f"{row[0]}.jpg")
    write_table(tmp_path / "shop" / "styles.csv", [*rows, ("gone", "Apparel", "Dress")])
    config = shop_config(tmp_path / "shop", max_bad_fraction=0.1)
    expected = (
        r"Warning: the same images are in two splits: .*set data\.drop_leaks to True to leave them out",
        r"Warning: 1 row has no 'masterCategory' \(line 6\)",
        "Warning: 1 image occurs as identical files with two labels",
        r"Note: left out, all named in left_out\.json: 1 because of “there is no such file”",
    )
    for said in ("Done: 60 images", "is complete"):
        prepare(config, tmp_path / "set", SHAPE)
        out = capsys.readouterr().out
        assert said in out
        assert all(re.search(f"^{line}", out, re.M) for line in expected)


def test_the_flags_that_are_printed_train_on_the_set(tmp_path, capsys):
    """Folds and leaks are dealt with by preparing, and refused on a prepared set."""
    rows = products(60)
    write_shop(tmp_path / "shop", rows)
    for row in rows:
        write_image(tmp_path / "shop" / "images" / f"{row[0]}.jpg", seed=int(row[0]) % 50)
    config = shop_config(tmp_path / "shop", splits={"train": 0.75, "validation": 0.25}, folds=4, fold=1)
    config.data.drop_leaks = True
    prepare(config, tmp_path / "set", SHAPE)
    source = load_dataset(config)
    for flag in shlex.split(capsys.readouterr().out.splitlines()[-1]):
        field, text = flag.removeprefix("--config.").split("=", 1)
        config.update_from_flattened_dict({field: literal(text)})
    check_config(config)
    copy = load_dataset(config)
    assert source.leaks
    assert [list(copy.splits[x].ids) for x in source.splits] == [list(source.splits[x].ids) for x in source.splits]


def test_names_of_the_data_cannot_steer_the_terminal(tmp_path, capsys):
    rows = [*products(40), ("gone\x1b[2J", "Apparel", "Dress")]
    write_shop(tmp_path / "shop", rows)
    (tmp_path / "shop" / "images" / "gone\x1b[2J.jpg").unlink()
    prepare(shop_config(tmp_path / "shop", max_bad_fraction=0.1), tmp_path / "my set", SHAPE)
    out = capsys.readouterr().out
    assert "such as gone\\x1b[2J (line 42)" in out and "\x1b" not in out
    assert out.splitlines()[-1] == f"--config.data.source=tfds '--config.data.path={tmp_path / 'my set'}'"


def test_the_images_of_shards_that_are_written_count_as_prepared(tmp_path):
    planned = [shards.Shard("{}", str(tmp_path), "train", i, 2, 40 * i, 40 * i + 40, SHAPE) for i in range(2)]
    planned[0].index.parent.mkdir()
    planned[0].index.touch()
    task, has_ended = Task("Preparing", 80, unit="images"), iter([False, True])
    _follow(planned, task, SimpleNamespace(wait=lambda _: next(has_ended)))
    assert task.line(time.monotonic(), None).startswith("Preparing: 40 of 80 images, ")


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    rows = products(40)
    write_shop(tmp_path, rows)
    for row in rows:
        write_image(tmp_path / "images" / f"{row[0]}.jpg", seed=int(row[0]))
    (tmp_path / "images" / "7.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"7\.jpg"):
        prepare(shop_config(tmp_path), tmp_path / "out", SHAPE)


def test_options_go_to_beam_and_misspelt_ones_are_told(tmp_path, capsys):
    flags, overrides, options = parse(
        ["--config", "c.py", "--output=o", "--runner", "FlinkRunner", "--config.seed", "3", "--direct_num_workers=2"]
    )
    assert (flags.config, str(flags.output), overrides) == ("c.py", "o", [("seed", "3")])
    assert options == ["--runner", "FlinkRunner", "--direct_num_workers=2"]
    assert main(["--config", "configs/smoke.py", "--output", str(tmp_path), "--direct_workers=2"]) == 2
    assert "There is no flag --direct_workers" in capsys.readouterr().err
    assert main(["--config", "configs/smoke.py"]) == 2
    assert "--output is missing: give it, e.g. --output data/smoke." in capsys.readouterr().err
    assert main(["--config", "smoke", "--output", str(tmp_path), "--images_per_shard=-1"]) == 2
    assert "but must be 0 or above." in capsys.readouterr().err


def test_without_beam_the_error_says_how_to_install_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "apache_beam.options.pipeline_options", None)
    assert main(["--config", "smoke", "--output", str(tmp_path)]) == 2
    assert "pip install -c constraints.txt -e '.[prepare]' in its repository." in capsys.readouterr().err


def test_a_shard_is_as_large_as_its_pixels(tiny_config, tmp_path):
    dataset = load_dataset(tiny_config)
    planned = shards.plan_shards(tiny_config, dataset, tmp_path / "out", (640, 640), 0)
    assert {shard.stop - shard.start for shard in planned if shard.split == "train"} == {27, 25}


def test_large_sets_have_larger_shards_so_that_all_can_be_open(tiny_config, tmp_path, monkeypatch):
    dataset = load_dataset(tiny_config)
    monkeypatch.setattr(shards, "_SHARD_BYTES", 1)
    monkeypatch.setattr(shards, "_MAX_SHARDS", 10)
    planned = shards.plan_shards(tiny_config, dataset, tmp_path / "out", (640, 640), 0)
    assert sum(shard.num_images for shard in planned) == 200 and len(planned) == 10
    monkeypatch.undo()
    assert shards.plan_shards(tiny_config, dataset, tmp_path / "out", (640, 640), 0) == planned, "begun with these"
    shards.check_output(tiny_config, tmp_path / "out", (640, 640), 0)
    with pytest.raises(UserError, match=r"images_per_shard is 20 there and 27 here"):
        shards.check_output(tiny_config, tmp_path / "out", (640, 640), 27)


@pytest.mark.long
def test_two_processes_write_the_bytes_of_one(prepared, tiny_config, tmp_path, catalogue_cache):
    fields = {"data.cache_dir": catalogue_cache, "data.catalogue.num_images": "200"}
    fields |= {"batch_size": "16", "num_epochs": "2"}
    overrides = [f"--config.{field}={value}" for field, value in fields.items()]
    arguments = ["--config", "configs/smoke.py", "--output", str(tmp_path / "out"), "--images_per_shard=50"]
    assert main([*arguments, *overrides, "--direct_num_workers=2"]) == 0
    assert contents(tmp_path / "out") == contents(prepared)

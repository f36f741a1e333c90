"""Sets of TensorFlow Datasets: by name, by directory, as IDX files; every format read in the same order."""

import gzip
import os
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashion_jax.config.loading import load_config
from fashion_jax.data.batches.order import ShuffledIndices, epoch_order
from fashion_jax.data.batches.pipeline import eval_batches, open_images
from fashion_jax.data.dataset import load_dataset, load_split
from fashion_jax.data.records import record_files
from fashion_jax.data.records.idx_set import idx_files
from fashion_jax.data.records.record_files import read_idx
from fashion_jax.data.records.record_images import RecordImages
from fashion_jax.errors import UserError
from tests.shop import batches_of_steps
from tests.tfds_sets import NAMES, SHAPE, pixels_of

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def first_batches(config, count=5):
    dataset = load_dataset(config)
    split = dataset.splits["train"]
    return list(batches_of_steps(split, open_images(split, config, SHAPE), config, 0, count))


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
@pytest.mark.parametrize("cache", ["none", "host"])
def test_every_image_comes_once_with_its_labels(sets, config_of, file_format, cache):
    config = config_of(sets[file_format], cache=cache)
    dataset = load_dataset(config)
    assert dataset.taxonomy.classes["sub"] == ("Apparel/coat", "Apparel/shirt", "Footwear/shoe")
    for name, split in (("train", dataset.splits["train"]), ("test", dataset.splits["validation"])):
        batches = list(eval_batches(split, open_images(split, config, SHAPE), 7))
        images = np.concatenate([batch["image"] for batch in batches])[: len(split)]
        numbers = [int(image_id.removeprefix(f"{name}-")) for image_id in split.ids]
        assert sorted(numbers) == list(range(len(split)))
        for row, i in enumerate(numbers):
            np.testing.assert_array_equal(images[row], pixels_of(name, i))
            path = dataset.taxonomy.classes["sub"][split.labels["sub"][row]]
            assert path.endswith(NAMES[i % 3])
            assert path.startswith(dataset.taxonomy.classes["main"][split.labels["main"][row]])


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_images_are_shown_on_the_page(sets, config_of, file_format):
    split = load_dataset(config_of(sets[file_format])).splits["train"]
    with Image.open(split.picture(3)) as image:
        np.testing.assert_array_equal(image, pixels_of("train", int(split.ids[3].removeprefix("train-"))))


def test_training_goes_by_the_order_of_the_seed_and_the_epoch(sets, config_of):
    config = config_of(sets["array_record"], cache="none")
    split = load_dataset(config).splits["train"]
    batch = next(batches_of_steps(split, open_images(split, config, SHAPE), config, 7, 8))
    order = epoch_order(config.seed, 1, 40)[16:24]  # 5 steps an epoch
    expected = [pixels_of("train", int(split.ids[i].removeprefix("train-"))) for i in order]
    np.testing.assert_array_equal(batch["image"], expected)


def test_levels_may_be_features_of_the_set(sets, config_of):
    levels = {"group": "", "sub": "label"}
    dataset = load_dataset(config_of(sets["array_record"], levels=levels, taxonomy=""))
    assert dataset.taxonomy.classes["group"] == ("apparel", "footwear")
    assert dataset.taxonomy.classes["sub"] == ("apparel/coat", "apparel/shirt", "footwear/shoe")


def test_the_feature_that_a_level_names_wins_over_one_that_is_called_like_the_level(sets, config_of):
    levels = {"label": "group", "group": "label"}
    dataset = load_dataset(config_of(sets["array_record"], levels=levels, taxonomy=""))
    assert dataset.taxonomy.classes["label"] == ("apparel", "footwear")
    assert dataset.taxonomy.classes["group"] == ("apparel/coat", "apparel/shirt", "footwear/shoe")


def test_splits_may_be_slices_or_fractions(sets, config_of):
    slices = {"train": "train[10:]", "validation": "train[:10]+test[50%:]", "rest": "test[:50%]"}
    dataset = load_dataset(config_of(sets["tfrecord"], splits=slices))
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 30, "validation": 16, "rest": 6}
    assert dataset.warnings == []
    few = config_of(sets["tfrecord"], splits={"train": "train[10:]", "validation": "train[:10]"})
    assert len(load_split(few, dataset.taxonomy, "all")) == 40  # docs/predicting.md: those that data.splits selects
    assert len({image_id for split in dataset.splits.values() for image_id in split.ids}) == 52
    config = config_of(sets["tfrecord"], splits={"train": 0.75, "validation": 0.25})
    dataset = load_dataset(config)
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 39, "validation": 13}
    (warning,) = dataset.warnings
    assert "the splits test and train of tiny_fashion/1.0.0 of TFDS as if they were one" in warning
    assert warning.endswith("name them there, such as {'train': 'train', 'validation': 'test'}")
    assert len(load_split(config, dataset.taxonomy, "all")) == 52


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"splits": {"train": "train", "validation": "dev"}}, "'dev'.*test, train"),
        ({"splits": {"train": "train", "validation": "train[:5]"}}, "share images"),
        ({"splits": "fold"}, "no columns"),
        ({"taxonomy": ""}, "one label, 'label', for the levels main, sub.*data.taxonomy"),
        ({"levels": {"a": "x", "b": "y"}, "taxonomy": ""}, "one label, 'label', for the levels a, b.*data.taxonomy"),
    ],
)
def test_what_does_not_fit_the_set_is_said(sets, config_of, data, sentence):
    with pytest.raises(UserError, match=sentence):
        load_dataset(config_of(sets["array_record"], **data))


def test_a_set_that_is_not_there_is_named_in_one_sentence(tmp_path, config_of):
    with pytest.raises(UserError, match=r"'fashion_mnst', which is no set of TFDS"):
        load_dataset(config_of(tmp_path, tfds="fashion_mnst"))
    with pytest.raises(UserError, match=r"data\.tfds is empty"):
        config_of("")
    with pytest.raises(UserError, match=r"no directory of one TFDS set"):
        load_dataset(config_of(tmp_path))


def test_a_damaged_file_is_named(sets, config_of, tmp_path):
    for file_format, folder in sets.items():
        copy = Path(shutil.copytree(folder, tmp_path / file_format / "tiny_fashion" / "1.0.0"))
        file = next(copy.glob("*train*-of-*"))
        config = config_of(copy, cache="none")
        first_batches(config, 1)  # the labels are in the cache now
        status = file.stat()
        file.write_bytes(file.read_bytes()[: status.st_size // 2])
        with pytest.raises(UserError, match=r"(The image of|The file|The TFDS set).*tiny_fashion"):
            list(first_batches(config))
        file.unlink()
        with pytest.raises(UserError, match=r"1 files of the TFDS set are missing, such as .*tiny_fashion"):
            load_dataset(config)


@pytest.mark.parametrize("size", [0, 300])
def test_a_damaged_description_of_a_set_is_told(sets, config_of, tmp_path, size):
    copy = Path(shutil.copytree(sets["array_record"], tmp_path / "tiny_fashion" / "1.0.0"))
    os.truncate(copy / "dataset_info.json", size)
    with pytest.raises(UserError, match=r"The TFDS set in .*tiny_fashion.* is damaged \(.+\): copy it anew"):
        load_dataset(config_of(copy))


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_damaged_records_are_told_where_the_labels_are_read(sets, config_of, tmp_path, file_format):
    copy = Path(shutil.copytree(sets[file_format], tmp_path / "tiny_fashion" / "1.0.0"))
    file = next(copy.glob("*train*-of-*"))
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(UserError, match=r"tiny_fashion") as raised:
        load_dataset(config_of(copy))
    assert len(re.findall("copy it anew|restore it", str(raised.value))) == 1


def write_idx(folder: Path, counts: dict[str, int], size: int = 28, compress: bool = False) -> np.ndarray:
    """Writes files of noise, whose labels count up to 10; returns the pixels of all."""
    folder.mkdir(exist_ok=True)
    every = []
    for start, count in counts.items():
        pixels = np.random.default_rng(count).integers(0, 256, (count, size, size), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = struct.pack(">4I", 0x803, count, size, size) + pixels.tobytes()
        for name, data in (
            (f"{start}-images-idx3-ubyte", images),
            (f"{start}-labels-idx1-ubyte", struct.pack(">2I", 0x801, count) + labels.tobytes()),
        ):
            (folder / (name + ".gz" * compress)).write_bytes(gzip.compress(data) if compress else data)
        every.append(pixels)
    return np.concatenate(every)


@pytest.mark.parametrize("compress", [False, True])
def test_idx_files_are_read_as_fashion_mnist(tmp_path, compress):
    pixels = write_idx(tmp_path / "idx", {"train": 130, "t10k": 20}, compress=compress)
    overrides = [("data.path", str(tmp_path / "idx")), ("data.cache", "none"), ("data.canvas_size", "32")]
    config = load_config("configs/fashion_mnist.py", overrides)
    dataset = load_dataset(config)
    assert dataset.taxonomy.num_classes("main") == 4
    assert dataset.taxonomy.num_classes("sub") == 10
    split = dataset.splits["validation"]
    assert dataset.taxonomy.classes["sub"][split.labels["sub"][8]] == "Accessories/Bag"
    np.testing.assert_array_equal(raw_pixels(split), np.repeat(pixels[130:, :, :, None], 3, 3))


def raw_pixels(split):
    """Returns the split's images at their own size, which the trunk would refuse."""
    batches = RecordImages(split.files, (28, 28), "stretch").batches(lambda: iter([np.arange(len(split))]))
    return next(batches)


def test_damaged_idx_files_are_named(tmp_path):
    write_idx(tmp_path, {"train": 130, "t10k": 20})
    config = load_config("configs/fashion_mnist.py", [("data.path", str(tmp_path))])
    file = tmp_path / "train-images-idx3-ubyte"
    os.truncate(file, 1000)
    with pytest.raises(UserError, match=r"IDX file '.*train-images-idx3-ubyte' cannot be read"):
        load_dataset(config)


def test_labels_of_other_idx_files_are_told(tmp_path):
    write_idx(tmp_path, {"train": 130, "t10k": 20})
    one, other = tmp_path / "train-labels-idx1-ubyte", tmp_path / "t10k-labels-idx1-ubyte"
    labels = one.read_bytes(), other.read_bytes()
    other.write_bytes(labels[0])
    one.write_bytes(labels[1])
    with pytest.raises(UserError, match=r"files of train in .* have 130 images and 20 labels"):
        load_dataset(load_config("configs/fashion_mnist.py", [("data.path", str(tmp_path))]))


def test_every_damage_of_a_compressed_idx_file_is_told(tmp_path):
    write_idx(tmp_path, {"train": 130, "t10k": 20}, compress=True)
    file = tmp_path / "train-labels-idx1-ubyte.gz"
    data = bytearray(file.read_bytes())
    for place in range(10, len(data)):
        file.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        with pytest.raises(UserError, match=r"IDX file '.*train-labels-idx1-ubyte\.gz' cannot be read"):
            read_idx(file)


def test_idx_files_that_unpack_to_much_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "labels.gz"
    monkeypatch.setattr(record_files, "_MAX_IDX", 1000)
    for said, has, words in ((1001, 1001, "1,001 bytes, more than 1,000"), (9, 2000, "another number"), (9, 8, "anot")):
        path.write_bytes(gzip.compress(struct.pack(">II", 0x801, said) + bytes(has)))
        with pytest.raises(UserError, match=words):
            read_idx(path)
    path.write_bytes(gzip.compress(struct.pack(">II", 0x801, 1000) + bytes(1000)))
    assert read_idx(path).shape == (1000,)


@pytest.mark.skipif(not idx_files(DEBIAN), reason=f"Debian's package dataset-fashion-mnist is not in {DEBIAN}")
def test_the_original_files_of_fashion_mnist_are_read():
    dataset = load_dataset(load_config("configs/fashion_mnist.py", [("data.path", str(DEBIAN))]))
    summary = dataset.summary(128)["splits"]
    assert (summary["train"]["images"], summary["validation"]["images"]) == (60000, 10000)
    assert set(summary["train"]["classes"]["sub"].values()) == {6000}
    assert summary["validation"]["classes"]["main"]["Upper body"] == 4000


@pytest.mark.parametrize("count", [1, 2, 10, 1000])
def test_the_order_without_an_index_has_every_image_once(count):
    order = ShuffledIndices(0, 3, count)
    parts = np.concatenate([order[start : start + 7] for start in range(0, count, 7)])
    assert sorted(parts.tolist()) == list(range(count))
    np.testing.assert_array_equal(parts[3:9], order[3:9])  # any part by itself: a resumed run skips without reading


def test_the_order_without_an_index_is_that_of_seed_and_epoch(monkeypatch):
    orders = {(seed, epoch): tuple(ShuffledIndices(seed, epoch, 100)[:100]) for seed in (0, 1) for epoch in (0, 1)}
    assert len(set(orders.values())) == 4
    monkeypatch.setattr("fashion_jax.data.batches.order.MAX_PERMUTED", 99)
    assert tuple(epoch_order(1, 1, 100)[:100]) == orders[1, 1]
    assert len(epoch_order(1, 1, 99)) == 99

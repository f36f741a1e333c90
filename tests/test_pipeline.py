"""Batches of decoded images."""

import contextlib
import platform
import resource
import threading

import numpy as np
import pytest
from PIL import Image

from fashion_jax.data import outages
from fashion_jax.data import tensorflow_cpu as tf_import
from fashion_jax.data.batches import cache_mode as memory
from fashion_jax.data.batches import streamed_images
from fashion_jax.data.batches.image_stores import _CHUNK, CachedImages, DeviceImages
from fashion_jax.data.batches.order import epoch_order
from fashion_jax.data.batches.pipeline import canvas_shape, check_cache, eval_batches, open_images
from fashion_jax.data.batches.streamed_images import StreamedImages
from fashion_jax.data.dataset import Split
from fashion_jax.data.decoding.decode import contents
from fashion_jax.data.decoding.limits import Undecodable
from fashion_jax.devices.mesh import batch_sharding, create_mesh, put_batch
from fashion_jax.errors import Outage, UserError
from tests.shop import batches_of_steps, shop_config, write_image

SHAPE = (8, 6)  # size of most images here, so that nothing is resized and every pixel can be compared


def make_split(folder, count: int) -> tuple[Split, np.ndarray]:
    """Writes PNG images of noise whose label is their number; returns the split and their pixels."""
    files = [folder / f"{i}.png" for i in range(count)]
    pixels = [write_image(file, SHAPE, seed=i) for i, file in enumerate(files)]
    labels = {"sub": np.arange(count, dtype=np.int32)}
    return Split([file.stem for file in files], [str(file) for file in files], labels), np.stack(pixels)


@pytest.fixture(scope="module")
def ten(tmp_path_factory):
    return make_split(tmp_path_factory.mktemp("images"), 10)


def config_of(batch_size=4, cache="host", seed=0):
    config = shop_config("", cache=cache)
    config.batch_size, config.seed = batch_size, seed
    return config


def labels_of(batches) -> list[list[int]]:
    return [batch["labels"]["sub"].tolist() for batch in batches]


def train_labels(split, config, start=0, stop=10, rows=None):
    images = open_images(split, config, SHAPE)
    return labels_of(batches_of_steps(split, images, config, start, stop, rows))


@pytest.mark.parametrize("cache", ["none", "host"])
@pytest.mark.parametrize("batch_size", [3, 5, 16])
def test_evaluation_has_every_image_once(ten, batch_size, cache):
    """The last batch is padded, so that all have one shape; the caller cuts the padding off."""
    split, pixels = ten
    batches = list(eval_batches(split, open_images(split, config_of(cache=cache), SHAPE), batch_size))
    assert {batch["image"].shape for batch in batches} == {(batch_size, *SHAPE, 3)}
    np.testing.assert_array_equal(np.concatenate([batch["image"] for batch in batches])[:10], pixels)
    assert [label for labels in labels_of(batches) for label in labels][:10] == list(range(10))
    assert len(batches) == -(-10 // batch_size)


@pytest.mark.parametrize("cache", ["none", "host"])
def test_training_batches_are_those_of_the_order(ten, cache):
    """10 images make 2 batches of 4; the images left over differ in every epoch."""
    split, pixels = ten
    config = config_of(cache=cache)
    batches = list(batches_of_steps(split, open_images(split, config, SHAPE), config, 0, 6))
    orders = [epoch_order(config.seed, epoch, 10) for epoch in range(3)]
    assert labels_of(batches) == [order[start : start + 4].tolist() for order in orders for start in (0, 4)]
    for batch in batches:
        assert batch["image"].dtype == np.uint8
        np.testing.assert_array_equal(batch["image"], pixels[batch["labels"]["sub"]])


def test_the_order_is_a_permutation_and_pure_in_seed_and_epoch():
    orders = {(seed, epoch): epoch_order(seed, epoch, 50).tolist() for seed in (0, 1) for epoch in (0, 1, 2)}
    assert all(sorted(order) == list(range(50)) for order in orders.values())
    assert len(set(map(tuple, orders.values()))) == 6
    assert epoch_order(1, 2, 50).tolist() == orders[1, 2]


@pytest.mark.parametrize("cache", ["none", "host"])
def test_any_step_continues_the_same_batches(ten, cache):
    split, _ = ten
    config = config_of(cache=cache)
    whole = train_labels(split, config, 0, 7)
    for start in (1, 2, 5, 7):
        assert train_labels(split, config, start, 7) == whole[start:]
    assert train_labels(split, config_of(seed=1), 0, 7) != whole


@pytest.mark.parametrize("order", [[0, 0, 1, 1], [0, 1, 1, 0], [1, 0, 1, 0]], ids=str)
def test_the_rows_of_two_processes_make_the_batches_of_one(ten, order):
    split, pixels = ten
    rows = [np.flatnonzero(np.array(order) == process) for process in range(2)]

    def joined(parts):
        whole = np.zeros((4, *np.shape(parts[0])[1:]), np.asarray(parts[0]).dtype)
        whole[rows[0]], whole[rows[1]] = parts
        return whole

    for cache in ("none", "host"):
        config = config_of(cache=cache)
        images = open_images(split, config, SHAPE)
        whole = train_labels(split, config, 0, 5)
        shares = [train_labels(split, config, 0, 5, x) for x in rows]
        assert [joined(parts).tolist() for parts in zip(*shares, strict=True)] == whole
        parts = [list(eval_batches(split, images, 4, x)) for x in rows]
        found = [joined([a["image"], b["image"]]) for a, b in zip(*parts, strict=True)]
        np.testing.assert_array_equal(np.concatenate(found)[:10], pixels)


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
def test_streamed_images_equal_cached_ones(tmp_path, resize):
    """The images have several sizes and fill more than one chunk of the cache."""
    count = 260
    sizes = [(5 + i % 7, 4 + i % 5) for i in range(count)]
    files = [tmp_path / f"{i}.png" for i in range(count)]
    for i, (file, size) in enumerate(zip(files, sizes, strict=True)):
        write_image(file, size, seed=i)
    split = Split(list(map(str, range(count))), list(map(str, files)), {"sub": np.arange(count)})
    results = []
    for cache in ("none", "host"):
        config = config_of(cache=cache)
        config.data.resize = resize
        batches = eval_batches(split, open_images(split, config, SHAPE), 64)
        results.append(np.concatenate([batch["image"] for batch in batches])[:count])
    np.testing.assert_array_equal(*results)


def decode(path, shape, resize="stretch") -> np.ndarray:
    split = Split(["0"], [str(path)], {"sub": np.zeros(1, np.int32)})
    config = config_of()
    config.data.resize = resize
    return next(eval_batches(split, open_images(split, config, shape), 1))["image"][0]


@pytest.fixture
def bands(tmp_path):
    """Writes an image of 20 x 40 pixels: red, green, green, blue bands, from left to right."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :10, 0], pixels[:, 10:30, 1], pixels[:, 30:, 2] = 200, 200, 200
    path = tmp_path / "bands.png"
    Image.fromarray(pixels).save(path)
    return path


def test_stretch_shows_all_of_the_image(bands):
    image = decode(bands, (16, 16), "stretch")
    np.testing.assert_array_equal(image[8, [1, 8, 14]], [[200, 0, 0], [0, 200, 0], [0, 0, 200]])


def test_crop_shows_the_middle(bands):
    image = decode(bands, (16, 16), "crop")
    assert image.shape == (16, 16, 3)
    np.testing.assert_array_equal(image[:, 1:-1], np.broadcast_to([0, 200, 0], (16, 14, 3)))


def test_letterbox_has_white_bars_around_all_of_the_image(bands):
    image = decode(bands, (16, 16), "letterbox")
    white = (image == 255).all(axis=(1, 2))
    assert white.tolist() == [True] * 4 + [False] * 8 + [True] * 4
    np.testing.assert_array_equal(image[8, [1, 8, 14]], [[200, 0, 0], [0, 200, 0], [0, 0, 200]])


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (3, 5)])
def test_every_size_comes_to_the_canvas(tmp_path, size, resize):
    write_image(tmp_path / "image.png", size)
    assert decode(tmp_path / "image.png", (10, 12), resize).shape == (10, 12, 3)


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "jpg"), ("L", "png"), ("RGBA", "png"), ("RGB", "gif"), ("RGB", "bmp")]
)
def test_other_kinds_of_images_become_rgb(tmp_path, mode, suffix):
    pixels = write_image(tmp_path / f"image.{suffix}", SHAPE, mode)
    image = decode(tmp_path / f"image.{suffix}", SHAPE)
    assert image.shape == (*SHAPE, 3)
    if mode == "L":
        np.testing.assert_array_equal(image, image[:, :, :1].repeat(3, axis=2))
    if mode == "L" and suffix == "png":
        np.testing.assert_array_equal(image[:, :, 0], pixels)


@pytest.mark.parametrize("cache", ["none", "host"])
@pytest.mark.parametrize("damage", [b"", b"no image", "truncated", "removed", "folder"])
def test_an_image_that_cannot_be_decoded_is_named(tmp_path, damage, cache):
    split, _ = make_split(tmp_path, 5)
    bad = tmp_path / "3.png"
    content = bad.read_bytes()
    bad.unlink()
    if damage == "folder":
        bad.mkdir()
    elif damage != "removed":
        bad.write_bytes(content[: len(content) // 2] if damage == "truncated" else damage)
    with pytest.raises(UserError, match=r"The image '.*/3\.png' cannot be read and decoded"):
        list(eval_batches(split, open_images(split, config_of(cache=cache), SHAPE), 2))


class AwayDisk:
    """Reads of files, of which the next `fails` fail as on a network disk that is away."""

    def __init__(self, fails: int):
        self._fails, self._lock = fails, threading.Lock()

    def contents(self, file: str):
        with self._lock:
            self._fails -= 1
            if self._fails >= 0:
                raise Undecodable("the file cannot be read (Stale file handle)") from OSError(116, "Stale file handle")
        return contents(file)


def test_a_file_that_cannot_be_read_for_a_moment_is_read_again(ten, monkeypatch):
    split, pixels = ten
    images = open_images(split, config_of(cache="none"), SHAPE)
    monkeypatch.setattr(outages, "_WAITS", (0.0, 0.0))
    monkeypatch.setattr(streamed_images, "contents", AwayDisk(2).contents)
    found = [batch["image"] for batch in eval_batches(split, images, 4)]
    np.testing.assert_array_equal(np.concatenate(found)[:10], pixels)
    monkeypatch.setattr(streamed_images, "contents", AwayDisk(1000).contents)
    sentence = r"The image '.*png' cannot be read, nor could it 0 s later \(.*Stale file handle.*\): run the same"
    with pytest.raises(Outage, match=sentence) as stopped:
        list(eval_batches(split, images, 4))
    assert stopped.value.status == 75


def test_batches_that_nobody_takes_end_with_the_interpreter(ten):
    """Otherwise its threads would keep the interpreter from ending."""
    split, _ = ten
    batches = open_images(split, config_of(cache="none"), SHAPE).batches(lambda: iter([np.arange(5)] * 1000))
    next(batches)
    tf_import._close()
    assert list(batches) == []


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="page faults are counted as glibc's malloc has them")
def test_decoding_uses_freed_memory_again(tmp_path):
    files = [str(tmp_path / f"{i}.jpg") for i in range(32)]
    for file in files:
        Image.new("RGB", (400, 533), "teal").save(file)
    faults = []
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in StreamedImages(files, (224, 224), "stretch").batches(lambda: iter(np.arange(32).reshape(4, 8))):
            pass
        faults.append((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / len(files))
    assert min(faults[1:]) < 100, "of the 1,500 that the temporaries of an image have"


def test_the_canvas_is_larger_where_the_augmentation_crops():
    config = config_of()
    assert canvas_shape(config, (64, 48)) == (64, 48)
    config.augment = "light"
    assert canvas_shape(config, (64, 48)) == (80, 60)
    config.data.canvas_size = 70
    assert canvas_shape(config, (64, 48)) == (70, 70)
    config.data.canvas_size = [72, 90]
    assert canvas_shape(config, (64, 48)) == (72, 90)


def first_batches(split, config, start, mesh=None):
    """Returns the pixels of the steps start to 50, and of the evaluation, as the network would get them."""
    images = open_images(split, config, SHAPE, mesh)
    train = [put_batch(batch, create_mesh()) for batch in batches_of_steps(split, images, config, start, 50)]
    evaluated = [put_batch(batch, create_mesh()) for batch in eval_batches(split, images, config.batch_size)]
    return [np.asarray(batch["image"]) for batch in train], [np.asarray(batch["image"]) for batch in evaluated]


@pytest.mark.parametrize(
    ("cache", "workers", "start"),
    [("none", 1, 0), ("none", 3, 13), ("host", 4, 0), ("host", 2, 29), ("device", 4, 0), ("device", 1, 13)],
)
def test_the_first_50_batches_are_the_same_whatever_brings_them(tmp_path, monkeypatch, cache, workers, start):
    split, pixels = make_split(tmp_path, 37)
    config = config_of(batch_size=8, cache=cache)
    monkeypatch.setattr("fashion_jax.data.batches.streamed_images._PARALLEL_BATCHES", workers)
    train, evaluated = first_batches(split, config, start, create_mesh())
    orders = [epoch_order(config.seed, epoch, 37)[:32].reshape(4, 8) for epoch in range(13)]
    np.testing.assert_array_equal(train, pixels[np.concatenate(orders)[start:50]])
    np.testing.assert_array_equal(np.concatenate(evaluated)[:37], pixels)


def test_the_shares_of_the_device_cache_lie_where_the_batch_is_spread(ten):
    split, _ = ten
    mesh = create_mesh()
    decoded = []
    images = open_images(split, config_of(batch_size=8, cache="device"), SHAPE, mesh, lambda: decoded.append(1))
    batch = put_batch(next(eval_batches(split, images, 8)), mesh)
    assert decoded == [1]  # one chunk has all images
    assert batch["image"].sharding == batch["labels"]["sub"].sharding == batch_sharding(mesh)
    assert isinstance(images, DeviceImages)


class Noted:
    """Images whose pixels are their numbers, and which note what is decoded."""

    def __init__(self):
        self.decoded = []

    def batches(self, indices):
        for batch in indices():
            self.decoded += batch.tolist()
            yield np.broadcast_to(batch.astype(np.uint8)[:, None, None, None], (len(batch), *SHAPE, 3))


def numbers_of(batches) -> list[list[int]]:
    return [batch[:, 0, 0, 0].tolist() for batch in batches]


def test_a_cache_decodes_only_what_is_used_and_first_what_is_used_first():
    order = np.random.default_rng(0).permutation(10)
    for used, decoded in (
        ([order[:4], order[4:8], order[:4]], order[:8].tolist()),
        ([np.array([3, 3, 1, 3]), np.array([1, 1, 5, 1])], [3, 1, 5]),  # drawn with replacement
    ):
        noted = Noted()
        cached = CachedImages(noted, 10, SHAPE)
        for _ in range(2):
            assert numbers_of(cached.batches(lambda used=used: iter(used))) == [batch.tolist() for batch in used]
        assert noted.decoded == decoded


def test_a_cache_decodes_what_other_batches_use_later():
    """After a rollback to before the first step of this start, for example."""
    noted = Noted()
    cached = CachedImages(noted, 300, SHAPE)
    for start, stop in ((200, 300), (100, 300), (0, 200)):
        batches = [np.arange(i, i + 50) for i in range(start, stop, 50)]
        assert numbers_of(cached.batches(lambda batches=batches: iter(batches))) == [
            (batch % 256).tolist() for batch in batches
        ]
    assert sorted(noted.decoded) == list(range(300)) and noted.decoded[:100] == list(range(200, 300))


def test_the_first_batches_do_not_wait_for_all_images(tmp_path):
    split, pixels = make_split(tmp_path, 3 * _CHUNK)
    (tmp_path / f"{3 * _CHUNK - 1}.png").write_bytes(b"")
    batches = eval_batches(split, open_images(split, config_of(cache="host"), SHAPE), _CHUNK)
    np.testing.assert_array_equal(next(batches)["image"], pixels[:_CHUNK])
    with pytest.raises(UserError, match=rf"/{3 * _CHUNK - 1}\.png"):
        list(batches)


@pytest.mark.parametrize(
    ("size", "free", "device", "mode"),
    [
        (250, 1000, None, "host"),
        (251, 1000, None, "none"),
        (250, 313, 1000, "device"),  # decoded to the host's memory first
        (250, 312, 1000, "none"),
        (250, 1000, 999, "host"),
    ],
)
def test_auto_takes_a_quarter_of_what_is_free(monkeypatch, size, free, device, mode):
    monkeypatch.setattr(memory, "free_memory", lambda: free)
    monkeypatch.setattr(memory, "free_device_memory", lambda mesh: device)
    assert memory.cache_mode("auto", size, create_mesh()) == mode


@pytest.mark.parametrize("cache", ["host", "device"])
def test_a_memory_that_is_too_small_is_told_before_anything_is_decoded(ten, monkeypatch, cache):
    split, pixels = ten
    monkeypatch.setattr(memory, "free_memory", lambda: pixels.size)
    with pytest.raises(UserError, match=f"data.cache is '{cache}', but the decoded images take .* GiB"):
        open_images(split, config_of(cache=cache), SHAPE, create_mesh())
    assert type(open_images(split, config_of(cache="none"), SHAPE)) is StreamedImages
    assert memory.cache_mode(cache, pixels.size * 8 // 10, create_mesh()) == cache


@pytest.mark.parametrize(("cache", "is_refused"), [("host", True), ("device", True), ("auto", False), ("none", False)])
def test_the_splits_must_fit_together(ten, monkeypatch, cache, is_refused):
    """Each of them alone would: nothing is decoded before both have been looked at."""
    split, pixels = ten
    monkeypatch.setattr(memory, "free_memory", lambda: 2 * pixels.size)
    with pytest.raises(UserError, match="the decoded images take") if is_refused else contextlib.nullcontext():
        check_cache((split, split), cache, canvas_shape(config_of(), SHAPE), create_mesh())
    open_images(split, config_of(cache=cache), SHAPE, create_mesh())


def test_processes_of_a_machine_divide_its_memory_and_those_of_a_container_its_limit():
    one = ({"a": 900}, 70)
    assert memory.least_memory([one]) == (900, 70, 1)
    assert memory.least_memory([one, ({"b": 800}, 60)]) == (800, 60, 1)
    assert memory.least_memory([one, ({"a": 960}, 60), ({"b": 500}, None)]) == (450, None, 2)
    pods = [({"a": 900, "container 1": 250}, None), ({"a": 900, "container 2": 700}, None)]
    assert memory.least_memory(pods) == (250, None, 1)
    assert memory.least_memory([pods[0], pods[0], pods[1]]) == (125, None, 2)


def test_the_free_memory_is_that_of_the_container(tmp_path, monkeypatch):
    (tmp_path / "own").write_text("0::/\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(memory, "_OWN_CGROUPS", tmp_path / "own")
    whole = memory.free_memory()
    assert whole > 1 << 20
    for name, text in (
        ("memory.max", "max\n"),
        ("memory.current", "700\n"),
        ("memory.stat", "anon 1\ninactive_file 200\n"),
    ):
        (tmp_path / name).write_text(text)
    assert memory.free_memory() > 1 << 20
    (tmp_path / "memory.max").write_text("1500\n")
    assert memory.free_memory() == 1000


@pytest.mark.parametrize(
    ("line", "folder", "names"),
    [
        ("0::/slurm/job_1/step_0", "slurm/job_1", ("memory.max", "memory.current", "inactive_file")),
        (
            "4:cpu,memory:/slurm/job_1/step_0",
            "memory/slurm/job_1",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_the_free_memory_is_that_of_the_batch_job(tmp_path, monkeypatch, line, folder, names):
    """Its limit is that of the job, whose steps have none of their own."""
    (tmp_path / "own").write_text(f"1:pids:/elsewhere\n{line}\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(memory, "_OWN_CGROUPS", tmp_path / "own")
    (tmp_path / folder).mkdir(parents=True)
    limit, used, cached = names
    for name, text in ((limit, "1500\n"), (used, "700\n"), ("memory.stat", f"anon 1\n{cached} 200\n")):
        (tmp_path / folder / name).write_text(text)
    assert memory.free_memory() == 1000

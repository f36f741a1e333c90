"""Augmentation inside the compiled step: the batch as a whole (single operations: test_image_operations.py)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fashion_jax.config import fields as config_checks
from fashion_jax.data import augmentation
from fashion_jax.data.augmentation import PRESETS, prepare_eval, prepare_train
from fashion_jax.data.augmentation.erasing import random_erasing
from fashion_jax.data.augmentation.geometry import random_resized_crop, shrink
from fashion_jax.data.augmentation.mixing import dominant_labels, random_mix, soft_targets, swap_pairs
from fashion_jax.data.augmentation.policies import SLOTS, apply_policy
from fashion_jax.data.augmentation.presets import TRIVIAL_AUGMENT
from fashion_jax.devices.mesh import batch_sharding, create_mesh, replicated

MEAN = np.array([0.485, 0.456, 0.406])


def noise(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def train(images, seed=0, preset="flip", shape=(8, 6), dtype=jnp.float32):
    return prepare_train(jnp.asarray(images), jax.random.key(seed), preset, shape, dtype)[0]


@pytest.fixture(scope="module")
def crop():
    """random_resized_crop, compiled once."""
    return jax.jit(random_resized_crop, static_argnums=(2, 3))


@functools.partial(jax.jit, static_argnums=2)
def jitted(images, seed, preset):
    return train(images, seed, preset)


def test_the_config_knows_the_presets():
    assert not any(config_checks.CHECKS["augment"](name) for name in PRESETS)
    assert config_checks.CHECKS["augment"]("") == "one of " + ", ".join(PRESETS)


@pytest.mark.parametrize("preset", ["none", "flip", "light", "medium"])
def test_pure_in_the_key(preset):
    images = noise(16, 10, 8)
    first, again, other = (np.asarray(jitted(images, seed, preset)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, other) == (preset == "none")
    assert np.isfinite(first).all()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float64])
def test_shape_and_type(preset, dtype):
    def prepare(images):
        return prepare_train(images, jax.random.key(0), preset, (8, 6), dtype)

    with jax.enable_x64(dtype == jnp.float64):
        images = jax.ShapeDtypeStruct((3, 10, 8, 3), jnp.uint8)
        prepared, share = jax.eval_shape(prepare, images)
        evaluated = jax.eval_shape(lambda x: prepare_eval(x, (8, 6), dtype), images)
    assert prepared.shape == evaluated.shape == (3, 8, 6, 3) and share.shape == (3,)
    assert prepared.dtype == evaluated.dtype == share.dtype == jnp.promote_types(dtype, jnp.float32)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_part_of_a_preset_is_applied_and_no_other(monkeypatch, preset):
    """In the order of the fields; nothing is compiled."""
    parts = {"crop": "random_resized_crop", "affine": "random_affine", "jitter": "jitter"}
    parts |= {"policy": "apply_policy", "erase": "random_erasing", "mix": "random_mix"}
    applied = []

    def noted(field, function, pixels, *arguments):
        applied.append((field, arguments[-1]))
        return function(pixels, *arguments)

    for field, name in parts.items():
        monkeypatch.setattr(augmentation, name, functools.partial(noted, field, getattr(augmentation, name)))
    jax.eval_shape(lambda images: train(images, preset=preset), jax.ShapeDtypeStruct((16, 10, 8, 3), jnp.uint8))
    wanted = {field: getattr(PRESETS[preset], field) for field in parts}
    assert applied == [(field, value) for field, value in wanted.items() if value]


@functools.cache
def compiled_strong(devices: int):
    """The strongest preset on so many devices, and images that lie on them: a multiple of 16 on each."""
    mesh = create_mesh(jax.devices()[:devices])
    sharding = batch_sharding(mesh)
    images = jax.device_put(noise(8 * SLOTS, 10, 8), sharding)
    prepare = jax.jit(
        lambda x, seed: prepare_train(x, jax.random.key(seed), "strong", (8, 6), jnp.float32),
        in_shardings=(sharding, replicated(mesh)),
        out_shardings=sharding,
    )
    return prepare.lower(images, 0).compile(), images


@pytest.mark.long
def test_the_strongest_is_pure_in_the_key():
    prepare, images = compiled_strong(1)
    (first, share), (again, _), (other, _) = (jax.device_get(prepare(images, seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.isfinite(first).all() and not np.array_equal(first, other)
    assert 0.3 < (share == 1).mean() < 0.7


@pytest.mark.long
def test_the_devices_number_changes_nothing_and_no_images_are_sent():
    results = [jax.device_get(prepare(images, 3)) for prepare, images in map(compiled_strong, (1, 8))]
    jax.tree.map(lambda one, eight: np.testing.assert_allclose(one, eight, atol=1e-4), *results)
    lines = compiled_strong(8)[0].as_text().splitlines()
    sent = [line for line in lines if "all-gather" in line or "all-to-all" in line or "permute" in line]
    assert not any(",8,6,3]" in line or ",10,8,3]" in line for line in sent), sent


def test_without_augmentation_pixels_stay_as_they_are():
    images = noise(2, 8, 6)
    np.testing.assert_array_equal(prepare_eval(jnp.asarray(images), (8, 6), jnp.float32), images)
    np.testing.assert_array_equal(train(images, preset="none"), images)


def test_flip_mirrors_about_half_of_the_images_and_changes_nothing_else():
    images = noise(400, 8, 6)
    plain, found = np.asarray(train(images, preset="none")), np.asarray(train(images, preset="flip"))
    kept = (found == plain).all(axis=(1, 2, 3))
    mirrored = (found == plain[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (kept ^ mirrored).all()
    assert 150 < mirrored.sum() < 250  # 5 standard deviations


def test_crops_have_the_promised_areas_ratios_and_places(crop):
    """A linear ramp reveals the crop: its slopes are the crop's size, its mean is the centre."""
    height, width, shape, count = 80, 60, (64, 48), 300
    canvas = np.full((count, height, width, 3), 255, np.float32)
    canvas[..., 0], canvas[..., 1] = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    crops = np.asarray(crop(canvas, jax.random.key(0), shape, (0.5, 1.0)))
    np.testing.assert_allclose(crops[..., 2], 255, atol=1e-3)  # nothing from outside of the canvas gets in
    inner = crops[:, 8:-8, 8:-8]
    high = np.diff(inner[..., 0], axis=1).mean(axis=(1, 2)) * shape[0]
    wide = np.diff(inner[..., 1], axis=2).mean(axis=(1, 2)) * shape[1]
    area = high * wide / (height * width)
    ratio = np.log((wide / width) / (high / height))
    assert 0.45 < area.min() < 0.55 and 0.9 < area.max() < 1.001
    assert ratio.min() < -0.2 and ratio.max() > 0.2 and np.abs(ratio).max() < 0.2877 + 1e-3
    top = inner[..., 0].mean(axis=(1, 2)) - high / 2
    left = inner[..., 1].mean(axis=(1, 2)) - wide / 2
    assert top.min() > -0.1 and (top + high).max() < height + 0.1 and top.max() > 10
    assert left.min() > -0.1 and (left + wide).max() < width + 0.1 and left.max() > 10


def test_crops_stay_within_the_values_of_the_canvas(crop):
    crops = np.asarray(crop(noise(300, 80, 60).astype(np.float32), jax.random.key(0), (64, 48), (0.5, 1.0)))
    assert crops.min() >= -1e-3 and crops.max() <= 255 + 1e-3
    assert crops.std() > 20


def test_a_canvas_of_the_right_size_is_left_as_it_is():
    canvas = jnp.asarray(noise(2, 8, 6), jnp.float32)
    assert shrink(canvas, (8, 6)) is canvas


def test_every_image_gets_every_operation_in_some_step_and_each_slot_another():
    """Operations are recognized by their results on the same image, which does not use all values of 0 to 255."""
    count = SLOTS + 5
    images = np.tile(noise(1, 12, 12).astype(np.float32) * 0.5 + 20, (count, 1, 1, 1))
    policy = jax.jit(lambda key: apply_policy(jnp.asarray(images), key, TRIVIAL_AUGMENT._replace(strength=0.9)))
    results = np.stack([policy(jax.random.key(step)) for step in range(60)]).round(2)
    assert results.min() >= 0 and results.max() <= 255
    same = (results == images.round(2)).all(axis=(2, 3, 4))
    assert (same[:, :SLOTS].sum(axis=1) == 3).all()  # identity has three of the slots
    for step in range(60):
        assert len(np.unique(results[step, :SLOTS].reshape(SLOTS, -1), axis=0)) == 14
    for i in range(count):
        assert len(np.unique(results[:, i].reshape(60, -1), axis=0)) >= 14  # 14 operations, some with two signs
        assert 2 <= same[:, i].sum() <= 26  # expected are 3 / 16 of 60


def test_erasing_covers_a_rectangle_of_some_images():
    images = np.full((400, 20, 30, 3), 7, np.float32)
    erased = np.asarray(jax.jit(random_erasing, static_argnums=2)(images, jax.random.key(0), 0.25))
    covered = (erased != 7).all(axis=-1)
    assert 60 < covered.any(axis=(1, 2)).sum() < 140
    np.testing.assert_allclose(erased[covered], np.broadcast_to(255 * MEAN, erased[covered].shape), rtol=1e-5)
    for mask in covered[covered.any(axis=(1, 2))]:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert mask.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)  # all of a rectangle
        assert mask.mean() < 0.4


def test_neighbours_make_pairs():
    assert swap_pairs(jnp.arange(6)).tolist() == [1, 0, 3, 2, 5, 4]
    assert swap_pairs(jnp.arange(5)).tolist() == [1, 0, 3, 2, 4]


def test_a_picture_is_made_of_the_shares_that_its_labels_get():
    """Each image has a value of its own, so the mean of a picture tells its mixture."""
    values = np.arange(400, dtype=np.float32)
    images = np.broadcast_to(values[:, None, None, None], (400, 16, 12, 3))
    mixed, share = map(np.asarray, jax.jit(random_mix, static_argnums=2)(jnp.asarray(images), jax.random.key(0), 0.5))
    np.testing.assert_allclose(mixed.mean(axis=(1, 2, 3)), share * values + (1 - share) * swap_pairs(values), atol=1e-3)
    whole = share == 1
    assert 140 < whole.sum() < 260 and share.min() < 0.1
    np.testing.assert_array_equal(mixed[whole], images[whole])
    cut = np.array([len(np.unique(picture)) == 2 for picture in mixed])
    assert 50 < cut.sum() < 150


def test_soft_targets_and_the_dominant_label_by_hand():
    labels, share = jnp.asarray([0, 2, -1, 1, 1]), jnp.asarray([0.75, 1.0, 0.25, 0.5, 1.0])
    targets = soft_targets(labels, share, 3)
    expected = [[0.75, 0, 0.25], [0, 0, 1], [0, 0.75, 0], [0, 0.5, 0], [0, 1, 0]]
    np.testing.assert_allclose(targets, expected)
    assert dominant_labels(labels, share).tolist() == [0, 2, 1, 1, 1]
    assert dominant_labels(labels, jnp.asarray([0.4, 1, 1, 0.2, 0.9])).tolist() == [2, 2, -1, -1, 1]

"""Augmentation inside the compiled step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fashion_jax.data import augmentation
from fashion_jax.data.augmentation import PRESETS, normalize, prepare_eval, prepare_train, random_resized_crop, shrink

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def noise(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def train(images, seed=0, preset="flip", shape=(8, 6), dtype=jnp.float32):
    return prepare_train(jnp.asarray(images), jax.random.key(seed), preset, shape, dtype)


@pytest.fixture(scope="module")
def crop():
    """random_resized_crop, compiled once."""
    return jax.jit(random_resized_crop, static_argnums=2)


@pytest.mark.parametrize("preset", PRESETS)
def test_pure_in_the_key(preset):
    images = noise(16, 10, 8)
    first, again, other = (np.asarray(jitted(images, seed, preset)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, other) == (preset == "none")


@functools.partial(jax.jit, static_argnums=2)
def jitted(images, seed, preset):
    return train(images, seed, preset)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_shape_and_type(preset, dtype):
    images = jnp.asarray(noise(3, 10, 8))
    for prepared in (
        jax.eval_shape(lambda x: train(x, preset=preset, dtype=dtype), images),
        jax.eval_shape(lambda x: prepare_eval(x, (8, 6), dtype), images),
    ):
        assert prepared.shape == (3, 8, 6, 3) and prepared.dtype == dtype


def test_normalised_by_the_statistics_of_imagenet():
    images = noise(2, 8, 6)
    expected = (images / 255 - MEAN) / STD
    np.testing.assert_allclose(prepare_eval(jnp.asarray(images), (8, 6), jnp.float32), expected, atol=1e-5)
    np.testing.assert_allclose(train(images, preset="none"), expected, atol=1e-5)


def test_flip_mirrors_about_half_of_the_images_and_changes_nothing_else():
    images = noise(400, 8, 6)
    plain, found = np.asarray(train(images, preset="none")), np.asarray(train(images, preset="flip"))
    kept = (found == plain).all(axis=(1, 2, 3))
    mirrored = (found == plain[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (kept ^ mirrored).all()
    assert 150 < mirrored.sum() < 250  # 5 standard deviations


def test_a_crop_of_the_whole_canvas_is_a_resize(monkeypatch):
    monkeypatch.setattr(augmentation, "_CROP_SCALE", (1.0, 1.0 + 1e-7))
    monkeypatch.setattr(augmentation, "_CROP_LOG_RATIO", 0.0)
    canvas = jnp.asarray(noise(4, 20, 16), jnp.float32)
    whole = jax.jit(lambda x: random_resized_crop(x, jax.random.key(0), (8, 8)))(canvas)
    np.testing.assert_allclose(whole, shrink(canvas, (8, 8)), atol=1e-2)


def test_crops_have_the_promised_areas_ratios_and_places(crop):
    """Read from ramps: on a linear image a crop's slopes are its size, and its mean is its centre."""
    height, width, shape, count = 80, 60, (64, 48), 300
    canvas = np.full((count, height, width, 3), 255, np.float32)
    canvas[..., 0], canvas[..., 1] = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    crops = np.asarray(crop(canvas, jax.random.key(0), shape))
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
    crops = np.asarray(crop(noise(300, 80, 60).astype(np.float32), jax.random.key(0), (64, 48)))
    assert crops.min() >= -1e-3 and crops.max() <= 255 + 1e-3
    assert crops.std() > 20


def test_a_canvas_of_the_right_size_is_left_as_it_is():
    canvas = jnp.asarray(noise(2, 8, 6), jnp.float32)
    assert shrink(canvas, (8, 6)) is canvas
    flat = normalize(jnp.full((1, 1, 1, 3), 255.0), jnp.float32)
    np.testing.assert_allclose(flat[0, 0, 0], (1 - MEAN) / STD, rtol=1e-5)

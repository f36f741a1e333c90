"""Crops, affine maps and operations on colors, against JAX's, Pillow's and the standard library's."""

import colorsys
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from fashion_jax.data.augmentation import color, geometry
from fashion_jax.data.augmentation.presets import Affine, Jitter

RNG = np.random.default_rng(0)
PHOTO = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (6, 5, 3), np.uint8)).resize((30, 24), Image.Resampling.BICUBIC)
)  # smooth, with all colors


def of_one(operation, *values):
    """Applies the operation to PHOTO alone, [height, width, 3]."""
    pixels = jnp.asarray(PHOTO[None], jnp.float32)
    return np.asarray(jax.jit(operation)(pixels, *(jnp.asarray([value], jnp.float32) for value in values)))[0]


@pytest.mark.parametrize(("shape", "dtype"), [((64, 48), np.float64), ((10, 12), np.float32), ((100, 90), np.float32)])
def test_crops_equal_scale_and_translate(shape, dtype):
    """Crops are smaller, larger and much smaller than the canvas."""
    with jax.enable_x64(dtype == np.float64):
        images = jnp.asarray(RNG.uniform(0, 255, (6, 80, 60, 3)), dtype)
        fractions = RNG.uniform(0.3, 1, (6, 2))
        fractions[0] = 1
        start = jnp.asarray(RNG.uniform(0, 1, (6, 2)) * (1 - fractions) * [80, 60], dtype)
        size = jnp.asarray(fractions * [80, 60], dtype)

        @jax.jit
        @jax.vmap
        def reference(image, start, size):
            scale = jnp.asarray(shape, dtype) / size
            return jax.image.scale_and_translate(
                image, (*shape, 3), (0, 1), scale, -start * scale, "linear", antialias=True
            )

        found = jax.jit(geometry.crop, static_argnums=3)(images, start, size, shape)
        expected = reference(images, start, size)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, atol=1e-10 if dtype == np.float64 else 5e-3)
        np.testing.assert_allclose(found[0], geometry.shrink(images, shape)[0], atol=5e-3)


AFFINE = jax.jit(geometry.affine)
NONE = {"angle": 0.0, "shear": (0.0, 0.0), "move": (0.0, 0.0), "scale": 1.0}


def moved(images, **change):
    values = {name: jnp.asarray([value] * len(images), jnp.float32) for name, value in (NONE | change).items()}
    return np.asarray(AFFINE(jnp.asarray(images, jnp.float32), **values))


def test_affine_by_hand():
    image = RNG.uniform(0, 200, (1, 9, 9, 3)).astype(np.float32)
    np.testing.assert_allclose(moved(image), image, atol=1e-3)
    np.testing.assert_allclose(moved(image, angle=90.0)[0], np.rot90(image[0], -1), atol=1e-2)  # clockwise
    np.testing.assert_allclose(moved(image, angle=-180.0)[0], image[0, ::-1, ::-1], atol=1e-2)
    down = moved(image, move=(2.0, 0.0))
    np.testing.assert_allclose(down[:, 2:], image[:, :-2], atol=1e-3)
    np.testing.assert_allclose(down[:, :2], 255)
    right = moved(image, move=(0.0, 0.5))
    np.testing.assert_allclose(right[:, :, 1:], (image[:, :, 1:] + image[:, :, :-1]) / 2, atol=1e-3)
    sheared = moved(image, shear=(0.0, 1.0))  # a row moves right by its distance below the middle
    for row in range(9):
        np.testing.assert_allclose(
            sheared[0, row], moved(image, move=(0.0, row - 4.0))[0, row], atol=1e-2, err_msg=str(row)
        )
    stretched = moved(image, shear=(1.0, 0.0))
    np.testing.assert_allclose(stretched[0, :, 6], moved(image, move=(2.0, 0.0))[0, :, 6], atol=1e-2)
    half = moved(image, scale=0.5)
    np.testing.assert_allclose(half[0, 4, [3, 4, 5]], image[0, 4, [2, 4, 6]], atol=1e-3)
    np.testing.assert_allclose(half[0, 0], 255)


def test_affine_equals_pillow_inside():
    """Rotates by 20 degrees, bilinear; Pillow turns counter-clockwise."""
    expected = np.asarray(Image.fromarray(PHOTO).rotate(20, Image.Resampling.BILINEAR, fillcolor=(255, 255, 255)))
    found = moved(PHOTO[None], angle=-20.0)[0]
    np.testing.assert_allclose(found[6:-6, 8:-8], expected[6:-6, 8:-8], atol=2)
    np.testing.assert_allclose(found[0, 0], 255)


def test_random_changes_stay_within_their_ranges():
    random_affine, jitter = (jax.jit(f, static_argnums=2) for f in (geometry.random_affine, color.jitter))
    images = jnp.asarray(np.tile(PHOTO, (200, 1, 1, 1)), jnp.float32)
    still = random_affine(images, jax.random.key(0), Affine(0.0, 0.0, 0.0, 0.0))
    np.testing.assert_allclose(still, images, atol=1e-3)
    dot = np.full((200, 41, 41, 1), 255, np.float32)
    dot[:, 20, 20] = 0
    shifted = 255 - random_affine(jnp.asarray(dot), jax.random.key(0), Affine(0.0, 0.2, 0.0, 0.0))[..., 0]
    rows = (shifted.sum(axis=2) * np.arange(41)).sum(axis=1) / shifted.sum(axis=(1, 2)) - 20
    assert -8.3 <= rows.min() < -7 and 7 < rows.max() <= 8.3
    same = jitter(images, jax.random.key(0), Jitter(0.0, 0.0, 0.0, 0.0))
    np.testing.assert_allclose(same, images, atol=1e-3)
    means = np.asarray(jitter(images, jax.random.key(0), Jitter(0.2, 0.0, 0.0, 0.0))).mean(axis=(1, 2, 3))
    assert 0.8 <= means.min() / PHOTO.mean() < 0.83 and 1.1 < means.max() / PHOTO.mean() <= 1.2


def test_random_changes_are_drawn_from_the_whole_of_their_ranges(monkeypatch):
    images, drawn = jnp.zeros((500, 40, 20, 3)), {}

    def noted(name, pixels, *factors, **changes):
        drawn.update({name: factors[0]} if factors else changes)
        return pixels

    monkeypatch.setattr(geometry, "affine", functools.partial(noted, "affine"))
    for name in ("brightness", "contrast", "saturation", "hue"):
        monkeypatch.setattr(color, name, functools.partial(noted, name))
    geometry.random_affine(images, jax.random.key(0), Affine(30.0, 0.2, 0.1, 0.3))
    color.jitter(images, jax.random.key(0), Jitter(0.5, 0.4, 0.3, 0.1))
    (down, right), (none, sideways) = (np.asarray(drawn.pop(name)).T for name in ("move", "shear"))
    drawn |= {"down": down, "right": right, "sideways": sideways}
    most = {"angle": 30, "scale": 0.1, "down": 8, "right": 4, "sideways": 0.3}
    most |= {"brightness": 0.5, "contrast": 0.4, "saturation": 0.3, "hue": 0.1}
    assert drawn.keys() == most.keys() and not none.any()
    for name, values in drawn.items():
        middle = name in ("scale", "brightness", "contrast", "saturation")  # factors
        shares = (np.asarray(values) - middle) / most[name]
        assert -1.001 < shares.min() < -0.95 and 0.95 < shares.max() < 1.001, name


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
@pytest.mark.parametrize(
    ("operation", "enhancer"),
    [
        (color.brightness, ImageEnhance.Brightness),
        (color.contrast, ImageEnhance.Contrast),
        (color.saturation, ImageEnhance.Color),
        (color.sharpness, ImageEnhance.Sharpness),
    ],
)
def test_enhancements_equal_pillows(operation, enhancer, factor):
    expected = np.asarray(enhancer(Image.fromarray(PHOTO)).enhance(factor), np.float32)
    np.testing.assert_allclose(of_one(operation, factor), expected, atol=2)  # Pillow rounds in between


@pytest.mark.parametrize("shift", [0.0, 0.1, -0.25, 0.5, 1 / 3])
def test_hue_equals_colorsys(shift):
    expected = np.empty_like(PHOTO, np.float64)
    for place in np.ndindex(PHOTO.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*PHOTO[place] / 255)
        expected[place] = 255 * np.array(colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value))
    np.testing.assert_allclose(of_one(color.hue, shift), expected, atol=1e-2)


def test_gray_has_no_hue():
    gray = jnp.full((1, 4, 4, 3), 77.0)
    np.testing.assert_allclose(color.hue(gray, jnp.asarray([0.3])), gray)


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_posterize_equals_pillows(bits):
    np.testing.assert_array_equal(of_one(color.posterize, bits), ImageOps.posterize(Image.fromarray(PHOTO), bits))


@pytest.mark.parametrize("threshold", [0, 100, 255])
def test_solarize_equals_pillows(threshold):
    expected = np.asarray(ImageOps.solarize(Image.fromarray(PHOTO), threshold))
    np.testing.assert_array_equal(of_one(color.solarize, threshold), expected)


def test_a_value_just_below_a_whole_one_is_that_whole_one():
    """Otherwise the last bit of a resampled 128 would decide between 128 and 112."""
    almost = jnp.full((1, 2, 2, 3), 128 - 1e-5)
    assert (color.posterize(almost, jnp.asarray([4.0])) == 128).all()
    assert (color.solarize(almost, jnp.asarray([128.0])) == 127).all()


def test_autocontrast_equals_pillows():
    dull = (PHOTO // 3 + 50).astype(np.uint8)
    dull[..., 2] = 9  # a channel of one value
    found = np.asarray(color.autocontrast(jnp.asarray(dull[None], jnp.float32)))[0]
    expected = np.asarray(ImageOps.autocontrast(Image.fromarray(dull)), np.float32)
    np.testing.assert_allclose(found, expected, atol=1)


@pytest.mark.parametrize("image", ["photo", "noise", "one value", "two values"])
def test_equalize_equals_pillows(image):
    pixels = {
        "photo": PHOTO,
        "noise": RNG.integers(40, 90, PHOTO.shape, np.uint8),
        "one value": np.full(PHOTO.shape, 33, np.uint8),
        "two values": RNG.choice(np.array([10, 240], np.uint8), PHOTO.shape),
    }[image]
    found = np.asarray(jax.jit(color.equalize)(jnp.asarray(pixels[None], jnp.float32)))[0]
    np.testing.assert_array_equal(found, np.asarray(ImageOps.equalize(Image.fromarray(pixels))))

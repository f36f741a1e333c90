"""Resizing: what it preserves of an image and what it removes."""

import numpy as np
import pytest
from PIL import Image

from fashion_jax.data.decoding.resizing import resized
from tests.zoo import photo


@pytest.mark.parametrize("before", [(64, 64), (70, 100), (121, 89), (200, 150), (533, 400), (1111, 70), (40, 30)])
def test_it_is_nearly_what_pillow_and_tensorflow_call_bilinear(before):
    """The mean difference is within 2 of 256; without the filter it would be up to 14."""
    image = photo(*before)
    expected = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR)).astype(int)
    found = resized(np.asarray(image), (64, 64))
    assert (found.shape, found.dtype) == ((64, 64, 3), np.uint8)
    assert np.abs(found - expected).mean() < 2
    assert np.abs(found.mean(axis=(0, 1)) - expected.mean(axis=(0, 1))).max() < 0.5


@pytest.mark.parametrize("scale", [1.6, 2, 2.4, 3, 3.9, 4.1, 6.5, 12])
@pytest.mark.parametrize("axis", [0, 1])
def test_stripes_that_are_too_fine_become_grey(scale, axis):
    """At most a third of their contrast (standard deviation 127.5) is left, as INTER_AREA leaves at worst."""
    stripes = np.zeros((480, 480, 3), np.uint8)
    stripes.swapaxes(0, axis)[::2] = 255
    found = resized(stripes, (round(480 / scale),) * 2)[5:-5, 5:-5]
    assert found.std() < 127.5 / 3 and abs(found.mean() - 127.5) < 1


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (20, 20), (64, 7), (7, 64)])
@pytest.mark.parametrize("before", [(20, 20), (1, 300), (300, 1), (90, 45)])
def test_one_color_stays_as_it_is(before, size):
    for value in (0, 1, 127, 200, 254, 255):
        found = resized(np.full((*before, 3), value, np.uint8), size)
        assert found.shape == (*size, 3) and (found == value).all()


def test_an_image_of_the_size_wanted_is_not_changed():
    image = np.asarray(photo(30, 40))
    np.testing.assert_array_equal(resized(image, (30, 40)), image)

"""The fast resizing against TensorFlow's own."""

import numpy as np
import pytest

from fashion_jax.data.images import import_tensorflow
from fashion_jax.data.resizing import resized


@pytest.mark.parametrize(
    ("before", "after"),
    [((53, 40), (22, 22)), ((9, 7), (20, 30)), ((20, 20), (20, 20)), ((1, 30), (4, 3)), ((5, 1), (2, 2))],
)
def test_it_equals_the_plain_one(before, after):
    tf = import_tensorflow()
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (*before, 3), np.uint8))
    expected = tf.image.resize(image, after, antialias=True).numpy()
    found = resized(tf, image, tf.constant(after)).numpy()
    assert (found.shape, found.dtype) == (expected.shape, np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-4)

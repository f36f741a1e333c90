"""What a StableHLO export consists of; that it answers as the run is tested with the network."""

import jax
import numpy as np
import pytest
from jax import export

from fashion_jax.serving.exports.graph import IMAGES, Layer, Network
from fashion_jax.serving.exports.operations import Cast, Dense, Identity, Likeliest, Mean, Softmax
from fashion_jax.serving.exports.stablehlo import MODEL_FILE, PLATFORMS, read, write
from fashion_jax.taxonomy import Taxonomy


@pytest.fixture
def folder(tmp_path):
    """Returns the folder of an export of a network of two layers with weights."""
    layers = (
        Layer("pixels", Cast(), (IMAGES,)),
        Layer("mean", Mean(), ("pixels",)),
        Layer("logits", Dense(np.eye(3, dtype=np.float32), np.zeros(3, np.float32)), ("mean",)),
        Layer("a_probabilities", Softmax(), ("logits",)),
        Layer("path", Likeliest(np.array([[0], [1], [2]], np.int32)), ("a_probabilities",)),
        Layer("features", Identity(), ("mean",)),
    )
    taxonomy = Taxonomy(("a",), {"a": ("x", "y", "z")}, {"a": ()})
    write(Network(layers, (4, 6), "stretch", taxonomy, 3), tmp_path)
    return tmp_path


def test_the_file_is_a_program_for_every_platform_and_any_batch(folder):
    exported = export.deserialize(bytearray((folder / MODEL_FILE).read_bytes()))
    assert exported.platforms == PLATFORMS == ("cpu", "cuda", "tpu")
    (images,) = exported.in_avals
    assert images.dtype == np.uint8 and images.shape[1:] == (4, 6, 3)
    assert not isinstance(images.shape[0], int)


@pytest.mark.parametrize("count", [1, 3, 300])
def test_any_number_of_images_gets_the_same_answers(folder, count):
    images = np.random.default_rng(0).integers(0, 256, (count, 4, 6, 3)).astype(np.uint8)
    found = read(folder)(images)
    features = images.mean(axis=(1, 2))
    np.testing.assert_allclose(found["features"], features, rtol=1e-5)
    np.testing.assert_allclose(found["a_probabilities"], jax.nn.softmax(features), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found["path"][:, 0], features.argmax(1))
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(found, count)

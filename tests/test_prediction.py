"""Predictions of a split, batch by batch."""

import weakref
from types import SimpleNamespace

import jax
import numpy as np

from fashion_jax.devices.mesh import create_mesh
from fashion_jax.step import prediction


def test_the_results_of_batches_do_not_pile_up(monkeypatch):
    """Their rows are copied into the table of all, so that it is not in memory twice."""
    results, alive = [], []

    def fetch(tree):
        alive.append(sum(result() is not None for result in results))
        fetched = {level: np.array(rows) for level, rows in tree.items()}
        results.extend(weakref.ref(rows) for rows in fetched.values())
        return fetched

    monkeypatch.setattr(prediction, "fetch", fetch)
    images = np.arange(4 * 3 * 2, dtype=np.float32).reshape(4, 3, 2)  # batches, images, values
    step = jax.jit(lambda params, model_state, batch: {"main": batch["image"][:, :1], "sub": batch["image"]})
    state, mesh = SimpleNamespace(eval_variables=(1, {})), create_mesh(jax.devices()[:1])
    tables = prediction.predict_split(state, ({"image": batch} for batch in images), 10, step, mesh)
    np.testing.assert_array_equal(tables["sub"], images.reshape(12, 2)[:10])
    np.testing.assert_array_equal(tables["main"], images.reshape(12, 2)[:10, :1])
    assert alive == [0] * 4

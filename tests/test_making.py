"""Making an export: what a run that does not compute in float32 is compared with."""

import numpy as np

from fashion_jax.serving.engine import RunEngine
from fashion_jax.serving.exports.check import live_outputs
from fashion_jax.serving.exports.making import in_float32
from tests.untrained import TEMPERATURES, live_answers, make_config, make_trained, random_canvases, shrink_all_trunks


def test_a_run_in_bfloat16_is_compared_in_float32(monkeypatch):
    shrink_all_trunks(monkeypatch)
    half, whole = (
        make_trained(make_config({"model.name": "resnet18", "dtype": dtype})) for dtype in ("bfloat16", "float32")
    )
    images = random_canvases(half, 3)
    expected = live_answers(whole, TEMPERATURES, images)
    found = live_outputs(RunEngine(in_float32(half), None, TEMPERATURES), images)
    assert half.config.dtype == "bfloat16"
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
    rounded = live_answers(half, TEMPERATURES, images)
    assert max(np.abs(rounded[name] - expected[name]).max() for name in expected if "prob" in name) > 1e-4

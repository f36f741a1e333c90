"""SavedModel and TFLite: every kind of network answers as the run does, in batches of any size."""

import numpy as np
import pytest

from fashion_jax.serving.exports import savedmodel, tflite
from fashion_jax.serving.exports.network import build_network
from tests.untrained import (
    CASES,
    LARGE_CASES,
    TEMPERATURES,
    live_answers,
    make_config,
    make_trained,
    random_canvases,
    shrink_all_trunks,
)


def check(case: str, tmp_path) -> None:
    trained = make_trained(make_config((CASES | LARGE_CASES)[case]))
    network = build_network(trained, TEMPERATURES)
    images = random_canvases(trained, 5)
    expected = live_answers(trained, TEMPERATURES, images)
    for module in (savedmodel, tflite):
        module.write(network, tmp_path)
        run = module.read(tmp_path)
        for count in (5, 1, 3):
            found = run(images[:count])
            for name, values in expected.items():
                np.testing.assert_allclose(found[name], values[:count], rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    "case", [pytest.param(x, marks=pytest.mark.long if x == "bottlenecks, conditions" else ()) for x in CASES]
)
def test_a_network_answers_as_the_run(case, tmp_path, monkeypatch):
    shrink_all_trunks(monkeypatch)
    check(case, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("case", CASES | LARGE_CASES)
def test_a_whole_network_answers_as_the_run(case, tmp_path):
    check(case, tmp_path)


@pytest.mark.parametrize("case", [name for name in CASES if name.startswith(("basic", "VGG"))])
def test_8_bit_integers_answer_nearly_as_the_run(case, tmp_path, monkeypatch):
    shrink_all_trunks(monkeypatch)
    trained = make_trained(make_config(CASES[case]))
    images = random_canvases(trained, 32)
    tflite.write(build_network(trained, TEMPERATURES), tmp_path, images)
    run = tflite.read(tmp_path)
    expected = live_answers(trained, TEMPERATURES, images)
    for count in (32, 1):
        found = run(images[:count])
        for level in trained.taxonomy.levels:
            name = f"{level}_probabilities"
            assert np.abs(found[name] - expected[name][:count]).mean() < 0.03

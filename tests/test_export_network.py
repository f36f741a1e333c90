"""The network of an export answers as the run does, as StableHLO and as ONNX."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
import pytest

from fashion_jax.config.architectures import TRUNKS
from fashion_jax.models.classifier import create_model
from fashion_jax.scoring.temperature import apply_temperatures
from fashion_jax.scoring.tree_decoding import decode, predicted_classes
from fashion_jax.serving.exports import onnx_file, stablehlo
from fashion_jax.serving.exports.graph import Graph
from fashion_jax.serving.exports.jax_operations import compute
from fashion_jax.serving.exports.network import build_network
from fashion_jax.serving.exports.operations import Conv, Dense
from fashion_jax.serving.exports.tree import add_decoding
from fashion_jax.serving.exports.trunks import add_trunk
from fashion_jax.taxonomy import Taxonomy
from tests import untrained
from tests.untrained import (
    CASES,
    LARGE_CASES,
    TAXONOMY,
    TEMPERATURES,
    live_answers,
    make_config,
    make_trained,
    random_canvases,
)

LINEAR = {"model.heads": {level: "linear" for level in TAXONOMY.levels}}


@pytest.fixture
def small(monkeypatch):
    untrained.shrink_all_trunks(monkeypatch)


def check(fields: dict, folder: Path) -> None:
    """Checks what the exports in two formats answer of a run whose config has these fields."""
    trained = make_trained(make_config(fields))
    network = build_network(trained, TEMPERATURES)
    images = random_canvases(trained, 4)
    expected = live_answers(trained, TEMPERATURES, images)
    assert network.outputs == (*expected,) and network.num_features == expected["features"].shape[1]
    assert {len(set(row)) for row in np.round(expected[network.outputs[0]], 3).T} != {1}, "all images look the same"
    for form in (onnx_file, stablehlo):  # the latter computes what `apply` does
        form.write(network, folder)
        found = form.read(folder)(images)
        assert {*found} == {*expected}
        for name, values in expected.items():
            assert found[name].shape == values.shape
            assert found[name].dtype == (np.int32 if name == "path" else np.float32)
            np.testing.assert_allclose(found[name], values, atol=1e-5, rtol=1e-4, err_msg=f"{form.__name__}: {name}")


@pytest.mark.parametrize("case", CASES)
def test_it_answers_as_the_run(case, small, tmp_path):
    check(CASES[case], tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("case", LARGE_CASES)
def test_it_answers_as_a_run_with_many_weights(case, small, tmp_path):
    check(LARGE_CASES[case], tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", [*TRUNKS, "hybrid"])
def test_the_whole_trunk_answers_as_the_run(name, tmp_path):
    check({"model.name": name, "image_size": 64}, tmp_path)


@pytest.mark.parametrize("name", [*TRUNKS, "hybrid"])
def test_every_trunk_of_a_config_is_known(name, small):
    trunk = create_model(make_config({"model.name": name}), TAXONOMY).trunk
    assert add_trunk.dispatch(type(trunk)) is not add_trunk.dispatch(object), f"add {name} to serving/exports/trunks.py"


def test_what_exports_do_not_know_is_named(small):
    trained = make_trained(make_config({"model.name": "resnet18", **LINEAR}))

    def with_model(**fields):
        program = dataclasses.replace(trained.program, model=trained.program.model.clone(**fields))
        return dataclasses.replace(trained, program=program)

    with pytest.raises(TypeError, match="trunk Dense"):
        build_network(with_model(trunk=nn.Dense(3)), {})
    with pytest.raises(TypeError, match="head Dense"):
        build_network(with_model(heads={"main": nn.Dense(3)}), {})
    trained.state.params["trunk"]["temperature"] = np.zeros(3)
    with pytest.raises(TypeError, match="trunk/temperature"):
        build_network(trained, {})


def test_the_average_of_a_run_is_taken_in_float32(small):
    trained = make_trained(make_config({"model.name": "resnet18", "dtype": "bfloat16", **LINEAR}))
    params, model_state = trained.state.eval_variables
    average = {"params": jax.tree.map(lambda x: x + 1, params), "model_state": model_state}
    network = build_network(dataclasses.replace(trained, state=trained.state.replace(average=average)), {})
    weights = [layer.operation for layer in network.layers if isinstance(layer.operation, Conv | Dense)]
    assert {x.dtype for layer in weights for x in (layer.kernel, layer.bias)} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(weights[-1].bias, params["heads_type"]["logits"]["bias"] + 1)


class Tree(NamedTuple):
    """A taxonomy by its parents, and what the log-probabilities of its levels are multiplied by."""

    parents: dict
    size: int
    spread: float = 1.0


TREES = {
    "one level": Tree({}, 4),
    "one class": Tree({"b": (0,)}, 1),
    "childless classes at every level": Tree({"b": (2, 0, 0), "c": (1, 1), "d": (0,)}, 3),
    "heads that are too sure": Tree({"b": (1, 0, 1, 0, 2), "c": (4, 3, 2, 1, 0, 0)}, 3, spread=300.0),
}


def results(graph: Graph, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the results of all layers by name, given the inputs."""

    @jax.jit
    def compute_all(values):
        values = dict(values)
        for layer in graph.layers:
            values[layer.name] = compute(layer.operation, *(values[name] for name in layer.inputs))
        return values

    return jax.device_get(compute_all(inputs))


@pytest.mark.parametrize("case", TREES)
def test_the_tree_is_decoded_as_by_predict(case):
    tree = TREES[case]
    levels = ("a", *tree.parents)
    sizes = dict(zip(levels, [tree.size, *map(len, tree.parents.values())], strict=True))
    classes = {level: tuple(f"{level}{i}" for i in range(size)) for level, size in sizes.items()}
    taxonomy = Taxonomy(levels, classes, {"a": (), **tree.parents})
    rng = np.random.default_rng(0)
    logits = {level: tree.spread * rng.normal(size=(50, size)).astype(np.float32) for level, size in sizes.items()}
    log_probs = {level: np.asarray(jax.nn.log_softmax(x)) for level, x in logits.items()}
    temperatures = dict(zip(levels, (0.5, 3.0, 1.0, 2.0), strict=False))
    graph = Graph()
    add_decoding(graph, {level: level for level in levels}, temperatures, taxonomy)
    values = results(graph, log_probs)
    decoded = decode(apply_temperatures(log_probs, temperatures), taxonomy, "conditional")
    for level, expected in decoded.items():
        np.testing.assert_allclose(values[f"{level}_probabilities"], np.exp(expected), atol=1e-5)
    path = np.stack([*predicted_classes(decoded, taxonomy, "conditional").values()], axis=1)
    np.testing.assert_array_equal(values["path"], path)


def test_the_first_of_equally_likely_paths_is_taken():
    taxonomy = Taxonomy(("a", "b"), {"a": ("x", "y", "z"), "b": ("z/1", "x/2")}, {"a": (), "b": (2, 0)})
    graph = Graph()
    add_decoding(graph, {"a": "a", "b": "b"}, {}, taxonomy)
    likely = {"a": np.float32([[0.25, 0.5, 0.25], [0.5, 0.25, 0.25]]), "b": np.full((2, 2), 0.5, np.float32)}
    log_probs = {level: np.log(x) for level, x in likely.items()}
    np.testing.assert_array_equal(results(graph, log_probs)["path"], [[1, -1], [0, 1]])

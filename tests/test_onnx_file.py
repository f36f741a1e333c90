"""What an ONNX export consists of; that it answers as the run is tested with the network."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest

from fashion_jax.serving.exports.graph import IMAGES, Layer, Network
from fashion_jax.serving.exports.network import build_network
from fashion_jax.serving.exports.onnx_file import MODEL_FILE, onnx_model, read, write
from fashion_jax.serving.exports.operations import Cast, Dense, Identity, Likeliest, Mean, Softmax
from fashion_jax.taxonomy import Taxonomy
from tests import untrained
from tests.untrained import CASES, LARGE_CASES, TAXONOMY, TEMPERATURES, make_config, make_trained, random_canvases

ROOT = Path(__file__).parent
# Of the CPU builds of onnxruntime and onnxruntime-web, tested in both.
OPERATORS = {"Add", "ArgMax", "Cast", "Concat", "Conv", "Flatten", "Gather", "Gemm", "GlobalAveragePool", "Identity"}
OPERATORS |= {"LogSoftmax", "MatMul", "MaxPool", "Mul", "ReduceLogSumExp", "Relu", "Reshape", "Sigmoid", "Slice"}
OPERATORS |= {"Softmax", "Sub", "Tanh", "Transpose"}
RUNTIME = os.environ.get("ONNXRUNTIME_WEB", "")  # the unpacked npm package


@pytest.fixture(
    scope="module", params=["basic blocks, canvas, mirror images, post hoc", "gated hybrid, a level without a head"]
)
def network(request):
    with pytest.MonkeyPatch.context() as patch:
        untrained.shrink_all_trunks(patch)
        return build_network(make_trained(make_config(CASES[request.param])), TEMPERATURES)


def test_the_file_says_what_goes_in_and_out(network, tmp_path):
    write(network, tmp_path)
    model = onnx.load(tmp_path / MODEL_FILE)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version >= 17 and {node.op_type for node in model.graph.node} <= OPERATORS
    shapes = {
        value.name: (
            value.type.tensor_type.elem_type,
            [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim],
        )
        for value in [*model.graph.input, *model.graph.output]
    }
    height, width = network.canvas
    assert shapes.pop(IMAGES) == (onnx.TensorProto.UINT8, ["batch", height, width, 3])
    assert (*shapes,) == ("main_probabilities", "sub_probabilities", "type_probabilities", "path", "features")
    assert shapes["path"] == (onnx.TensorProto.INT32, ["batch", 3])
    assert shapes["features"] == (onnx.TensorProto.FLOAT, ["batch", network.num_features])
    about = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert about["canvas"] == [*network.canvas] and about["resize"] == "stretch"
    assert about["levels"] == [*TAXONOMY.levels]
    assert about["labels"] == {level: [*names] for level, names in TAXONOMY.classes.items()}


def test_weights_are_stored_once(network):
    arrays = [x for layer in network.layers for x in vars(layer.operation).values() if isinstance(x, np.ndarray)]
    assert onnx_model(network).ByteSize() < sum(x.nbytes for x in arrays) + 100_000


def test_any_number_of_images_gets_the_same_answers(network, tmp_path):
    write(network, tmp_path)
    compute = read(tmp_path)
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    images = np.random.default_rng(0).integers(0, 256, (5, *network.canvas, 3)).astype(np.uint8)
    whole = compute(images)
    assert (*whole,) == network.outputs
    for part in (slice(0, 1), slice(2, 5)):
        for name, values in compute(images[part]).items():
            np.testing.assert_allclose(values, whole[name][part], atol=1e-5, rtol=1e-5)


def test_the_first_of_equal_classes_is_taken(tmp_path):
    taxonomy = Taxonomy(("a",), {"a": ("x", "y", "z")}, {"a": ()})
    layers = (
        Layer("pixels", Cast(), (IMAGES,)),
        Layer("mean", Mean(), ("pixels",)),
        Layer("logits", Dense(np.zeros((3, 3), np.float32), np.float32([0, 1, 1])), ("mean",)),
        Layer("a_probabilities", Softmax(), ("logits",)),
        Layer("path", Likeliest(np.array([[2], [0], [1]], np.int32)), ("a_probabilities",)),
        Layer("features", Identity(), ("mean",)),
    )
    write(Network(layers, (4, 4), "stretch", taxonomy, 3), tmp_path)
    np.testing.assert_array_equal(read(tmp_path)(np.zeros((2, 4, 4, 3), np.uint8))["path"], [[0], [0]])


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
@pytest.mark.skipif(not RUNTIME, reason="needs ONNXRUNTIME_WEB, the folder of the unpacked npm package onnxruntime-web")
@pytest.mark.parametrize("case", CASES | LARGE_CASES)
def test_it_answers_alike_in_the_runtime_of_browsers(case, tmp_path, monkeypatch):
    untrained.shrink_all_trunks(monkeypatch)
    trained = make_trained(make_config((CASES | LARGE_CASES)[case]))
    write(build_network(trained, TEMPERATURES), tmp_path)
    images = random_canvases(trained, 3)
    (tmp_path / "images").write_bytes(images.tobytes())
    shape = ",".join(map(str, images.shape))
    files = (tmp_path / name for name in (MODEL_FILE, "images", "outputs.json"))
    subprocess.run(["node", ROOT / "onnxruntime_web.mjs", RUNTIME, *files, shape], check=True)
    found = json.loads((tmp_path / "outputs.json").read_text())
    for name, values in read(tmp_path)(images).items():
        assert found[name]["type"] == str(values.dtype)
        np.testing.assert_allclose(np.reshape(found[name]["data"], values.shape), values, atol=1e-5, rtol=1e-4)

"""Weights of torchvision and timm: every array is matched, and the features equal PyTorch's stored ones.

The reference is written by scripts/make_pretrained_reference.py, from the same weights and pixels.
"""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import load_file, save_file

from fashion_jax.config.architectures import RESNETS, TRUNKS, VGGS, ResNetSizes
from fashion_jax.config.fields import MEAN, STD
from fashion_jax.errors import UserError
from fashion_jax.models.classifier import create_trunk
from fashion_jax.models.pretrained.__main__ import main
from fashion_jax.models.pretrained.names import hidden_leaves, trunk_leaves
from fashion_jax.models.pretrained.source import is_weights, open_weights
from fashion_jax.workdir.trained import load_trained
from tests.parity import weights
from tests.small_trunks import shrink_trunks

PIXELS = {"mean": weights.MEAN, "std": weights.STD}


@pytest.fixture
def small(monkeypatch):
    """Makes the trunks small, and the map that a VGG's classifier reads."""
    shrink_trunks(monkeypatch)
    monkeypatch.setitem(RESNETS, "resnet18", ResNetSizes((1, 1)))
    monkeypatch.setitem(RESNETS, "resnet50", ResNetSizes((1, 1), has_bottlenecks=True))
    monkeypatch.setitem(VGGS, "vgg16_bn", VGGS["vgg16"])


def state_dict(architecture, *, last=("fc.weight", "fc.bias")) -> dict[str, np.ndarray]:
    """Returns a state dict of a trunk, with counts of BatchNorm and a last layer, which are both not used."""
    arrays = weights.draw_state_dict({leaf.name: leaf.shape for leaf in trunk_leaves(architecture)})
    counts = {k.replace("running_mean", "num_batches_tracked"): np.array(7) for k in arrays if "running_mean" in k}
    return arrays | counts | {name: np.ones((5, 3)[: 2 - name.count("bias")], np.float32) for name in last}


def write(folder, arrays, config=None):
    """Returns the file of the arrays, or the folder of a repository if a config is given."""
    folder.mkdir(exist_ok=True)
    save_file({k: np.ascontiguousarray(x) for k, x in arrays.items()}, folder / "model.safetensors")
    if config is None:
        return str(folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(folder)


def refusal(source, architecture) -> str:
    with pytest.raises(UserError) as caught:
        open_weights(source, "model.init_from.x", architecture)
    assert str(caught.value).startswith(f"model.init_from.x is {source!r}, ")
    return str(caught.value)


@pytest.mark.parametrize("name", TRUNKS)
def test_the_table_has_every_array_of_the_trunk_in_its_shape(name):
    module = create_trunk(name, PIXELS)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32), train=False))
    leaves = {(leaf.collection, *leaf.path): leaf.to_flax(np.empty(leaf.shape)).shape for leaf in trunk_leaves(name)}
    assert leaves == {path: x.shape for path, x in flatten_dict(shapes).items() if path[0] in ("params", "batch_stats")}


# test_parity has ResNet-34, of the same blocks as ResNet-18
LONG = [pytest.param(name, marks=pytest.mark.long) for name in ("resnet18", "resnet34")]


@pytest.mark.parametrize("name", [*LONG, "resnet50", "vgg16", "vgg16_bn"])
def test_features_equal_pytorchs(name):
    leaves = trunk_leaves(name)
    drawn = weights.draw_state_dict({leaf.name: leaf.shape for leaf in leaves})
    variables = unflatten_dict({(leaf.collection, *leaf.path): leaf.to_flax(drawn[leaf.name]) for leaf in leaves})
    module = create_trunk(name, PIXELS)
    features = jax.jit(lambda variables, x: module.apply(variables, x, train=False))(variables, weights.draw_pixels())
    expected = json.loads(weights.REFERENCE.read_text(encoding="utf-8"))["features"][name]
    difference = np.abs(weights.chosen(np.asarray(features)) - expected["chosen"]).max()
    assert difference <= 1e-4 * expected["largest"]


def test_the_first_hidden_layer_of_a_vgg_reads_its_map_by_height_width_and_channel():
    (leaf, *_), rng = hidden_leaves("vgg16"), np.random.default_rng(0)
    maps = rng.normal(size=(2, 7, 7, 512))
    kernel = rng.normal(size=(3, 512 * 49))
    expected = maps.transpose(0, 3, 1, 2).reshape(2, -1) @ kernel.T
    np.testing.assert_allclose(maps.reshape(2, -1) @ leaf.to_flax(kernel), expected)
    np.testing.assert_array_equal(leaf.to_torch(leaf.to_flax(kernel)), kernel)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vgg16", "vgg16_bn"])
def test_a_round_trip_is_bit_exact(small, tmp_path, name, capsys):
    arrays = state_dict(name)
    assert main([write(tmp_path / "a", arrays), "--to-torch", str(tmp_path / "b.safetensors")]) == 0
    written, expected = load_file(tmp_path / "b.safetensors"), {leaf.name for leaf in trunk_leaves(name)}
    assert written.keys() == expected
    for key, x in written.items():
        np.testing.assert_array_equal(x, arrays[key], key)
    told = capsys.readouterr().out
    assert f"architecture: {name}\n" in told and "the layer fc of its classifier is left out" in told
    assert f"{len(expected)} of the trunk" in told and "mean 0.485, 0.456, 0.406; std 0.229, 0.224, 0.225" in told


def test_the_trunk_of_a_run_is_written_as_torchvision_has_it(finished_run, tmp_path):
    path = tmp_path / "a.safetensors"
    assert main([str(finished_run), "--to-torch", str(path)]) == 0
    params = load_trained(finished_run).state.params["trunk"]
    matched = open_weights(str(path), "SOURCE", "resnet10").matched
    for leaf, tensor in matched.trunk:
        if leaf.collection == "params":
            np.testing.assert_array_equal(leaf.to_flax(tensor.read()), flatten_dict(params)[leaf.path])


def test_timms_hidden_layers_are_convolutions(small, tmp_path, monkeypatch):
    sizes = {"pre_logits.fc1.weight": (4096, 8, 7, 7), "pre_logits.fc2.weight": (4096, 4096, 1, 1)}
    biases = {"pre_logits.fc1.bias": np.ones(4096, np.float32), "pre_logits.fc2.bias": np.ones(4096, np.float32)}
    arrays = state_dict("vgg16", last=("head.fc.weight",)) | biases
    arrays |= {name: np.zeros(shape, np.float16) for name, shape in sizes.items()}
    matched = open_weights(write(tmp_path / "a", arrays), "SOURCE").matched
    assert [leaf.name for leaf, _ in matched.hidden] == [leaf.name for leaf in hidden_leaves("vgg16")]
    assert matched.hidden[0][1].shape == (4096, 8 * 49) and matched.left_out == ["head.fc.weight"]
    del arrays["pre_logits.fc2.bias"]
    matched = open_weights(write(tmp_path / "b", arrays), "SOURCE", "vgg16").matched
    assert not matched.hidden and {"classifier.0.weight", "classifier.3.weight"} <= {*matched.left_out}


def test_a_classifier_of_another_shape_is_left_out(small, tmp_path):
    names = {"classifier.0.weight": (256, 8 * 49), "classifier.0.bias": (256,), "classifier.2.weight": (3, 256)}
    arrays = state_dict("vgg16", last=()) | {name: np.ones(shape, np.float32) for name, shape in names.items()}
    matched = open_weights(write(tmp_path / "a", arrays), "SOURCE", "vgg16").matched
    assert not matched.hidden and {*matched.left_out} == {*names}


@pytest.mark.parametrize("prefix", ["module.", "model.", "backbone.", "_orig_mod.", "module.encoder_q."])
def test_what_all_arrays_of_a_trunk_have_before_their_names_is_left_out(small, tmp_path, prefix):
    arrays = {prefix + name: x for name, x in state_dict("resnet18").items()} | {"n_averaged": np.ones(1)}
    matched = open_weights(write(tmp_path / "a", arrays), "SOURCE").matched
    assert matched.prefix == prefix and {*matched.left_out} == {"fc.weight", "fc.bias"}
    expected = state_dict("resnet18")
    assert all((x.read() == expected[leaf.name]).all() for leaf, x in matched.trunk)
    arrays[f"{prefix}se.weight"] = np.ones(2)
    assert "se.weight is too many" in refusal(write(tmp_path / "b", arrays), "resnet18")


def test_of_several_trunks_none_is_chosen(small, tmp_path):
    arrays = {f"{prefix}.{name}": x for prefix in ("student", "teacher") for name, x in state_dict("resnet18").items()}
    assert "several trunks, under student. and teacher.: save one" in refusal(write(tmp_path / "a", arrays), "resnet18")


def test_what_is_missing_too_many_or_of_another_shape_is_named(small, tmp_path):
    arrays = state_dict("resnet18")
    del arrays["layer1.0.bn1.weight"]
    arrays |= {"se.weight": np.ones(2), "conv1.weight": np.ones((64, 1, 7, 7))}
    told = refusal(write(tmp_path / "a", arrays), "resnet18")
    for words in (
        "layer1.0.bn1.weight is missing",
        "se.weight is too many",
        "is [64, 1, 7, 7] instead of [64, 3, 7, 7]",
    ):
        assert words in told
    assert "which holds resnet50, not resnet18" in refusal(write(tmp_path / "b", state_dict("resnet50")), "resnet18")
    with pytest.raises(UserError, match=r"holds none of resnet10, .*for resnet18: layer1\.0\.bn1\.weight is missing"):
        open_weights(write(tmp_path / "a", arrays), "SOURCE")


CONFIG = {"architecture": "resnet18", "pretrained_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.1, 0.2, 1 / 255]}}


def test_the_normalization_is_the_repositorys(small, tmp_path):
    normalization = open_weights(write(tmp_path / "a", state_dict("resnet18"), CONFIG), "SOURCE").normalization
    assert normalization == ([0.5, 0.4, 0.3], [0.1, 0.2, 1 / 255])
    older = {"architecture": "resnet18", **CONFIG["pretrained_cfg"]}
    assert open_weights(write(tmp_path / "a", state_dict("resnet18"), older), "SOURCE").normalization == normalization
    unsaid = open_weights(write(tmp_path / "b", state_dict("resnet18")), "SOURCE")
    assert unsaid.normalization == ([*MEAN], [*STD]) and not unsaid.says_normalization


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (CONFIG | {"architecture": "resnet50d"}, "names the architecture 'resnet50d'"),
        (CONFIG | {"architecture": "resnet34"}, "holds resnet34, not resnet18"),
        ({"architectures": ["ResNetForImageClassification"], "model_type": "resnet"}, "no architecture of timm"),
        (CONFIG | {"model_args": {"act_layer": "silu"}}, r"changes the resnet18 by model_args\.act_layer"),
        (CONFIG | {"pretrained_cfg": {"mean": [0.5, 0.4], "std": [0.1, 0.2, 0.3]}}, r"mean is \[0\.5, 0\.4\]"),
        (CONFIG | {"pretrained_cfg": {"mean": [123.7, 116.8, 103.9], "std": [1, 1, 1]}}, r"mean is \[123\.7"),
        (CONFIG | {"pretrained_cfg": {"mean": [0.5, 0.4, 0.3]}}, "not a table of mean and std"),
        (CONFIG | {"pretrained_cfg": ["mean"]}, r"has \['mean'\] as pretrained_cfg, which must be an object"),
        (CONFIG | {"model_args": 5}, "has 5 as model_args"),
        ([], "cannot be read"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(small, tmp_path, config, words):
    source = write(tmp_path / "a", state_dict("resnet18"), config)
    with pytest.raises(UserError, match=words):
        open_weights(source, "SOURCE", "resnet18")


def test_sources_that_are_no_weights(tmp_path, small):
    assert not is_weights(str(tmp_path)) and not is_weights(str(tmp_path / "nothing"))
    assert "does not exist" in refusal(str(tmp_path / "no.pth"), "resnet18")
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    assert "no file of weights by its name" in refusal(str(tmp_path / "a.txt"), "resnet18")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    assert "a folder without model.safetensors" in refusal(str(tmp_path), "resnet18")
    run = Path(write(tmp_path / "run", state_dict("resnet18"), {"model": {"name": "resnet18"}}))
    assert not is_weights(str(run)) and is_weights(str(run / "model.safetensors"))
    path = Path(write(tmp_path / "b", state_dict("resnet18")))
    path.write_bytes(path.read_bytes()[:-5])
    assert "cannot be read as .safetensors" in refusal(str(path), "resnet18")


def test_another_normalization_is_told_with_the_weights_that_have_no_place_for_it(tmp_path, small, capsys):
    folder = write(tmp_path / "a", state_dict("resnet18"), CONFIG)
    assert main([folder, "--to-torch", str(tmp_path / "b.safetensors")]) == 0
    assert "--config.model.normalization=\"{'resnet18': {'mean': [0.5, 0.4, 0.3], 'std': [0.1, 0.2, 0.0" in (
        capsys.readouterr().out
    )


def test_the_usual_normalization_needs_no_word(tmp_path, small, capsys):
    assert main([write(tmp_path / "a", state_dict("resnet18")), "--to-torch", str(tmp_path / "b.safetensors")]) == 0
    assert "torchvision's names\n" in capsys.readouterr().out


def test_a_source_that_is_not_there_and_a_trunk_of_weights_are_told(tmp_path, small, capsys):
    assert main(["nothing"]) == 2
    assert "SOURCE is 'nothing', where there are neither" in capsys.readouterr().err
    assert main([write(tmp_path / "a", state_dict("resnet18")), "--trunk", "resnet18"]) == 2
    assert "--trunk is 'resnet18', but" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to-torch", "a.pth"], "--to-torch is 'a.pth'"),
        (["--trunk", "vgg16"], "--trunk is 'vgg16', but the model in"),
        (["--to"], "--to"),
    ],
)
def test_bad_flags(finished_run, arguments, words, capsys):
    assert main([str(finished_run), *arguments]) == 2
    assert words in capsys.readouterr().err

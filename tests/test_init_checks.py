"""Sources of model.init_from are checked before jax is loaded, and say how pixels are normalised."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from fashion_jax.config.fields import MEAN, STD
from fashion_jax.config.loading import config_to_json
from fashion_jax.errors import UserError
from fashion_jax.models.pretrained.names import hidden_leaves, trunk_leaves
from fashion_jax.step.program import create_program
from fashion_jax.training.init_checks import checked_normalizations
from fashion_jax.training.init_from import with_trunks
from fashion_jax.training.train import train_and_evaluate
from tests.conftest import ROOT
from tests.parity import weights
from tests.small_trunks import shrink_trunks
from tests.steps import TAXONOMY
from tests.torch_files import write_program

CAFFE = {"mean": [0.48, 0.46, 0.41], "std": [1 / 255, 1 / 255, 1 / 255]}


def repository(folder: Path, architecture: str, *, hidden: bool = False, **config) -> str:
    """Writes the folder of a timm repository and returns its name."""
    leaves = trunk_leaves(architecture) + (hidden_leaves(architecture) if hidden else [])
    arrays = weights.draw_state_dict({leaf.name: leaf.shape for leaf in leaves})
    folder.mkdir(exist_ok=True)
    save_file(arrays, folder / "model.safetensors")
    table = {"architecture": architecture, "pretrained_cfg": CAFFE} | config
    (folder / "config.json").write_text(json.dumps(table), encoding="utf-8")
    return str(folder)


def test_what_is_given_comes_before_what_a_source_says(tmp_path, finished_run):
    sources = {"resnet10": repository(tmp_path / "a", "resnet10")}
    assert checked_normalizations(sources, {}, "float32", tmp_path / "run") == {"resnet10": CAFFE}
    own = {"resnet10": {"mean": (0.5, 0.5, 0), "std": (1, 1, 1)}}
    lists = {"resnet10": {"mean": [0.5, 0.5, 0.0], "std": [1.0, 1.0, 1.0]}}
    assert (
        checked_normalizations(sources, own, "float32", tmp_path / "run")
        == checked_normalizations({}, own, "float32", tmp_path / "run")
        == lists
    )
    of_run = checked_normalizations({"resnet10": str(finished_run)}, {}, "float32", tmp_path / "run")
    assert of_run == {"resnet10": {"mean": [*MEAN], "std": [*STD]}}
    assert checked_normalizations({}, {}, "float32", tmp_path / "run") == {}


def test_a_run_with_a_checkpoint_keeps_its_normalisation_and_needs_no_source(tmp_path, tiny_config):
    tiny_config.model.normalization = {"resnet10": CAFFE}
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    (tmp_path / "config.json").write_text(config_to_json(tiny_config), encoding="utf-8")
    assert checked_normalizations({"resnet10": "gone"}, {}, "float32", tmp_path) == {"resnet10": CAFFE}
    assert checked_normalizations({}, {}, "float32", tmp_path) == {}, "without init_from, the given config holds"
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    assert checked_normalizations({"resnet10": "gone"}, {}, "float32", tmp_path) == {}, (
        "what is wrong with config.json is told later"
    )


@pytest.mark.long
def test_a_run_resumes_when_its_source_is_gone(tmp_path, tiny_config, no_report):
    source = Path(repository(tmp_path / "a", "resnet10"))
    tiny_config.model.init_from = {"resnet10": str(source)}
    tiny_config.num_epochs = 1
    train_and_evaluate(tiny_config, tmp_path / "run")
    assert tiny_config.model.normalization == {}, "the caller's config is left as it is"
    assert json.loads((tmp_path / "run" / "config.json").read_text())["model"]["normalization"] == {"resnet10": CAFFE}
    (source / "model.safetensors").unlink()
    train_and_evaluate(tiny_config, tmp_path / "run")
    tiny_config.model.normalization = {"resnet10": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}}
    with pytest.raises(UserError, match=r"model\.normalization is .* set it back"):
        train_and_evaluate(tiny_config, tmp_path / "run")


@pytest.mark.parametrize("hidden", [True, False])
def test_a_vgg_begins_with_the_trunk_and_the_hidden_layers_of_its_classifier(
    tmp_path, tiny_config, monkeypatch, hidden
):
    shrink_trunks(monkeypatch)
    tiny_config.model.update(name="vgg16", heads={"sub": "classifier" if hidden else "linear"})
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("devices",))
    state = create_program(tiny_config, TAXONOMY, mesh).create_state()
    before, said = flatten_dict(state.params, sep="/"), []
    source = repository(tmp_path / "a", "vgg16", hidden=True)
    begun = with_trunks(state, "vgg16", tiny_config.model.heads, {"vgg16": source}, said.append)
    drawn = weights.draw_state_dict({x.name: x.shape for x in trunk_leaves("vgg16") + hidden_leaves("vgg16")})
    expected = {"/".join(("trunk", *leaf.path)): leaf for leaf in trunk_leaves("vgg16")}
    expected |= {"/".join(("heads_sub", *leaf.path)): leaf for leaf in hidden_leaves("vgg16") if hidden}
    for name, x in flatten_dict(begun.params, sep="/").items():
        leaf = expected.get(name)
        np.testing.assert_array_equal(x, before[name] if leaf is None else leaf.to_flax(drawn[leaf.name]), name)
    assert "vgg16 begins with 4 arrays of" in said[0] and "does not say how its pixels" not in said[0]
    assert ("hidden layers of its classifier in sub" in said[0]) == hidden
    assert ("classifier.0, classifier.3 of its classifier" in said[0]) != hidden


PROGRAM = """
import sys
for name in ("jax", "flax", "tensorflow"):
    sys.modules[name] = None  # importing it fails
from fashion_jax.main import main
for source in sys.argv[1:]:
    status = main(["--config", "configs/smoke.py", "--workdir", "nothing", "--config.model.name=resnet18",
        f"--config.model.init_from.resnet18={source}"])
    print(status, flush=True)
"""


def test_wrong_sources_get_one_sentence_before_jax_is_imported(tmp_path):
    (tmp_path / "empty").mkdir()
    truncated = Path(repository(tmp_path / "b", "resnet18"), "model.safetensors")
    truncated.write_bytes(truncated.read_bytes()[:1_000_000])
    save_file({"conv1.weight": np.zeros((64, 3, 7, 7), np.float32)}, tmp_path / "c.safetensors")
    mean = repository(tmp_path / "d", "resnet18", pretrained_cfg={"mean": [124, 116, 104], "std": [58, 57, 57]})
    sentences = {
        repository(tmp_path / "a", "resnet10"): "which holds resnet10, not resnet18",
        str(truncated): "cannot be read as .safetensors",
        str(write_program(tmp_path / "e.pth", b"cposix\nsystem\n(X\x01\x00\x00\x00xtR")): "names posix.system",
        str(tmp_path / "empty"): "holds no checkpoint",
        str(tmp_path / "c.safetensors"): "bn1.weight and 98 others are missing",
        mean: "mean is [124, 116, 104] instead of three numbers",
        "hf://vgg16": "write hf://OWNER/NAME",
    }
    command = [sys.executable, "-c", PROGRAM, *sentences]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.stdout.split() == ["2"] * len(sentences), done.stderr
    for line, (source, words) in zip(done.stderr.splitlines(), sentences.items(), strict=True):
        assert line.startswith(f"model.init_from.resnet18 is {source!r}, ") and words in line
    assert not (ROOT / "nothing").exists()

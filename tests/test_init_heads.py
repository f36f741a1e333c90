import copy
import json
import shutil

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from fashion_jax.config.combinations import head_names, loss_weights
from fashion_jax.data.dataset import load_split
from fashion_jax.devices.mesh import create_mesh, fetch
from fashion_jax.errors import UserError
from fashion_jax.step.program import create_program
from fashion_jax.taxonomy import Taxonomy
from fashion_jax.training.init_checks import Features, check_heads
from fashion_jax.training.init_heads import with_heads
from fashion_jax.training.notes import trained_on_before
from fashion_jax.workdir.files import read_taxonomy
from fashion_jax.workdir.paths import config_path, taxonomy_path
from fashion_jax.workdir.trained import load_trained


def flat(tree):
    return flatten_dict(jax.tree.map(np.asarray, fetch(tree)), sep="/")


def test_classes_of_the_same_path_keep_their_weights_and_others_are_new(finished_run, tiny_config):
    known = read_taxonomy(finished_run)
    subs = known.classes["sub"]
    paths = [tuple(name.split("/")) for name in (*subs[3:9], "Furniture/Chairs")]
    taxonomy = Taxonomy.from_paths(("main", "sub"), [(main, sub) for main, sub in paths])
    program = create_program(tiny_config, taxonomy, create_mesh(jax.devices()[:1]))
    new, said = program.create_state(), []
    begun = with_heads(new, taxonomy, head_names(tiny_config), str(finished_run), said.append)
    assert "sub keeps 6 of 7 classes (new: Furniture/Chairs)" in said[0] and "Furniture)" in said[0]
    old = load_trained(finished_run).state
    for collection in ("params", "model_state"):
        fresh, theirs, found = (flat(getattr(state, collection)) for state in (new, old, begun))
        for name, x in found.items():
            if "logits" not in name:
                np.testing.assert_array_equal(x, (theirs if "heads_" in name else fresh)[name], name)
                continue
            level = "main" if "heads_main" in name else "sub"
            for i, label in enumerate(taxonomy.classes[level]):
                is_known = label in known.classes[level]
                expected = theirs[name][..., known.classes[level].index(label)] if is_known else fresh[name][..., i]
                np.testing.assert_array_equal(x[..., i], expected, f"{name} {label}")


def check_new(config, source, tmp_path, **fields):
    """Checks a run in a new folder that begins with the heads of another one, with other fields of its model."""
    config = copy.deepcopy(config)
    config.model.update(fields)
    features = Features(config.model.name, config.model.fusion, config.dtype)
    check_heads(head_names(config), loss_weights(config), features, str(source), tmp_path / "new")


def changed(run, folder, **model):
    """Copies a run and changes fields of its model."""
    source = shutil.copytree(run, folder)
    fields = json.loads(config_path(source).read_text())
    fields["model"] |= model
    config_path(source).write_text(json.dumps(fields))
    return source


def test_a_run_without_such_heads_is_refused(finished_run, tiny_config, tmp_path):
    check_new(tiny_config, finished_run, tmp_path, heads={"main": "linear", "sub": "sub"})
    with pytest.raises(UserError, match=r"features of resnet10, but model\.name is 'resnet50'"):
        check_new(tiny_config, finished_run, tmp_path, name="resnet50")
    with pytest.raises(UserError, match=r"init_heads_from is '.*nowhere'.*--workdir"):
        check_new(tiny_config, tmp_path / "nowhere", tmp_path)
    tiny_config.data.levels = {"brand": "brand"}
    with pytest.raises(UserError, match=r"heads are main \(main\), sub \(sub\), but this run's are brand \(sub\)"):
        check_new(tiny_config, finished_run, tmp_path, heads={"brand": "sub"})


def test_a_head_that_is_neither_taken_nor_trained_is_refused(finished_run, tiny_config, tmp_path):
    tiny_config.loss_weights = {"main": 0}
    check_new(tiny_config, finished_run, tmp_path)
    with pytest.raises(UserError, match=r"loss_weights\.main is 0, .* has no head of the kind linear on main: give it"):
        check_new(tiny_config, finished_run, tmp_path, heads={"main": "linear", "sub": "sub"})
    source = changed(finished_run, tmp_path / "source", heads={"sub": "sub"})
    with pytest.raises(UserError, match=r"loss_weights\.main is 0, .* has no head of the kind main on main"):
        check_new(tiny_config, source, tmp_path)


def test_a_run_whose_heads_need_their_conditions_is_refused(finished_run, tiny_config, tmp_path):
    source = changed(finished_run, tmp_path / "source", condition_on_parent=True)
    with pytest.raises(UserError, match=r"were trained with model\.condition_on_parent .* name another run"):
        check_new(tiny_config, source, tmp_path)


def test_a_run_of_other_features_or_parameters_is_refused(finished_run, tiny_config, tmp_path):
    source = changed(finished_run, tmp_path / "source", name="hybrid", fusion="gated")
    check_new(tiny_config, source, tmp_path, name="hybrid", fusion="gated")
    sentence = r"model\.fusion 'gated', but model\.fusion is 'concatenate': set it to gated, or name another run"
    with pytest.raises(UserError, match=sentence):
        check_new(tiny_config, source, tmp_path, name="hybrid")
    tiny_config.dtype = "bfloat16"
    check_new(tiny_config, finished_run, tmp_path)
    tiny_config.dtype = "float64"
    with pytest.raises(UserError, match="was trained with dtype float32, but dtype is float64: set it to float32"):
        check_new(tiny_config, finished_run, tmp_path)


def test_a_taxonomy_that_is_not_the_checkpoints_is_refused(finished_run, tiny_config, tmp_path):
    """Two classes that were exchanged there would begin with each other's weights."""
    source = shutil.copytree(finished_run, tmp_path / "source")
    path = taxonomy_path(source)
    taxonomy = json.loads(path.read_text())
    first, second, *_ = taxonomy["classes"]["sub"]
    text = path.read_text().replace(first, "?").replace(second, first).replace("?", second)
    path.write_text(text)
    known = read_taxonomy(source)
    program = create_program(tiny_config, known, create_mesh(jax.devices()[:1]))
    with pytest.raises(UserError, match="has other classes than the checkpoint"):
        with_heads(program.create_state(), known, head_names(tiny_config), str(source), print)


def test_validation_images_that_the_run_of_the_weights_was_trained_on_are_counted(finished_run, tiny_config):
    taxonomy = read_taxonomy(finished_run)
    sources = [str(finished_run), str(finished_run), ""]
    assert list(trained_on_before(sources, load_split(tiny_config, taxonomy, "validation"))) == []
    (told,) = trained_on_before(sources, load_split(tiny_config, taxonomy, "all"))
    assert f"of the run {finished_run}, which was trained on 160 of the 200 validation images, so that" in told
    assert list(trained_on_before(["hf://timm/resnet10", ""], load_split(tiny_config, taxonomy, "all"))) == []

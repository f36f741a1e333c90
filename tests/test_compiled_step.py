"""The compiled training step updates its state in place and keeps its convolutions in bfloat16."""

import re

import jax
import pytest

from benchmarks.hlo import Program
from fashion_jax.config.loading import load_config
from fashion_jax.devices.mesh import create_mesh
from fashion_jax.models import classifier
from fashion_jax.models.classifier import create_model
from fashion_jax.step.program import create_program
from fashion_jax.step.train_state import abstract_batch
from tests.conftest import ROOT
from tests.steps import TAXONOMY

_SMALL = 1000  # bytes: counters and statistics


def make_config():
    config = load_config(str(ROOT / "configs" / "smoke.py"))
    config.batch_size = 8
    return config


@pytest.fixture
def config():
    return make_config()


def lowered(config):
    """Returns the abstract state of a config's program, and its train step lowered for it."""
    mesh = create_mesh()
    program = create_program(config, TAXONOMY, mesh, num_images=100 * config.batch_size)
    batch = abstract_batch(config.batch_size, TAXONOMY.levels, mesh, (32, 32))
    return program.abstract_state, program.train_step.lower(program.abstract_state, batch)


@pytest.fixture(scope="module")
def compiled():
    """Returns the abstract state of the config's program, and its compiled train step."""
    state, step = lowered(make_config())
    return state, step.compile()


def test_the_state_is_updated_in_place(compiled):
    state, step = compiled
    state_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    assert step.memory_analysis().alias_size_in_bytes >= state_bytes
    program = Program(step.as_text())
    parameters = {i.name for i, _ in program.instructions() if i.opcode == "parameter"}
    copies = [
        i for i, _ in program.instructions()
        if i.opcode == "copy" and set(i.operands) & parameters and i.results[0].bytes > _SMALL
    ]  # fmt: skip
    assert copies == []


def test_every_convolution_of_a_bfloat16_step_is_in_it(config):
    config.model.name, config.dtype = "resnet34", "bfloat16"
    text = lowered(config)[1].as_text()
    signatures = re.findall(r"stablehlo\.convolution.*? : (\(.*?\) -> \S+)", text)
    assert len(signatures) > 15
    assert {dtype for types in signatures for dtype in re.findall(r"x([a-z]+\d+)>", types)} == {"bf16"}


def test_heads_of_few_devices_wait_for_one_collective_and_not_for_one_of_each_batch_norm(compiled, config, monkeypatch):
    def collectives(step):
        return [line for line in step.as_text().splitlines() if re.search(r" all-(reduce|gather)(-start)?\(", line)]

    def of_norms(lines):
        return [line for line in lines if re.search(r"heads_\w+/bn", line)]

    few = collectives(compiled[1])
    assert any("all-gather" in line for line in few)
    assert not of_norms(few)
    monkeypatch.setattr(classifier, "_FEW_DEVICES", 4)
    many = collectives(lowered(config)[1].compile())
    assert len(of_norms(many)) >= 4
    assert len(few) < len(many)


@pytest.mark.parametrize(
    ("fields", "is_whole"),
    [
        ({}, True),
        ({"batch_norm": "local"}, False),
        ({"model.heads": {"main": "linear", "sub": "sub"}}, False),
        ({"model.heads": {"main": "main", "sub": "classifier"}}, False),
        ({"model.name": "vgg16"}, False),
        ({"model.name": "hybrid"}, True),
    ],
)
def test_small_heads_with_statistics_of_the_batch_are_computed_whole(config, fields, is_whole):
    config.update_from_flattened_dict(fields)
    assert (create_model(config, TAXONOMY, create_mesh()).whole is not None) == is_whole
    assert create_model(config, TAXONOMY, create_mesh(jax.devices()[:1])).whole is None

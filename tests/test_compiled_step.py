"""The compiled training step updates its state in place and keeps its convolutions in bfloat16."""

import re

import jax
import pytest

from benchmarks.hlo import Program
from fashion_jax.devices.mesh import create_mesh, put_batch
from fashion_jax.models import classifier
from fashion_jax.models.classifier import create_model
from fashion_jax.step.program import create_program
from fashion_jax.step.train_state import abstract_batch
from tests.steps import TAXONOMY, build, random_batch

_SMALL = 1000  # bytes: counters and statistics


@pytest.fixture
def config(tiny_config):
    tiny_config.batch_size = 8
    return tiny_config


def test_the_state_is_updated_in_place(config):
    mesh, _, state, step = build(config)
    compiled = step.lower(state, put_batch(random_batch(), mesh)).compile()
    state_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    assert compiled.memory_analysis().alias_size_in_bytes >= state_bytes
    program = Program(compiled.as_text())
    parameters = {i.name for i, _ in program.instructions() if i.opcode == "parameter"}
    copies = [
        i for i, _ in program.instructions()
        if i.opcode == "copy" and set(i.operands) & parameters and i.results[0].bytes > _SMALL
    ]  # fmt: skip
    assert copies == []


def test_every_convolution_of_a_bfloat16_step_is_in_it(config):
    config.model.name, config.dtype = "resnet34", "bfloat16"
    mesh = create_mesh()
    program = create_program(config, TAXONOMY, mesh, num_images=100 * config.batch_size)
    batch = abstract_batch(config.batch_size, TAXONOMY.levels, mesh, (32, 32))
    text = program.train_step.lower(program.abstract_state, batch).as_text()
    signatures = re.findall(r"stablehlo\.convolution.*? : (\(.*?\) -> \S+)", text)
    assert len(signatures) > 15
    assert {dtype for types in signatures for dtype in re.findall(r"x([a-z]+\d+)>", types)} == {"bf16"}


def _compiled(config) -> str:
    mesh, _, state, step = build(config)
    return step.lower(state, put_batch(random_batch(), mesh)).compile().as_text()


def test_heads_of_few_devices_wait_for_one_collective_and_not_for_one_of_each_batch_norm(config, monkeypatch):
    def collectives(text):
        return [line for line in text.splitlines() if re.search(r" all-(reduce|gather)(-start)?\(", line)]

    def of_norms(lines):
        return [line for line in lines if re.search(r"heads_\w+/bn", line)]

    few = collectives(_compiled(config))
    assert any("all-gather" in line for line in few)
    assert not of_norms(few)
    monkeypatch.setattr(classifier, "_FEW_DEVICES", 4)
    many = collectives(_compiled(config))
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

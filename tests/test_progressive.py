"""Progressive resizing: the first epochs train on smaller images."""

import jax
import numpy as np
import pytest

from fashion_jax.devices.mesh import create_mesh, put_batch
from fashion_jax.step.program import create_program
from fashion_jax.training.train import train_and_evaluate
from tests.cutting import cut_after
from tests.run_files import digests, without_timing
from tests.steps import TAXONOMY, random_batch


@pytest.fixture
def config(tiny_config):
    """Returns a run of two epochs at 48 px, of which the first has images of 32 px."""
    tiny_config.image_size, tiny_config.progressive.epochs = 48, 1
    return tiny_config


@pytest.fixture
def small(tiny_config):
    """Returns a config that shrinks images of 48 px to 32 px by itself."""
    small = tiny_config.copy_and_resolve_references()
    small.image_size, small.data.canvas_size, small.progressive.epochs = 32, 48, 0
    return small


def train_lines(workdir):
    return [{k: v for k, v in line.items() if k.startswith("train/")} for line in without_timing(workdir)]


def test_a_progressive_step_is_that_of_the_smaller_size(config, small):
    mesh = create_mesh(jax.devices()[:1])
    images = np.random.default_rng(0).integers(0, 256, (16, 48, 48, 3), np.uint8)
    batch = put_batch(random_batch(16) | {"image": images}, mesh)
    run, other = (create_program(x, TAXONOMY, mesh, num_images=160) for x in (config, small))
    programs = run.progressive, other
    (a, _), (b, _) = (x.train_step(x.create_state(), batch) for x in programs)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("together", [1, 4])
def test_the_first_epochs_are_those_of_a_run_at_the_smaller_size(config, small, tmp_path, together):
    for each in (config, small):
        each.steps_per_dispatch, each.checkpoint.every_steps = together, 3
    one = jax.devices()[:1]
    train_and_evaluate(config, tmp_path / "whole", one)
    train_and_evaluate(small, tmp_path / "small", one)
    whole, other = train_lines(tmp_path / "whole"), train_lines(tmp_path / "small")
    assert whole[0] == other[0] and whole[1] != other[1]


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("stop", [4, 14])
def test_a_run_resumes_within_an_epoch_of_either_size(config, tmp_path, monkeypatch, stop):
    config.checkpoint.every_steps, one = 3, jax.devices()[:1]
    train_and_evaluate(config, tmp_path / "whole", one)
    cut_after(monkeypatch, stop, config, tmp_path / "cut", one)
    train_and_evaluate(config, tmp_path / "cut", one)
    assert without_timing(tmp_path / "cut") == without_timing(tmp_path / "whole")
    assert digests(tmp_path / "cut", 20) == digests(tmp_path / "whole", 20)

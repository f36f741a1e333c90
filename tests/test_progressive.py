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
def test_the_first_epochs_are_those_of_a_run_at_the_smaller_size_and_either_size_resumes(
    config, small, tmp_path, monkeypatch
):
    """A third run is interrupted within each of its two epochs, after steps 4 and 14; step 3 is saved."""
    config.checkpoint.every_steps, one = 3, jax.devices()[:1]
    train_and_evaluate(config, tmp_path / "whole", one)
    _check_first_epoch(tmp_path / "whole", small, tmp_path / "small")
    cut_after(monkeypatch, 4, config, tmp_path / "cut", one)
    cut_after(monkeypatch, 14 - 3, config, tmp_path / "cut", one)
    assert len(without_timing(tmp_path / "cut")) == 1
    train_and_evaluate(config, tmp_path / "cut", one)
    assert without_timing(tmp_path / "cut") == without_timing(tmp_path / "whole")
    assert digests(tmp_path / "cut", 20) == digests(tmp_path / "whole", 20)


@pytest.mark.usefixtures("no_report")
@pytest.mark.long
def test_several_steps_of_a_dispatch_have_the_size_of_their_epoch(config, small, tmp_path):
    config.steps_per_dispatch = small.steps_per_dispatch = 4
    train_and_evaluate(config, tmp_path / "whole", jax.devices()[:1])
    _check_first_epoch(tmp_path / "whole", small, tmp_path / "small")


def _check_first_epoch(progressive, small, workdir):
    """Checks that the first epoch, and not the second, of a run is that of a run of a config at the smaller size."""
    train_and_evaluate(small, workdir, jax.devices()[:1])
    ours, others = train_lines(progressive), train_lines(workdir)
    assert ours[0] == others[0] and ours[1] != others[1]

"""Several steps per dispatch: the plan, and a run that is the same with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fashion_jax.devices.mesh import batch_sharding, create_mesh, fetch, put_batch, put_batches
from fashion_jax.step.program import create_program
from fashion_jax.training import loop, train
from fashion_jax.training.dispatch import dispatches, next_batch
from fashion_jax.training.notes import dispatched_singly
from fashion_jax.training.schedule import Schedule
from fashion_jax.training.train import train_and_evaluate
from tests.run_files import digests, without_timing
from tests.steps import TAXONOMY, build, random_batch


def test_no_dispatch_spans_a_boundary_and_each_is_whole_or_single():
    plan = list(dispatches(0, [10, 20], 4, 7))
    assert plan == [(4, 4), (5, 1), (6, 1), (7, 1), (8, 1), (9, 1), (10, 1), (14, 4), (18, 4), (19, 1), (20, 1)]
    assert list(dispatches(0, [3], 1, 10)) == [(1, 1), (2, 1), (3, 1)]


@pytest.mark.parametrize("start", [4, 8, 9, 10, 14])
def test_the_plan_goes_on_the_same_after_a_resume(start):
    plan = list(dispatches(0, [10, 20], 4, 500))
    assert list(dispatches(start, [10, 20], 4, 500)) == [part for part in plan if part[0] > start]


def test_steps_that_never_fit_into_a_dispatch_are_told_and_compile_in_the_background(tiny_config, monkeypatch):
    monkeypatch.setattr(train, "_compiling", lambda *_: "in the background")
    program = create_program(tiny_config, TAXONOMY, create_mesh(jax.devices()[:1]))
    for together, every, number, words in (
        (1, 500, 3, ""),
        (8, 8, 8, ""),
        (8, 500, 7, "steps_per_dispatch is 8, but an epoch has only 7 steps, so that each step is dispatched by"),
        (8, 5, 10, "steps_per_dispatch is 8, but checkpoint.every_steps is only 5, so that each step is dispatched by"),
    ):
        tiny_config.steps_per_dispatch, tiny_config.checkpoint.every_steps = together, every
        schedule = Schedule(number * tiny_config.batch_size, tiny_config.batch_size, 2, every)
        note = dispatched_singly(together, every, number)
        assert note.startswith(words) and bool(note) == bool(words)
        is_single = together == 1 or words != ""
        assert (train._step_functions(program, schedule)[1] == "in the background") == is_single
        counts = {count for _, count in dispatches(0, [number, 2 * number], together, every)}
        assert (max(counts) == 1) == is_single


def test_batches_are_stacked_in_order():
    batches = iter([{"x": np.full(2, i)} for i in range(4)])
    np.testing.assert_array_equal(next_batch(batches, 1)["x"], [0, 0])
    np.testing.assert_array_equal(next_batch(batches, 3)["x"], [[1, 1], [2, 2], [3, 3]])


def test_batches_on_the_devices_are_stacked_there():
    mesh = create_mesh()
    host = [{"image": np.arange(8) + i, "labels": {"sub": np.full(8, i)}} for i in range(2)]
    placed = (batch | {"image": put_batch({"image": batch["image"]}, mesh)["image"]} for batch in host)
    with jax.transfer_guard("disallow"):
        stacked = next_batch(placed, 2)
    assert isinstance(stacked["labels"]["sub"], np.ndarray)
    assert stacked["image"].sharding == batch_sharding(mesh, stacked=True)
    np.testing.assert_array_equal(np.asarray(stacked["image"]), [batch["image"] for batch in host])


@pytest.mark.usefixtures("no_report")
@pytest.mark.long
def test_a_run_is_bit_identical_whether_interrupted_or_not(tiny_config, tmp_path, monkeypatch):
    """Four steps a dispatch, epochs of 10 steps, checkpoints every 6; the second run has its images on devices."""
    tiny_config.steps_per_dispatch, tiny_config.checkpoint.every_steps = 4, 6
    train_and_evaluate(tiny_config, tmp_path / "whole")
    tiny_config.data.cache = "device"

    real, counts = loop.next_batch, []

    def interrupt(batches, count):
        if counts == [4, 1, 1, 4]:
            raise KeyboardInterrupt
        counts.append(count)
        return real(batches, count)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(loop, "next_batch", interrupt)
        train_and_evaluate(tiny_config, tmp_path / "stopped")
    train_and_evaluate(tiny_config, tmp_path / "stopped")
    assert without_timing(tmp_path / "stopped") == without_timing(tmp_path / "whole")
    assert digests(tmp_path / "stopped", 20) == digests(tmp_path / "whole", 20)


@pytest.mark.long
def test_several_steps_are_those_of_single_ones_in_float64(tiny_config):
    tiny_config.batch_size, tiny_config.dtype = 8, "float64"
    with jax.enable_x64(True):
        mesh, _, state, step = build(tiny_config, jax.devices()[:2])
        steps = create_program(tiny_config, TAXONOMY, mesh, num_images=800).train_steps
        batches = [random_batch() | {"image": np.roll(random_batch()["image"], i, axis=1)} for i in range(3)]
        together = jax.tree.map(jnp.copy, state)
        for batch in batches:
            state, outcome = step(state, put_batch(batch, mesh))
        together, last_outcome = steps(together, put_batches(next_batch(iter(batches), 3), mesh))
        one, several = fetch((state, outcome)), fetch((together, last_outcome))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(several), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-8 * max(np.abs(a).max(), 1e-3))

"""Several steps per dispatch: the plan, and a run that is the same with it."""

import json

import numpy as np
import pytest

from fashion_jax import train
from fashion_jax.dispatch import dispatches, next_batch
from fashion_jax.train import train_and_evaluate
from tests.test_train import digests, without_timing


def test_no_dispatch_spans_a_boundary_and_each_is_whole_or_single():
    plan = list(dispatches(0, 20, 4, 10, 7))
    assert plan == [(4, 4), (5, 1), (6, 1), (7, 1), (8, 1), (9, 1), (10, 1), (14, 4), (18, 4), (19, 1), (20, 1)]
    assert list(dispatches(0, 3, 1, 10)) == [(1, 1), (2, 1), (3, 1)]


@pytest.mark.parametrize("start", [4, 8, 9, 10, 14])
def test_the_plan_goes_on_the_same_after_a_resume(start):
    plan = list(dispatches(0, 20, 4, 10))
    assert list(dispatches(start, 20, 4, 10)) == [part for part in plan if part[0] > start]


def test_batches_are_stacked_in_order():
    batches = iter([{"x": np.full(2, i)} for i in range(4)])
    np.testing.assert_array_equal(next_batch(batches, 1)["x"], [0, 0])
    np.testing.assert_array_equal(next_batch(batches, 3)["x"], [[1, 1], [2, 2], [3, 3]])


def test_a_run_is_bit_identical_whether_interrupted_or_not(tiny_config, tmp_path, monkeypatch):
    """Four steps a dispatch, epochs of 10 steps, checkpoints every 6."""
    tiny_config.steps_per_dispatch, tiny_config.checkpoint.every_steps = 4, 6
    train_and_evaluate(tiny_config, tmp_path / "whole")

    real, counts = train.next_batch, []

    def interrupt(batches, count):
        if counts == [4, 1, 1, 4]:
            raise KeyboardInterrupt
        counts.append(count)
        return real(batches, count)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(train, "next_batch", interrupt)
        train_and_evaluate(tiny_config, tmp_path / "stopped")
    train_and_evaluate(tiny_config, tmp_path / "stopped")
    assert without_timing(tmp_path / "stopped") == without_timing(tmp_path / "whole")
    assert digests(tmp_path / "stopped", 20) == digests(tmp_path / "whole", 20)


def test_a_run_agrees_with_single_steps(finished_run, tiny_config, tmp_path):
    """Float32 programs that are compiled differently drift apart; the first epoch's losses are still close."""
    tiny_config.steps_per_dispatch, tiny_config.num_epochs = 5, 2
    train_and_evaluate(tiny_config, tmp_path)
    single, several = (
        json.loads((run / "metrics.jsonl").read_text().splitlines()[0]) for run in (finished_run, tmp_path)
    )
    print(single["train/loss"], several["train/loss"])
    assert several["train/loss"] == pytest.approx(single["train/loss"], rel=1e-3)

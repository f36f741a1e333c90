"""The line that says how far the training is, and the estimate of the whole time."""

from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from fashion_jax.training.progress import TrainingProgress
from fashion_jax.training.schedule import Schedule
from tests.clock import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def progress(clock):
    """Returns the progress of 100 epochs of 100 steps."""
    schedule = Schedule(num_images=6400, batch_size=64, num_epochs=100, every_steps=500)
    return TrainingProgress(schedule, 100, 64, clock)


def trained(progress, clock, *, seconds=0.5, waited=0.0, loss=2.34567):
    """Measures 20 steps, after the first one."""
    clock.now += 60
    progress.pace.start(1, 0.0)
    clock.now += 20 * seconds
    progress.pace.measure(21, waited)
    progress.dispatched(22)
    progress.fetched(21, loss)
    return progress


def test_before_the_first_step_it_compiles(progress, clock):
    clock.now += 65
    assert "Compiling" in progress.line(clock.now, 80) and "elapsed 1:05" in progress.line(clock.now, None)


def test_the_line_has_the_loss_the_speed_and_labelled_times(progress, clock):
    line = trained(progress, clock).line(clock.now, 79)
    assert len(line) <= 79 and line.startswith("epoch 1/100 [") and line.endswith("left 1:23:10")
    for part in ("0%", "loss 2.346", "128 img/s", "elapsed 1:10"):
        assert f" {part} " in line
    assert "data wait" not in line


def test_the_time_left_runs_down_between_two_measurements(progress, clock):
    trained(progress, clock)
    assert progress.line(clock.now + 10, 79).endswith("left 1:23:00")


def test_waiting_for_data_is_shown_above_five_percent(progress, clock):
    assert "data wait 12%" in trained(progress, clock, waited=1.2).line(clock.now, 100)
    assert "data wait 12%" in progress.line(clock.now, None)


@pytest.mark.parametrize("width", [79, 60, 40, 30])
def test_the_line_fits_a_narrow_screen_and_keeps_the_time_left(progress, clock, width):
    trained(progress, clock, seconds=100, waited=900.0)
    line = progress.line(clock.now, width)
    assert "left" in line and len(line) <= max(width, 45)


def test_a_plain_line_says_the_step_and_has_no_bar(progress, clock):
    line = trained(progress, clock).line(clock.now, None)
    assert line.startswith("step 22/10000, epoch 1/100: loss 2.346") and "[" not in line


def test_a_loss_that_is_not_finite_is_a_dash(progress, clock):
    assert "loss –" in trained(progress, clock, loss=float("nan")).line(clock.now, 80)


def test_the_estimate_tells_the_whole_time_and_that_of_an_epoch(progress, clock):
    assert progress.new_estimate(21) == ""
    text = trained(progress, clock).new_estimate(21)
    assert text == "Estimated total time: 84 min (100 epochs of 50 s, evaluation not included)."
    assert progress.new_estimate(41) == ""
    clock.now += 40
    progress.pace.evaluated(100, head_start=0)
    text = progress.new_estimate(100, is_epochs_end=True)
    assert text.startswith("Corrected estimate: ") and "in total (100 epochs of 2 min, evaluation included)." in text


def test_the_estimate_of_a_resumed_run_counts_what_is_left(clock):
    """It is at step 30 of 100, in the second of five epochs of 20 steps."""
    schedule = Schedule(num_images=320, batch_size=16, num_epochs=5, every_steps=50)
    schedule.start_at(SimpleNamespace(step=jnp.int32(30), epoch=jnp.int32(1), seen=jnp.int32(160)))
    progress = TrainingProgress(schedule, 5, 16, clock)
    progress.pace.start(31, 0.0)
    clock.now += 19 * 6
    progress.pace.measure(50, 0.0)
    assert progress.new_estimate(50) == "Estimated time left: 5 min (3 epochs of 2 min, evaluation not included)."
    progress.pace.evaluated(300, head_start=0)
    text = progress.new_estimate(60, is_epochs_end=True)
    assert text == "Corrected estimate: 14 min left (2 epochs of 7 min, evaluation included)."


def test_a_new_program_is_not_measured_while_it_compiles(progress, clock):
    trained(progress, clock)
    before = progress.pace.step_seconds
    progress.pace.pause()
    clock.now += 1000
    progress.pace.measure(22, 0.0)
    progress.pace.start(22, 0.0)
    clock.now += 10
    progress.pace.measure(42, 0.0)
    assert progress.pace.step_seconds == pytest.approx(before)

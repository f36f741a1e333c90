"""How fast a run is, and when its end is expected."""

import math

import pytest

from fashion_jax.training.pace import Pace
from fashion_jax.training.schedule import Resizing, Schedule
from tests.clock import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pace(clock):
    """Returns the pace of three epochs of 100 steps."""
    return Pace(Schedule(num_images=800, batch_size=8, num_epochs=3, every_steps=500), clock)


def train(pace, clock, start, stop, seconds, waited=0.0, **options):
    """Trains steps of so many seconds, of which the host waited for data."""
    pace.start(start, 0.0)
    clock.now += seconds * (stop - start)
    pace.measure(stop, waited, **options)


def test_nothing_is_known_before_a_step_is_measured(pace):
    assert math.isnan(pace.step_seconds) and math.isnan(pace.left(1)) and pace.new_estimate(1) is None
    assert pace.began is None


def test_the_time_left_counts_steps_and_then_evaluations(pace, clock):
    train(pace, clock, 1, 21, 0.5, waited=2.0)
    assert (pace.measured, pace.step_seconds) == (20, 0.5) and pace.wait_share == pytest.approx(0.2)
    assert pace.left(21) == 279 * 0.5 and pace.epoch_seconds() == 50
    pace.evaluated(30, head_start=20)
    assert pace.left(100) == 200 * 0.5 + 2 * 10 and pace.epoch_seconds() == 60


def test_an_evaluation_that_includes_a_compilation_counts_only_if_that_is_known(pace):
    pace.evaluated(30, head_start=None)
    assert pace.evaluation_seconds is None
    pace.evaluated(5, head_start=None)
    assert pace.evaluation_seconds == 5


def test_what_lies_between_epochs_is_not_measured(pace, clock):
    train(pace, clock, 1, 21, 0.5)
    train(pace, clock, 21, 100, 0.5, is_last=True)
    clock.now += 1000
    train(pace, clock, 100, 120, 0.5)
    assert pace.step_seconds == pytest.approx(0.5)


def test_the_time_left_follows_from_the_cost_of_the_epochs(clock):
    schedule = Schedule(num_images=800, batch_size=8, num_epochs=3, every_steps=500, resizing=Resizing(1, 0.25))
    pace = Pace(schedule, clock)
    train(pace, clock, 1, 21, 0.5)
    assert pace.step_seconds == 0.5 and pace.left(21) == 79 * 0.5 + 200 * 2 and pace.epoch_seconds() == 150
    train(pace, clock, 21, 100, 0.5, is_last=True)
    train(pace, clock, 100, 120, 2.0)
    assert pace.step_seconds == pytest.approx(2.0) and pace.left(120) == pytest.approx(180 * 2)


def test_steps_of_another_image_size_are_measured_anew(clock):
    schedule = Schedule(num_images=800, batch_size=8, num_epochs=3, every_steps=500, resizing=Resizing(1, 0.25))
    pace = Pace(schedule, clock)
    train(pace, clock, 1, 100, 0.5, is_last=True)
    train(pace, clock, 100, 120, 0.6)  # they take less time than was expected
    assert pace.step_seconds == pytest.approx(0.6) and pace.left(120) == pytest.approx(180 * 0.6)


def test_recent_steps_count_more(pace, clock):
    train(pace, clock, 1, 100, 2.0)
    train(pace, clock, 100, 200, 1.0)
    assert 1.0 < pace.step_seconds < 1.5


def test_steps_that_a_rollback_takes_back_are_measured_anew(pace, clock):
    train(pace, clock, 1, 90, 1.0)
    clock.now += 500
    pace.start(50, 0.0)
    clock.now += 10
    pace.measure(60, 0.0)
    assert pace.step_seconds == pytest.approx(1.0)


def test_an_estimate_is_told_once_and_corrected_once_if_it_was_far_off(pace, clock):
    train(pace, clock, 1, 21, 1.0)
    assert pace.new_estimate(21) == 279 and pace.has_estimated
    train(pace, clock, 21, 100, 1.0, is_last=True)
    assert pace.new_estimate(100) is None
    clock.now += 100
    pace.evaluated(100, head_start=0)
    assert pace.new_estimate(100) == 200 + 200
    pace.evaluated(1000, head_start=0)
    assert pace.new_estimate(100) is None


def test_an_estimate_that_was_nearly_right_stands(pace, clock):
    train(pace, clock, 1, 21, 1.0)
    pace.new_estimate(21)
    train(pace, clock, 21, 100, 1.0, is_last=True)
    pace.evaluated(10, head_start=0)
    assert pace.new_estimate(100) is None

"""The watchdog of a run, with a clock of the test's own; that it ends a run that hangs is tested on a process."""

import math
import time

import pytest

from fashion_jax.training import watchdog
from fashion_jax.training.watchdog import Watchdog, write_stacks


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(watchdog, "_LOOK", 0.02)


class Dog:
    """A watchdog, its clock, and the sentences with which it would have ended the run."""

    def __init__(self, minutes, step_seconds=math.nan):
        self.now, self.said, self.step_seconds, self.readings = 1000.0, [], step_seconds, 0
        self.watchdog = Watchdog(minutes, lambda: self.step_seconds, self.said.append, self.clock)

    def clock(self):
        self.readings += 1
        return self.now

    def seen_after(self, seconds):
        """Moves the clock, and waits until the thread of the watchdog has looked at it, which reads it twice a look."""
        self.now += seconds
        wanted, deadline = self.readings + 4, time.monotonic() + 60
        while self.readings < wanted:
            assert time.monotonic() < deadline, "the watchdog does not look at the clock"
            time.sleep(0.001)
        time.sleep(0.005)  # until the look has ended; the next one begins later

    def after(self, seconds):
        self.now += seconds
        self.watchdog.check()
        return len(self.said)


@pytest.mark.parametrize(
    ("minutes", "step_seconds", "limit"),
    [(0, math.nan, 600), (0, 0.5, 600), (0, 60, 1200), (2, 60, 120), (0.5, math.nan, 30)],
)
def test_it_waits_as_long_as_the_config_or_the_measured_step_says(minutes, step_seconds, limit):
    dog = Dog(minutes, step_seconds)
    dog.watchdog.feed(1)
    assert dog.after(limit - 1) == 0
    assert dog.after(2) == 1


def test_food_keeps_it_quiet():
    dog = Dog(1)
    dog.watchdog.feed(0)
    for step in range(5):
        assert dog.after(50) == 0
        dog.watchdog.feed(step)
    assert dog.after(61) == 1
    assert dog.said[0].startswith("The run has made no step for 1 minutes after step 4")


def test_it_waits_for_the_compilation_of_a_program():
    dog = Dog(0.5, 0.1)
    assert dog.after(599) == 0
    dog.watchdog.feed()  # with a decoded image, before the step
    assert dog.after(599) == 0
    dog.watchdog.feed(1)
    dog.watchdog.expect_compilation()
    assert dog.after(599) == 0
    dog.watchdog.feed(2)
    assert dog.after(29) == 0
    assert dog.after(2) == 1


def test_a_process_that_was_suspended_has_not_hung():
    dog = Dog(1)
    dog.watchdog.feed(1)
    with dog.watchdog.watching():
        dog.seen_after(0)
        dog.seen_after(3600)  # as after Ctrl-Z
        assert dog.said == []
        for _ in range(3):  # the loop hangs while the process runs
            dog.seen_after(25)
    assert len(dog.said) >= 1


def test_it_watches_only_within_the_block():
    dog = Dog(1)
    dog.watchdog.feed(1)
    with dog.watchdog.watching():
        pass
    for _ in range(3):  # as when the loop hangs, and not as after Ctrl-Z
        dog.now += 25
        time.sleep(0.1)
    assert dog.said == []


def test_it_waits_for_what_the_host_computes():
    dog = Dog(1)
    dog.watchdog.feed(1)
    with dog.watchdog.paused():
        assert dog.after(3600) == 0
    assert dog.after(59) == 0
    assert dog.after(2) == 1


def test_the_stacks_of_all_threads_are_written(tmp_path):
    write_stacks(tmp_path)
    text = (tmp_path / "stacks" / "0.txt").read_text()
    assert "test_the_stacks_of_all_threads_are_written" in text

"""Ends a run after too many non-finite updates in a row, or takes it back to the last good checkpoint."""

from __future__ import annotations

import jax
import numpy as np

from fashion_jax.devices.mesh import fetch, replicated
from fashion_jax.errors import RunError
from fashion_jax.step.train_state import TrainState
from fashion_jax.step.train_step import Outcome
from fashion_jax.training.run import Run


class RollBack(Exception):
    """Requests the n-th rollback of this run, to before a step."""

    def __init__(self, first_skipped: int, times: int):
        super().__init__()
        self.first_skipped, self.times = first_skipped, times


def check_updates(run: Run, step: int, outcome: Outcome) -> float:
    """Waits for the loss of a step and returns it; `state` is that of the step.

    Raises:
        RollBack: too many updates in a row were skipped, and on_nonfinite asks for a rollback.
        RunError: too many were skipped, and there is no rollback, or no further one.
    """
    value, *counts = fetch(outcome)
    config, (in_a_row, times) = run.config, map(int, counts)
    limit = 1 if config.on_nonfinite == "stop" else config.nonfinite.max_in_a_row
    if in_a_row < limit:
        return float(value)
    first = step - in_a_row + 1
    if config.on_nonfinite == "rollback" and times < config.nonfinite.max_rollbacks:
        raise RollBack(first, times + 1)
    tried = f", after {times} rollbacks" if times else ""
    others = {"stop": "skip or rollback", "skip": "rollback"}.get(config.on_nonfinite)
    way_out = f"set on_nonfinite to {others} and run again, which goes on from the last checkpoint, or " * bool(others)
    raise RunError(
        f"The loss or its gradient is not finite from step {first} on{tried}: {way_out}lower learning_rate "
        f"({config.learning_rate}) and start in another --workdir."
    )


def roll_back(run: Run, asked: RollBack) -> tuple[int, TrainState | None]:
    """Sets the run back and returns the step to continue from, and its state; step 0 has no state.

    The step is the last scheduled one before the first skipped update. Later ones are removed, so that an interrupted
    run comes to the same result.
    """
    wanted = [s for s in run.checkpoints.steps() if s < asked.first_skipped and run.is_scheduled(s)]
    found = run.checkpoints.restore_first(reversed(wanted), run.abstract_state)
    step, state = found or (0, None)
    run.start_at(state)
    run.checkpoints.discard_after(step)
    rate = run.config.learning_rate * run.config.nonfinite.learning_rate_factor**asked.times
    run.terminal.say(
        f"The loss or its gradient is not finite from step {asked.first_skipped} on: back to step {step}, "
        f"and on with learning_rate {rate:g} instead of {run.config.learning_rate:g}."
    )
    return step, state


def slowed(run: Run, state: TrainState, times: int) -> TrainState:
    """Returns a state whose learning rate is reduced by a number of rollbacks."""
    rollbacks = jax.make_array_from_callback((), replicated(run.mesh), lambda index: np.asarray(times, np.int32)[index])
    return state.replace(guard=state.guard | {"rollbacks": rollbacks})

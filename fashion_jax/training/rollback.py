"""Too many updates in a row that are not finite: the end of the run, or back to the last good checkpoint."""

from __future__ import annotations

import jax
import numpy as np

from fashion_jax.devices.mesh import fetch, replicated
from fashion_jax.errors import RunError
from fashion_jax.step.train_state import TrainState
from fashion_jax.step.train_step import Outcome
from fashion_jax.training.run import Run


class RollBack(Exception):
    """Asks to go back to before a step, the n-th time in this run."""

    def __init__(self, first_skipped: int, times: int):
        super().__init__()
        self.first_skipped, self.times = first_skipped, times


def check_updates(run: Run, step: int, outcome: Outcome) -> float:
    """Returns the loss of a step, for which it waits.

    Raises:
        RollBack: as many updates in a row were skipped as on_nonfinite allows, and it says so.
        RunError: they were, and it does not, or no longer.
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
    """The step to go on from, at which the run now is, and its state; step 0 has none.

    The step is the last scheduled one before the first skipped update, later ones are removed: so a run that is
    interrupted on the way comes to the same.
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
    """A state whose learning rate is that after so many rollbacks."""
    rollbacks = jax.make_array_from_callback((), replicated(run.mesh), lambda index: np.asarray(times, np.int32)[index])
    return state.replace(guard=state.guard | {"rollbacks": rollbacks})

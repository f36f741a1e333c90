"""Ends a run after too many non-finite updates in a row, or takes it back to the last good checkpoint."""

from __future__ import annotations

import numpy as np
from jax.sharding import Mesh

from fashion_jax.devices.mesh import fetch, put_everywhere
from fashion_jax.errors import RunError
from fashion_jax.step.guard import limit_in_a_row, may_continue, slowed
from fashion_jax.step.train_state import TrainState
from fashion_jax.step.train_step import Outcome
from fashion_jax.training.run import Run

# The policies under which a run goes on where this one ends.
_MILDER = {"stop": "skip or rollback", "skip": "rollback"}


class RollBack(Exception):
    """Requests the n-th rollback of this run, to before a step."""

    def __init__(self, first_skipped: int, times: int):
        super().__init__()
        self.first_skipped, self.times = first_skipped, times


def check_updates(run: Run, step: int, outcome: Outcome) -> Outcome:
    """Waits for the outcome of a step and returns it on the host.

    Raises:
        RollBack: too many updates in a row were skipped, and on_nonfinite asks for a rollback.
        RunError: too many were skipped, and there is no rollback, or no further one.
    """
    config, fetched = run.config, fetch(outcome)
    in_a_row, times = int(fetched.in_a_row), int(fetched.rollbacks)
    if may_continue(in_a_row, limit_in_a_row(config.on_nonfinite, config.nonfinite.max_in_a_row)):
        return fetched
    first = step - in_a_row + 1
    if config.on_nonfinite == "rollback" and times < config.nonfinite.max_rollbacks:
        raise RollBack(first, times + 1)
    tried = f", after {times} rollbacks" if times else ""
    way_out = ""
    if config.on_nonfinite in _MILDER:
        milder = _MILDER[config.on_nonfinite]
        way_out = f"set on_nonfinite to {milder} and run again, which resumes from the last checkpoint, or "
    raise RunError(
        f"The loss or its gradient is not finite from step {first} on{tried}: {way_out}lower learning_rate "
        f"({config.learning_rate}) and start in another --workdir."
    )


def roll_back(run: Run, asked: RollBack) -> tuple[int, TrainState | None]:
    """Restores the state to continue from and returns its step and the state; step 0 has no state.

    The step is the last scheduled one before the first skipped update. Later ones are removed, so that an interrupted
    run comes to the same result. If none of those that are kept was scheduled, as where checkpoint.every_steps has
    changed, it is the last one.
    """
    checkpoints = run.checkpoints
    earlier = [step for step in checkpoints.steps() if step < asked.first_skipped]
    wanted = [step for step in earlier if checkpoints.is_scheduled(step)] or earlier
    found = checkpoints.restore_first(reversed(wanted), run.program.abstract_state)
    step, state = found or (0, None)
    run.schedule.start_at(state)
    checkpoints.discard_after(step)
    highest, factor = run.program.learning_rates.highest, run.config.nonfinite.learning_rate_factor
    before, now = (slowed(highest, factor, times) for times in (asked.times - 1, asked.times))
    run.terminal.say(
        f"The loss or its gradient is not finite from step {asked.first_skipped} on. The run returns to step "
        f"{step} and continues with learning_rate {now:g} instead of {before:g}."
    )
    return step, state


def with_rollbacks(state: TrainState, times: int, mesh: Mesh) -> TrainState:
    """Returns a state that counts so many rollbacks, which slow its learning rate."""
    return state.replace(guard=state.guard | put_everywhere({"rollbacks": np.int32(times)}, mesh))

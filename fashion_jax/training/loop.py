"""The training loop: dispatches the steps of a run, saves and evaluates on the way, and rolls back where it has to."""

from __future__ import annotations

import time

import jax

from fashion_jax.config.combinations import best_metric
from fashion_jax.data.batches.pipeline import Images, train_batches
from fashion_jax.devices.mesh import in_turn, put_batch, put_batches, ready
from fashion_jax.scoring.metrics import epoch_scores
from fashion_jax.step.train_state import TrainState
from fashion_jax.step.train_step import Outcome
from fashion_jax.training import interruption
from fashion_jax.training.dispatch import dispatches, next_batch
from fashion_jax.training.epoch_end import end_epoch, stop
from fashion_jax.training.initial_state import new_state
from fashion_jax.training.rollback import RollBack, check_updates, roll_back, with_rollbacks
from fashion_jax.training.run import Run, StepFn, Stopwatch
from fashion_jax.training.run_end import outdate_report


def train_to_end(run: Run, state: TrainState, images: Images) -> TrainState:
    """Trains from a state to the last step, which is saved, through as many rollbacks as needed.

    Args:
        run: whose schedule knows the position of the state.
        state: of that position.
        images: of the training split.
    """
    while True:
        try:
            state = _steps(run, ready(state), images)
            run.checkpoints.save_now(run.schedule.num_steps, state)
            return state
        except RollBack as asked:
            start, restored = roll_back(run, asked)
            state = new_state(run.program, run.terminal.say) if restored is None else restored
            state = with_rollbacks(state, asked.times, run.program.mesh)
            run.metrics_file.cut_after(start)
            run.checkpoints.set_scores(epoch_scores(run.metrics_file.lines, best_metric(run.config)))
        finally:
            interruption.hold(False)


def _steps(run: Run, state: TrainState, images: Images) -> TrainState:
    """Trains from the position of the run to its last step; saves and evaluates on the way.

    The outcome of a dispatch is fetched after the next one has been dispatched, so that the device never waits.
    """
    config, pace = run.config, run.progress.pace
    start, epoch, seen = run.schedule.position
    batches = train_batches(run.dataset.splits["train"], images, config, epoch, seen, run.rows)
    watch = Stopwatch()
    compiled: set[StepFn] = set()
    previous: Outcome | None = None
    ends = list(run.schedule.epoch_ends)
    for step, count in dispatches(start, ends, config.steps_per_dispatch, config.checkpoint.every_steps):
        asked = time.monotonic()
        step_fn = run.step_function(step, count)
        if step_fn in compiled:
            pace.start(step - count, watch.waited)
        else:  # the first step of a program may compile it, and is not measured
            pace.pause()
            compiled.add(step_fn)
            run.watchdog.expect_compilation()
        put = put_batch if count == 1 else put_batches
        batch = put(next_batch(batches, count), run.program.mesh)
        watch.waited += time.monotonic() - asked
        with jax.transfer_guard("disallow"):
            state, outcome = in_turn(step_fn(state, batch), run.program.mesh)
        interruption.hold(True)
        run.progress.dispatched(step)
        run.watchdog.feed(step)
        if previous is not None and step % config.log_every_steps < count:
            _report_progress(run, step - count, previous, watch)
        watch.steps += count
        is_stopped = interruption.requested()
        if is_stopped or run.checkpoints.is_scheduled(step) or run.checkpoints.is_retry_due():
            watch = _save(run, state, step, outcome, watch, is_stopped=is_stopped)
        if step == run.schedule.num_steps:  # which early stopping may have lowered
            break
        previous = outcome
    return state


def _save(run: Run, state: TrainState, step: int, outcome: Outcome, watch: Stopwatch, *, is_stopped: bool) -> Stopwatch:
    """Saves the state of a step; ends the run if a signal asks for it, and the epoch if this is its last step.

    Returns:
        The stopwatch of the next steps: a new one after the end of an epoch.
    """
    check_updates(run, step, outcome)
    outdate_report(run.workdir)
    if is_stopped:
        stop(run, state, step)
    if step not in run.schedule.epoch_ends:
        run.checkpoints.save(step, state)
        return watch
    run.progress.pace.measure(step, watch.waited, is_last=True)
    end_epoch(run, state, step, watch)
    return Stopwatch()


def _report_progress(run: Run, step: int, outcome: Outcome, watch: Stopwatch) -> None:
    """Fetches the outcome of a step, and says and logs how far the run is."""
    fetched = check_updates(run, step, outcome)
    run.progress.pace.measure(step, watch.waited)
    run.progress.fetched(step, float(fetched.loss))
    if estimate := run.progress.new_estimate(step):
        run.terminal.say(estimate)
    if run.events:
        scalars = {
            "loss": float(fetched.loss),
            "learning_rate": run.learning_rate(step, int(fetched.rollbacks)),
            "gradient_norm": float(fetched.gradient_norm),
            "images_per_second": watch.lap(run.config.batch_size),
        }
        run.events.write_step(step, scalars)

"""Keeps checkpoints of the whole state with orbax: the latest ones and the best one, saved in the background."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from fashion_jax.devices.mesh import fetch
from fashion_jax.devices.processes import decided, exchange
from fashion_jax.errors import RunError, first_line
from fashion_jax.workdir.checkpoints.digests import Unusable, digests_of
from fashion_jax.workdir.checkpoints.identity import Identity, inspect_steps
from fashion_jax.workdir.checkpoints.restoring import restore_step, saved_tree
from fashion_jax.workdir.checkpoints.step_folders import check_names, list_steps, set_aside
from fashion_jax.workdir.checkpoints.writer import CheckpointWriter
from fashion_jax.workdir.open_directory import OpenDirectory

_MARGIN = 16 << 20  # bytes that a save takes besides the state's

_PAUSES = (1, 5, 15, 30)  # seconds before each further attempt of a save that has failed

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class SavePlan:
    """The steps that a run saves in any case, to which it may be rolled back.

    Attributes:
        is_due: returns whether a step is one of them; the ends of epochs always are.
        rollback_steps: how many steps before the newest one a rollback may begin. The last scheduled step before those
            is kept, and all scheduled steps after it.
        rollback_saves: how many steps are kept for that, at most.
    """

    is_due: Callable[[int], bool] = lambda step: True
    rollback_steps: int = 0
    rollback_saves: int = 1


class Checkpoints:
    """The checkpoints of a run.

    Scores are kept by the caller (in metrics.jsonl), not by orbax, which cannot open a directory any more
    once a single one of its own metrics files is damaged. Steps are listed and restored without orbax's
    manager, which treats any folder with a number for a name as a step.

    Every process of a run calls the same methods in the same order. The first one alone lists, saves and removes steps,
    since each process has the whole state; each one restores them, and none uses a step that another cannot use.
    """

    def __init__(
        self,
        directory: Path,
        keep: int,
        read_only: bool = False,
        say: Say = lambda text: None,
        plan: SavePlan | None = None,
        identity: Identity | None = None,
        workdir: OpenDirectory | None = None,
    ):
        """Keeps the latest `keep` steps, the best step and the latest scheduled step in `directory`.

        It also keeps the scheduled steps that a rollback may need (see SavePlan).

        If read_only, nothing is created or cleaned up, since a training may be writing to the directory.

        Saved checkpoints carry the identity of the run, and restored ones are compared with it.

        Nothing is saved any more once `workdir`, the work directory, has been moved or replaced.
        """
        self._identity = identity or Identity()
        self._scores: dict[int, float] = {}  # step -> score, higher is better
        self._failures, self._retry_at = 0, 0.0  # failed saves in a row; time on the monotonic clock
        self._directory, self._keep, self._read_only = directory.absolute(), keep, read_only
        self._say, self._plan = say, plan or SavePlan()
        self._workdir = workdir
        self._writer: CheckpointWriter | None = None

    def steps(self) -> list[int]:
        """Returns the saved steps, whole or damaged, ascending."""
        return decided("steps", self._listed)

    def _listed(self) -> list[int]:
        if self._writer is not None:
            self._writer.join()
        return list_steps(self._directory)

    def set_scores(self, scores: Mapping[int, float]) -> None:
        """Sets step -> score, higher is better, of all epochs that have ended: the best step is among them."""
        self._scores = dict(scores)

    def add_score(self, step: int, score: float) -> None:
        """Adds the score of an epoch that ends at a step."""
        self._scores[step] = score

    def is_scheduled(self, step: int) -> bool:
        """Returns whether a step is saved in any case: the plan has it, or an epoch has ended there."""
        return step in self._scores or self._plan.is_due(step)

    @property
    def latest_step(self) -> int | None:
        return max(self.steps(), default=None)

    @property
    def best_step(self) -> int | None:
        """Returns the saved step of the highest finite score, the earliest in a tie; without scores the latest step."""
        return next(iter(self._best_first()), None)

    def _superseded(self, steps: list[int]) -> list[int]:
        """Returns the saved steps that are no longer needed."""
        scheduled = [step for step in steps if self.is_scheduled(step)]
        before_rollback = [step for step in scheduled if step <= max(steps) - self._plan.rollback_steps]
        safe = max(before_rollback, default=0)
        best = self._by_score(steps)[:1]
        kept = {*steps[-self._keep :], *best, *(step for step in scheduled if step >= safe)}
        return [step for step in steps if step not in kept]

    def _by_score(self, steps: Sequence[int]) -> list[int]:
        scored = [step for step in sorted(steps) if math.isfinite(self._scores.get(step, math.nan))]
        return sorted(scored, key=self._scores.__getitem__, reverse=True)

    def _best_first(self) -> list[int]:
        steps = self.steps()
        scored = self._by_score(steps)
        return scored + [step for step in reversed(steps) if step not in scored]

    def save(self, step: int, state: Any) -> None:
        """Starts to save a TrainState, which may be donated as soon as this returns.

        A save that fails, now or in the background, is reported, harms no earlier one, and is repeated a little later.

        Raises:
            RunError: too many saves in a row have failed, or the work directory has been moved or replaced.
        """
        self.check_place()
        self._settled()
        is_saved = step in self.steps()  # a resumed run may end an epoch whose checkpoint exists
        if is_saved and self._writer is not None:  # only in process 0
            self._report_removal(self._writer.remove_superseded())  # its score may have come after it was saved
        if is_saved or jax.process_index():
            return
        try:
            self._check_space(state)
            arrays = fetch(saved_tree(state))
            if self._writer is None:
                self._writer = CheckpointWriter(self._directory, self._superseded)
            self._writer.start(step, arrays, digests_of(arrays, self._identity.label(step)))
        except Exception as error:
            self._failed(error)

    def save_now(self, step: int, state: Any) -> None:
        """Saves a TrainState and returns when it is on disk; fails only with a RunError, as save does."""
        while True:
            self.save(step, state)
            if decided("saved", lambda: self._settled() and step in self._listed()):
                return
            time.sleep(max(self._retry_at - time.monotonic(), 0))

    def is_retry_due(self) -> bool:
        """Returns without waiting whether the latest save has failed and it is time for the next attempt.

        With several processes, only the first one knows this, and tries again with the next regular save: the loops of
        all of them must do the same after a step.
        """
        if self._writer is not None and self._writer.is_done:
            self._settled()
        failed = self._failures > 0 and self._writer is None
        return failed and jax.process_count() == 1 and time.monotonic() >= self._retry_at

    def _settled(self) -> bool:
        """Waits for the save in the background; returns False if it has failed."""
        if self._writer is not None and self._writer.is_pending:
            try:
                problem = self._writer.wait()
            except Exception as error:
                self._failed(error)
            else:
                self._failures = 0
                self._report_removal(problem)
        return self._failures == 0

    def _report_removal(self, problem: Exception | None) -> None:
        if problem:
            self._say(f"Old checkpoints in {self._directory} cannot be removed ({first_line(problem)}).")

    def _failed(self, error: Exception) -> None:
        self.check_place()
        self.close()  # the rest of the save is removed with the next one
        self._failures += 1
        reason = first_line(error)
        if self._failures > len(_PAUSES):
            raise RunError(
                f"Saving a checkpoint failed {self._failures} times in a row ({reason}). Fix the cause and run the "
                f"same command again: it resumes from the last checkpoint in {self._directory}."
            ) from error
        self._retry_at = time.monotonic() + _PAUSES[self._failures - 1]
        self._say(
            f"Saving a checkpoint failed ({reason}). Earlier checkpoints are intact, and the save will be tried again."
        )

    def check_place(self) -> None:
        """Checks that the work directory, and the checkpoints in it, are where they were."""
        if self._workdir is not None:
            self._workdir.check()
        if self._writer is not None:
            self._writer.held.check()

    def check_room(self, state: Any, saves: int) -> None:
        """Checks that the disk has room for the saves of a state (arrays, or their abstract twins).

        There must be room for the latest ones or, if these are more, those that a rollback may need, for the best one
        and a new one, since an old checkpoint is only removed once the new one is whole, but for no more than so many
        saves as are to come. If a checkpoint exists already, there must be room for one more.

        Raises:
            RunError: there is less; the sentence names both sizes.
        """
        if jax.process_index():
            return
        count = 1 if self._listed() else min(max(self._keep, self._plan.rollback_saves) + 2, saves)
        free, needed = self._free(), count * _size(state)
        if free < needed:
            raise RunError(
                f"{_mib(free)} are free on the disk of {self._directory.parent}, but {_mib(needed)} are needed to save "
                f"checkpoints of this model ({_mib(_size(state))} each): make room there, or use a --workdir on "
                "another disk."
            )

    def _check_space(self, state: Any) -> None:
        free, needed = self._free(), _size(state)
        if free < needed:
            raise OSError(f"{_mib(free)} are free in {self._directory}, {_mib(needed)} are needed")

    def _free(self) -> int:
        """Returns the bytes that this user may still write beside the checkpoints."""
        space = os.statvfs(self._directory.parent)
        return space.f_bavail * space.f_frsize

    def restore(self, step: int, like: Any) -> Any:
        """Restores the arrays of a step; see restoring.restore_step for `like` and the errors."""
        return restore_step(self._directory, step, like, self._identity)

    def restore_latest(self, like: Any) -> tuple[int, Any] | None:
        """Restores the newest whole step and returns it with its state; returns None if nothing has been saved.

        Newer steps that are damaged are reported and set aside.

        Raises:
            UserError: they belong to another model or another step.
            RunError: none can be used.
        """
        steps = self.steps()[::-1]
        broken = [] if self._read_only else decided("broken steps", lambda: self._inspect(steps))
        return self.restore_first([step for step in steps if step not in broken], like, broken)

    def _inspect(self, steps: Iterable[int]) -> list[int]:
        """Reports what is wrong in the directory, and returns the steps that cannot be used. Reads no arrays."""
        saved, broken = inspect_steps(self._directory, steps)
        for step, reason in broken.items():
            self._say_unusable(step, reason)
        self._identity.check_folders(saved, self._directory)
        for name in check_names(self._directory):
            self._say(f"{self._directory / name} is not named as a step is, and is ignored: rename or remove it.")
        return [*broken]

    def _say_unusable(self, step: int, reason: object) -> None:
        self._say(f"The checkpoint of step {step} in {self._directory} cannot be used: {reason}.")

    def restore_best(self, like: Any) -> tuple[int, Any] | None:
        """Restores the usable step with the highest score; otherwise like `restore_latest`.

        It reports if the step with the highest score of all epochs is not there any more.
        """
        steps = self._best_first()
        best = self._by_score([*self._scores])[:1]
        if steps and best and best[0] not in steps:
            self._say(f"The best checkpoint, of step {best[0]}, is not in {self._directory} any more: another is used.")
        return self.restore_first(steps, like)

    def restore_first(self, steps: Iterable[int], like: Any, damaged: Iterable[int] = ()) -> tuple[int, Any] | None:
        """Restores the first usable step of `steps`; raises what restore_latest raises.

        Args:
            steps: in the order in which they are tried, which is that of process 0: others may have read other scores.
            like: see restore.
            damaged: steps that are known to be unusable, which are set aside too.
        """
        damaged = [*damaged]
        for step in decided("steps to restore", lambda: [*steps]):
            state, reason = None, ""
            try:
                state = self.restore(step, like)
            except Unusable as error:
                reason = str(error)
            if reason := exchange(f"step {step}", reason, _first_reason):
                damaged.append(step)
                self._say_unusable(step, reason)
            else:
                self._set_aside(damaged)
                return step, state
        if not damaged:
            return None
        raise RunError(
            f"None of the checkpoints in {self._directory} (steps {', '.join(map(str, sorted(damaged)))}) can be used: "
            "bring one back from a copy, or remove that folder to start from the beginning."
        )

    def _set_aside(self, steps: Sequence[int]) -> None:
        """Moves steps out of the way of new ones; call it only once another step is known to be good."""
        if steps and not self._read_only and not jax.process_index():
            set_aside(self._directory, steps)

    def discard_after(self, step: int) -> None:
        """Removes the later steps, the newest first."""
        self.check_place()
        later = [saved for saved in reversed(self.steps()) if saved > step]
        if jax.process_index() == 0:
            for saved in later:
                shutil.rmtree(self._directory / str(saved))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None


def _size(state: Any) -> int:
    """Returns an upper bound of the bytes that a save of a state takes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)) + _MARGIN


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"


def _first_reason(reasons: Sequence[str]) -> str:
    """Returns why the first of the processes that cannot use a checkpoint cannot; "" if all can."""
    return next(filter(None, reasons), "")

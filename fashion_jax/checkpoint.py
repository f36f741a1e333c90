"""Checkpoints of the whole state with orbax: the latest ones and the best one, saved in the background."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from fashion_jax.errors import RunError
from fashion_jax.sharding import fetch


class Checkpoints:
    """The checkpoints of a run.

    Scores are kept by the caller (in metrics.jsonl), not by orbax, which cannot open a directory any more
    once a single one of its own metrics files is damaged.
    """

    def __init__(self, directory: Path, keep: int, read_only: bool = False):
        """Opens, or makes, a directory of which the latest `keep` steps and the best one stay.

        Read-only, nothing is made or cleaned up: a training may be writing to the directory.
        """
        self.scores: dict[int, float] = {}  # step -> score, higher is better
        self._keep = keep
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self, cleanup_tmp_directories=not read_only, create=not read_only, read_only=read_only
        )
        with _quiet():
            self._manager = ocp.CheckpointManager(directory.absolute(), options=options)

    @property
    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    @property
    def best_step(self) -> int | None:
        """The saved step with the highest finite score, the earliest of equals; the latest without scores."""
        best = self._best_of(self._manager.all_steps())
        return self.latest_step if best is None else best

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """orbax's PreservationPolicy."""
        del context
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = {*sorted(steps)[-self._keep :], self._best_of(steps)}
        return [step in kept for step in steps]

    def _best_of(self, steps: Sequence[int]) -> int | None:
        scored = [step for step in sorted(steps) if math.isfinite(self.scores.get(step, math.nan))]
        return max(scored, key=self.scores.__getitem__, default=None)

    def save(self, step: int, state: Any) -> None:
        """Starts to save a TrainState, which may be donated as soon as this returns."""
        if step == self.latest_step:  # a resumed run evaluates again what is already saved
            return
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), digests=ocp.args.JsonSave(_digests(state)))
        self._manager.save(step, args=items)

    def restore(self, step: int, like: Any) -> Any:
        """The TrainState of a step, of the shapes, types and shardings of `like` (arrays, or their abstract twins).

        Raises:
            RunError: the arrays are not those that were saved.
        """
        args = ocp.args.Composite(state=ocp.args.StandardRestore(like), digests=ocp.args.JsonRestore())
        restored = self._manager.restore(step, args=args)
        digests = _digests(restored.state)
        damaged = [name for name, digest in digests.items() if restored.digests.get(name) != digest]
        if damaged:
            raise RunError(
                f"The checkpoint of step {step} is damaged (in {damaged[0]}): "
                f"remove {self._manager.directory / str(step)} to go on from an older one."
            )
        return restored.state

    def wait(self) -> None:
        """Returns when everything is on disk; raises what a save has failed with."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()


def _digests(state: Any) -> dict[str, str]:
    leaves, _ = jax.tree.flatten_with_path(fetch(state))
    return {
        jax.tree_util.keystr(path): hashlib.sha256(np.ascontiguousarray(leaf).data).hexdigest() for path, leaf in leaves
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without orbax's warnings that a directory opened for reading is not going to be written."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

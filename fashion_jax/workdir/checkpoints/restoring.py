"""Restores the arrays of one checkpoint, and verifies that they are what this run saved at this step."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from fashion_jax.devices.mesh import fetch
from fashion_jax.errors import RunError, first_line
from fashion_jax.step.train_state import TrainState
from fashion_jax.workdir.checkpoints.digests import Unusable, check_digests, check_structure
from fashion_jax.workdir.checkpoints.identity import Identity, read_step
from fashion_jax.workdir.open_directory import OpenDirectory


def restore_step(directory: Path, step: int, like: Any, identity: Identity) -> Any:
    """Restores the arrays of a step in the shapes, dtypes and shardings of `like` (arrays, or their abstract twins).

    Args:
        directory: of the checkpoints.
        step: to restore.
        like: a TrainState, or a dict of some of its fields: then the others are not read.
        identity: of the run that must have saved them.

    Raises:
        UserError: they belong to another model, run or step; the sentence names what differs.
        Unusable: they are not those that were saved.
        RunError: there is too little memory.
    """
    saved = read_step(directory, step)
    identity.check(saved, step, directory)
    folder = directory / str(step)
    check_structure(saved.arrays, like, folder)
    tree = saved_tree(like)
    item = ocp.args.PyTreeRestore(
        item=tree,
        restore_args=ocp.checkpoint_utils.construct_restore_args(tree),
        partial_restore=True,  # what else was saved is not read
    )
    try:
        handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone())
        with (
            quiet(),
            OpenDirectory(folder) as held,
            ocp.Checkpointer(handler, multiprocessing_options=alone()) as checkpointer,
        ):
            restored = checkpointer.restore(held.path / "state", args=item)
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        raise RunError(
            f"The checkpoint of step {step} in {directory} cannot be loaded ({first_line(error)}): free some memory, "
            "and run the same command again."
        ) from error
    except Exception as error:
        raise Unusable(first_line(error)) from error
    check_digests(saved.arrays, fetch(restored))
    return like.replace(**restored) if isinstance(like, TrainState) else restored


def alone() -> ocp.options.MultiprocessingOptions:
    """Returns options by which orbax waits for no other process: one that fails in a save or restore stops no other."""
    index = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"process_{index}"
    )


def saved_tree(state: Any) -> Any:
    """Returns what is saved of a state: of a TrainState the fields that its method names, of other trees all."""
    return state.saved() if isinstance(state, TrainState) else state


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps orbax from logging damages and failures, which are reported in one line instead."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)

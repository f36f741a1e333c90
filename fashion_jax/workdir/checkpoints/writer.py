"""Writes checkpoints in the background with orbax, and checks each one before it counts."""

from __future__ import annotations

import concurrent.futures
import contextlib
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import orbax.checkpoint as ocp
import tensorstore as ts

from fashion_jax.json_text import parse_json
from fashion_jax.workdir.checkpoints.digests import Unusable
from fashion_jax.workdir.checkpoints.restoring import alone, quiet
from fashion_jax.workdir.checkpoints.step_folders import list_steps
from fashion_jax.workdir.open_directory import OpenDirectory

UNFINISHED = ".orbax-checkpoint-tmp"  # part of the names of orbax's unfinished folders

_REMOVED = ".removed"


class CheckpointWriter:
    """Writes the steps of a directory, one at a time, in a separate thread of one process.

    It does without orbax's CheckpointManager. That polls JAX's pre-emption service with its own step numbers, so that
    the training loop's polls miss the agreed one, and it removes older steps before the new one has been checked.
    """

    def __init__(self, directory: Path, superseded: Callable[[list[int]], list[int]]):
        """Opens a directory, creates it if needed, and removes what earlier saves have left unfinished.

        Args:
            directory: has a folder per step.
            superseded: maps the steps that exist after a save to those to remove.
        """
        directory.mkdir(exist_ok=True)
        self.held, self._superseded = OpenDirectory(directory), superseded
        options = ocp.CompositeOptions(multiprocessing_options=alone())
        handler = ocp.CompositeCheckpointHandler(composite_options=options)
        self._checkpointer = ocp.AsyncCheckpointer(handler, multiprocessing_options=alone())
        self._thread = ThreadPoolExecutor(1, "save")
        self._save: Future[Exception | None] | None = None
        for name in os.listdir(self.held.path):
            if UNFINISHED in name or name.endswith(_REMOVED):
                shutil.rmtree(self.held.path / name, ignore_errors=True)

    @property
    def is_pending(self) -> bool:
        """Returns whether a save has begun whose outcome `wait` has not reported yet."""
        return self._save is not None

    @property
    def is_done(self) -> bool:
        """Returns whether a save has begun and ended, so that `wait` returns at once."""
        return self._save is not None and self._save.done()

    def start(self, step: int, arrays: Any, digests: dict[str, Any]) -> None:
        """Begins to save a tree of arrays, which may be overwritten as soon as this returns."""
        items = ocp.args.Composite(state=ocp.args.StandardSave(arrays), digests=ocp.args.JsonSave(digests))
        with quiet(), self._plain_errors():
            self._checkpointer.save(self.held.path / str(step), args=items, force=True)
        self._save = self._thread.submit(self._finish, step, digests)

    def join(self) -> None:
        """Waits until the save that has begun ends, even if it fails; `wait` reports its outcome later."""
        if self._save is not None:
            concurrent.futures.wait([self._save])

    def wait(self) -> Exception | None:
        """Waits for the save that has begun; raises the error that it has failed with.

        Returns:
            Why older steps could not be removed, or None.
        """
        save, self._save = self._save, None
        assert save is not None  # a save is pending
        with quiet():
            return save.result()

    def close(self) -> None:
        """Waits for a save that is under way, whatever becomes of it."""
        with contextlib.suppress(Exception), quiet():
            self._thread.shutdown()
            self._checkpointer.close()
        self.held.close()

    def _finish(self, step: int, digests: dict[str, Any]) -> Exception | None:
        with self._plain_errors():
            self._checkpointer.wait_until_finished()
            try:
                check_complete(self.held.path / str(step), digests)
            except Exception:
                self._remove(step)
                raise
        return self.remove_superseded()

    def remove_superseded(self) -> Exception | None:
        """Removes the steps that are no longer needed; returns why they could not be removed, or None."""
        try:
            for older in self._superseded(list_steps(self.held.path)):
                self._remove(older)
        except OSError as error:
            return error
        return None

    def _remove(self, step: int) -> None:
        """Removes a step; renames it first, so that a step that is removed in part never counts as one."""
        folder = self.held.path / str(step)
        if folder.exists():
            removed = folder.rename(folder.with_name(folder.name + _REMOVED))
            shutil.rmtree(removed)

    @contextlib.contextmanager
    def _plain_errors(self) -> Iterator[None]:
        """Replaces the directory in errors by the path that users know."""
        try:
            yield
        except Exception as error:
            held, known = str(self.held.path), str(self.held.directory)
            if held in str(error):
                raise OSError(str(error).replace(held, known)) from error
            raise


def check_complete(folder: Path, digests: dict[str, Any]) -> None:
    """Checks that a checkpoint that has just been written is complete.

    It reads the digests, the index with the dtypes and shapes of the arrays, and the lengths of the files with their
    values. It does not read the values, which would take as long as a restore.

    Args:
        folder: of the step.
        digests: the result of digests_of for it.

    Raises:
        Unusable: a part is missing or is not what was written.
        OSError: it cannot be read.
    """
    if parse_json((folder / "digests" / "metadata").read_bytes()) != digests:
        raise Unusable("its digests are not those that were written")
    state = folder / "state"
    if not (state / "manifest.ocdbt").is_file():
        raise Unusable(f"{state / 'manifest.ocdbt'}, the index of its arrays, is missing")
    values: Counter[str] = Counter()  # name of an array -> number of its parts found
    layouts: dict[str, dict[str, Any]] = {}
    for entry in _index(state):
        name, _, part = entry["key"].decode().rpartition("/")
        if part == ".zarray":
            layouts[name] = parse_json(entry["inline_value"])
        else:
            _check_value(state, entry)
            values[name] += 1
    for name, layout in layouts.items():
        wanted = math.prod(-(-size // part) for size, part in zip(layout["shape"], layout["chunks"], strict=True))
        if values[name] != wanted:
            raise Unusable(f"{values[name]} of the {wanted} parts of {name} are there")
    kinds = Counter(f"{jnp.dtype(x['dtype']).name}[{','.join(map(str, x['shape']))}]" for x in layouts.values())
    written = Counter(entry.split(" ")[0] for entry in digests["arrays"].values())
    if kinds != written:
        missing = ", ".join(written - kinds) or "none"
        raise Unusable(f"it has {kinds.total()} of {written.total()} arrays (missing: {missing})")


def _index(state: Path) -> Iterator[dict[str, Any]]:
    """Yields the entries of the index of a checkpoint's arrays: their layouts, and where their values are."""
    files = ts.KvStore.open({"driver": "file", "path": f"{state}/"}).result()
    nodes = [ts.ocdbt.dump(files).result()["versions"][-1]["root"]["location"]]
    while nodes:
        node = ts.ocdbt.dump(files, nodes.pop()).result()
        if node["height"]:
            nodes += [entry["location"] for entry in node["entries"]]
        else:
            yield from node["entries"]


def _check_value(state: Path, entry: dict[str, Any]) -> None:
    """Checks that the file with a value exists and is long enough; small values are in the index itself."""
    if "inline_value" not in entry:
        _, base, name, offset, length = entry["indirect_value"].split(":")
        path = state / base / name
        if path.stat().st_size < int(offset) + int(length):
            raise Unusable(f"{path} is too short")

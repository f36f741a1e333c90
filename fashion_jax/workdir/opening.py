"""Opens the folder of a run for training: checks for obstacles, and undoes a start that fails."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from fashion_jax.atomic import kind_of, remove, remove_temporaries, unwritable, write_bytes
from fashion_jax.command_line.output_files import folder_of_flag
from fashion_jax.errors import RunError, UserError
from fashion_jax.workdir.checkpoints.step_folders import list_steps
from fashion_jax.workdir.lock import locked
from fashion_jax.workdir.paths import (
    CALIBRATION,
    CHECKPOINTS,
    CONFIG,
    DATA,
    ENVIRONMENT,
    EVENTS,
    IMAGES,
    LOCK,
    MEETING,
    METRICS,
    PREDICTIONS,
    REPORT,
    STACKS,
    TAXONOMY,
    VALIDATION,
    events_path,
)

_FILES = (CONFIG, TAXONOMY, DATA, ENVIRONMENT, IMAGES, CALIBRATION, METRICS)

_FOLDERS = (CHECKPOINTS, PREDICTIONS, REPORT, EVENTS)

_KINDS = {
    **dict.fromkeys((*_FILES, LOCK, MEETING, f"{PREDICTIONS}/{VALIDATION}"), "a file"),
    **dict.fromkeys((*_FOLDERS, STACKS, f"{EVENTS}/train", f"{EVENTS}/validation"), "a folder"),
}


def check_workdir(workdir: Path) -> None:
    """Checks that nothing stands in the way of the files of a run, which are written hours later.

    The folder itself may be a link to a folder. In it, links are refused: a file would replace them, or be written
    where they lead.

    Raises:
        UserError: the folder, or an entry with the name of one of the run's files, is of another kind, or there is a
            folder called like the page's, which would be replaced, but no run.
    """
    if os.path.lexists(workdir) and not workdir.is_dir():
        found = "a link to no folder" if workdir.is_symlink() else kind_of(workdir)
        raise UserError(f"--workdir is {str(workdir)!r}, which is {found}: name a folder.")
    is_run = any(os.path.lexists(workdir / name) for name in (*_FILES, CHECKPOINTS))
    if not is_run and os.path.isdir(report := workdir / REPORT) and os.listdir(report):
        raise UserError(
            f"{report} has files in it, but {workdir} has no run: its page would replace them; use another --workdir."
        )
    for name, wanted in _KINDS.items():
        path, found = workdir / name, kind_of(workdir / name)
        if found not in (None, wanted):
            raise UserError(f"{path} is {found}, where a run has {wanted}: move it away, or use another --workdir.")
        if found and name in (METRICS, *_FOLDERS) and not os.access(path, os.W_OK):
            denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            raise unwritable(path, denied, "give it the permission, or use another --workdir")


@contextlib.contextmanager
def opened(workdir: Path, say: Callable[[str], None], leads: bool = True) -> Iterator[None]:
    """Creates the folder of a run and holds its lock; if the block fails before anything is saved, undoes everything.

    Args:
        workdir: the folder, which check_workdir has passed.
        say: reports that the folder cannot be locked.
        leads: whether this is the process of the run that writes the files; others only create the folder.

    Raises:
        UserError: the folder cannot be created or written to, or another process trains in it.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(folder_of_flag("--workdir", workdir))
        if leads:
            stack.enter_context(locked(workdir, say))
            stack.enter_context(_unchanged_if_it_fails(workdir))
        yield


@contextlib.contextmanager
def _unchanged_if_it_fails(workdir: Path) -> Iterator[None]:
    """Restores the files of a run if the block fails without a new checkpoint or line of metrics."""
    for path in (*(workdir / name for name in (*_FILES, *_FOLDERS)), workdir / PREDICTIONS / VALIDATION):
        remove_temporaries(path.parent, path.name)  # other commands may be writing other files there
    here, names, steps = workdir.stat(), set(os.listdir(workdir)), set(list_steps(workdir / CHECKPOINTS))
    events = _event_files(workdir)
    with contextlib.ExitStack() as stack:
        # An open file stays what it was when another one replaces it.
        before = {name: stack.enter_context((workdir / name).open("rb")) for name in _FILES if name in names}
        try:
            yield
        except Exception:
            with contextlib.suppress(OSError, UserError, RunError):
                is_here = os.path.samestat(here, workdir.stat())  # it may have been moved and replaced by another
                if is_here and not _has_saved(workdir, steps, before.get(METRICS)):
                    _undo(workdir, names | events, before)
            raise


def _has_saved(workdir: Path, steps: set[int], metrics: BinaryIO | None) -> bool:
    """Returns whether there is a new checkpoint or a new line of metrics; a start by itself only cuts lines off."""
    path = workdir / METRICS
    now = path.read_bytes() if path.exists() else b""
    has_line = not (metrics.read() if metrics else b"").startswith(now)
    return has_line or not steps.issuperset(list_steps(workdir / CHECKPOINTS))


def _undo(workdir: Path, names: set[str], before: Mapping[str, BinaryIO]) -> None:
    for name in {*_FILES, *_FOLDERS, *_event_files(workdir)} - names:
        remove(workdir / name)
    for name, file in before.items():
        path = workdir / name
        if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            file.seek(0)
            write_bytes(path, file.read())


def _event_files(workdir: Path) -> set[str]:
    """Returns the names of the event files of the starts so far, relative to the folder of the run."""
    return {str(path.relative_to(workdir)) for path in events_path(workdir).glob("*/*")}

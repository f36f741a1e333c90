"""The cache: folders that are made once, appear whole, and may be deleted at any time."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path

_ABANDONED = 86_400  # seconds, longer than anything is being written


def cache_root(cache_dir: str) -> Path:
    """The folder that data.cache_dir names; where it is empty, fashion_jax in XDG_CACHE_HOME or ~/.cache."""
    default = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache"), "fashion_jax")
    return Path(os.path.abspath(os.path.expanduser(cache_dir or default)))


def make_once(folder: Path, write: Callable[[Path], None], is_complete: Callable[[Path], bool]) -> None:
    """Writes a folder where it is not there and complete: into a hidden neighbour, which is then renamed.

    Of several processes at once the first to end leaves the folder, the others use it.

    Args:
        folder: of the cache.
        write: writes what belongs into the folder that it is given, which it makes.
        is_complete: whether a folder holds all of it; caches get cleaned.

    Raises:
        OSError: the folder cannot be written.
    """
    if is_complete(folder):
        return
    _remove_abandoned(folder)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        write(temporary)
        _publish(temporary, folder, is_complete)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
    """What processes that were killed while they wrote the folder have left."""
    for temporary in folder.parent.glob(f".{glob.escape(folder.name)}.*"):
        with contextlib.suppress(OSError):
            if time.time() - temporary.stat().st_mtime > _ABANDONED:
                shutil.rmtree(temporary, ignore_errors=True)


def _publish(temporary: Path, folder: Path, is_complete: Callable[[Path], bool]) -> None:
    """Renames temporary to folder; a complete folder of another process stays, an incomplete one goes."""
    try:
        temporary.rename(folder)
        return
    except OSError:
        if is_complete(folder):
            return
        if not folder.exists():
            raise
    aside = temporary.with_name(f"{temporary.name}.old")
    folder.rename(aside)
    temporary.rename(folder)
    shutil.rmtree(aside, ignore_errors=True)

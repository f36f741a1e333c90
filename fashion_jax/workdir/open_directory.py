"""Holds a directory open, so that a run notices when it is moved, replaced or deleted."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from fashion_jax.errors import RunError, UserError


class OpenDirectory:
    """An open directory, and the path at which it was found."""

    def __init__(self, directory: Path):
        self.directory = directory
        self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)

    def __enter__(self) -> OpenDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """Returns a path to the open directory itself, for libraries that misread some names.

        orbax takes brackets for patterns and a leading /s3/ for a bucket. This path has no such characters, and it
        leads to the directory even after a move. Systems without /proc get the ordinary path.
        """
        held = Path(f"/proc/self/fd/{self._descriptor}")
        return held if held.exists() else self.directory.absolute()

    def check(self) -> None:
        """Checks that the directory is still where it was.

        Raises:
            RunError: it has been moved, replaced or deleted.
        """
        try:
            is_here = os.path.samestat(os.stat(self.directory), os.fstat(self._descriptor))
        except (FileNotFoundError, NotADirectoryError):
            is_here = False
        if not is_here:
            raise RunError(
                f"{self.directory} has been moved, deleted or replaced since this run began to write there: put it "
                "back, or name its new place by --workdir, and run the same command again to resume from the last "
                "checkpoint."
            )

    @contextlib.contextmanager
    def blamed(self) -> Iterator[None]:
        """Raises the error of `check` instead of errors of files that fail because the directory has gone."""
        try:
            yield
        except (OSError, UserError, RunError):
            self.check()
            raise

    def close(self) -> None:
        os.close(self._descriptor)

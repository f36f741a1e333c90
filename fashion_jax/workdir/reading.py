"""Explains in one sentence why a file of a run cannot be read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from fashion_jax.atomic import unreadable


@contextlib.contextmanager
def reading(path: Path, way_out: str = "restore it, or use another --workdir") -> Iterator[None]:
    """Turns the errors of a block that reads and parses a file of a run into a sentence that names the way out.

    Raises:
        UserError: the file is missing, or does not hold what it should.
    """
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise unreadable(path, error, way_out) from error

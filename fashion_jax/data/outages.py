"""Waits for a disk that is away for a moment, as one on a network may be, and says when it was away for longer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from fashion_jax.data.decoding.limits import Undecodable
from fashion_jax.errors import Outage

Result = TypeVar("Result")

_WAITS = (1.0, 5.0, 25.0)  # seconds before something is read again
_LASTING = (FileNotFoundError, PermissionError)  # errors for which waiting is vain


def may_pass(error: BaseException) -> bool:
    """Returns whether an error of reading, or what an Undecodable comes from, may be gone a moment later."""
    cause = error.__cause__ if isinstance(error, Undecodable) else error
    return isinstance(cause, OSError) and not isinstance(cause, _LASTING)


def tried_again(read: Callable[[], Result]) -> Result:
    """Returns what `read` returns; where it fails because of what may pass, waits and calls it again."""
    for wait in _WAITS:
        try:
            return read()
        except (OSError, Undecodable) as error:
            if not may_pass(error):
                raise
        time.sleep(wait)
    return read()


def outage(what: str, why: str) -> Outage:
    """Returns the error for what could not be read, however often it was tried, such as "The image 'a.jpg'"."""
    return Outage(
        f"{what} cannot be read, nor could it {sum(_WAITS):.0f} s later ({why}): run the same command again once its "
        "disk can be read."
    )

"""The reports of an item: its results so far, or the sentence that says why there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Report = Callable[[dict[str, Any]], None]  # takes results as they come; they stay if the item is stopped later


class Skip(Exception):
    """Says in a sentence why an item, or a part of it, cannot be done here."""


def in_words(error: BaseException) -> str:
    """Returns an error as one sentence: its type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300] if lines else 'no message'}"

"""Parses the patterns of data.image: texts in which {COLUMN} is a row's value, and {COLUMN[:3]} a part of it."""

from __future__ import annotations

import re
from typing import NamedTuple

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}*]+)\}|[{}]")  # a brace that stands for itself, a value, or a brace by mistake

_PART = re.compile(r"(.+)\[(?:(-?\d+)|(-?\d+)?:(-?\d+)?)\]", re.DOTALL)


class Value(NamedTuple):
    """A row's value in a column, or a part of it: the characters from start to before stop, as Python counts them."""

    column: str
    start: int | None = None
    stop: int | None = None

    def of(self, text: str) -> str:
        """Returns the part of a value."""
        return text[self.start : self.stop]


def parse_pattern(pattern: str) -> list[str | Value]:
    """Splits a pattern such as images/{id[:3]}/{id}.jpg into its texts and values.

    Values are {COLUMN}, {COLUMN[START:STOP]} and {COLUMN[INDEX]} alone: nothing of a pattern is executed. A doubled
    brace is a brace.

    Raises:
        ValueError: a brace has no partner.
    """
    pieces: list[str | Value] = []
    end = 0
    for token in _TOKEN.finditer(pattern):
        pieces.append(pattern[end : token.start()])
        end = token.end()
        if token[1]:
            pieces.append(_value(token[1]))
        elif token[0] in ("{{", "}}"):
            pieces.append(token[0][0])
        else:
            raise ValueError(f"{token[0]} has no partner")
    return [piece for piece in (*pieces, pattern[end:]) if piece]


def _value(text: str) -> Value:
    found = _PART.fullmatch(text)
    if found is None:
        return Value(text)
    column, index, start, stop = found.groups()
    if index is not None:
        return Value(column, int(index), int(index) + 1 or None)
    return Value(column, int(start) if start else None, int(stop) if stop else None)

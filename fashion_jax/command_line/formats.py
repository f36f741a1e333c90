"""Formats numbers and names as all commands and pages show them."""

from __future__ import annotations

import math

UNDEFINED = "–"  # stands for a value that cannot be computed, such as a score of a level without labels


def percent(value: float | None, digits: int = 2) -> str:
    """Formats a share in percent; only all are called 100 %."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    shown = min(round(100 * value, digits), 100 - 10**-digits) if value < 1 else 100 * value
    return f"{shown:.{digits}f}%"


def rate(per_second: float) -> str:
    """Formats a rate in whole numbers, or with two digits below ten."""
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.2g}"


def duration(seconds: float) -> str:
    """Formats a duration as 1:05 or 2:03:10."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def gibibytes(size: float) -> str:
    """Formats bytes as 1.5 GiB."""
    return f"{size / 2**30:.1f} GiB"


def about(seconds: float) -> str:
    """Formats a rough duration as 45 s, 12 min, 3 h 20 min or 2 days 5 h."""
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 9.5 else f"{max(seconds, 0.1):.1f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(round(minutes, -1), 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days {hours % 24} h"


def printable(text: str) -> str:
    """Escapes the control characters by which the name of a file or class could steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)

"""Numbers as all commands show them."""

import math

import pytest

from fashion_jax.command_line.formats import about, duration, percent, rate
from fashion_jax.report import rendering


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.1 s"), (45.2, "45 s"), (99.6, "2 min"), (3000, "50 min"), (12000, "3 h 20 min"), (200000, "2 days 7 h")],
)
def test_rough_durations(seconds, text):
    assert about(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (65, "1:05"), (7390, "2:03:10")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_rates():
    assert {rate(x) for x in (0.512, 9.96, 10.4, 1234.5)} == {"0.51", "10", "1,234"}


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.3767, 2, "37.67%"),
        (25_999 / 26_000, 2, "99.99%"),
        (25_999 / 26_000, 0, "99%"),
        (1.0, 2, "100.00%"),
        (0.0, 1, "0.0%"),
        (None, 2, "–"),
        (math.nan, 2, "–"),
    ],
)
def test_only_all_are_called_100_percent(value, digits, text):
    """On pages, too, with a narrow space."""
    assert percent(value, digits) == text
    assert rendering.percent(value, digits) == text.replace("%", "\u202f%")

"""Recognizes the usual names of splits, of folders and in columns alike."""

from __future__ import annotations

from collections.abc import Iterable

_USUAL = {
    **dict.fromkeys(["train", "training"], "train"),
    **dict.fromkeys(["validation", "valid", "val", "dev", "eval", "evaluation"], "validation"),
    **dict.fromkeys(["test", "testing"], "test"),
}  # name in lower case -> split


def usual_split(name: str) -> str:
    """Returns the split that a name stands for in upper or lower case: train, validation or test; "" if none."""
    return _USUAL.get(name.casefold(), "")


def by_usual_split(names: Iterable[str]) -> dict[str, list[str]]:
    """Returns split -> those of the names that stand for it, in their order."""
    found: dict[str, list[str]] = {}
    for name in names:
        if split := usual_split(name):
            found.setdefault(split, []).append(name)
    return found

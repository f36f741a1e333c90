"""Images that stand in two splits: found by what their files hold."""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from fashion_jax.data.decoding.decode import unreadable
from fashion_jax.data.splits import Assigned
from fashion_jax.errors import UserError

Leaks = dict[tuple[str, str], list[tuple[int, int]]]  # two splits -> pairs of equal images, one of each


def find_leaks(files: Sequence[str], digests: np.ndarray, assigned: Assigned) -> Leaks:
    """Images of a split that another split holds too.

    Args:
        files: of all images.
        digests: uint64 [images], of the files' contents.
        assigned: split -> its images (int [n]).

    Returns:
        For each pair of splits that share images, with training first: each shared image of the former, and the first
        of the latter that is the same byte by byte.
    """
    leaks: Leaks = {}
    for first, second in combinations(sorted(assigned, key=lambda name: name != "train"), 2):
        seconds = assigned[second]
        ordered = seconds[np.argsort(digests[seconds], kind="stable")]
        places = np.searchsorted(digests[ordered], digests[assigned[first]]).clip(max=max(len(ordered) - 1, 0))
        same = digests[ordered[places]] == digests[assigned[first]] if len(ordered) else np.zeros(0, bool)
        pairs = zip(assigned[first][same].tolist(), ordered[places[same]].tolist(), strict=True) if same.any() else ()
        if equal := [(i, j) for i, j in pairs if _are_equal(files[i], files[j])]:
            leaks[first, second] = equal
    return leaks


def _are_equal(file: str, other: str) -> bool:
    try:
        return filecmp.cmp(file, other, shallow=False)
    except OSError as error:  # good files are known by their size and time of change, which readability is none of
        raise UserError(
            f"The image {error.filename!r} cannot be used ({unreadable(error)}): make it readable, or take it out."
        ) from error


def without_leaks(assigned: Assigned, leaks: Leaks) -> tuple[Assigned, np.ndarray]:
    """The splits without the images of training that another one holds too; and those images."""
    dropped = np.unique([i for splits, pairs in leaks.items() if splits[0] == "train" for i, _ in pairs]).astype(int)
    return assigned | {"train": assigned["train"][~np.isin(assigned["train"], dropped)]}, dropped


def leaks_by_ids(leaks: Leaks, ids: Sequence[str]) -> dict[str, list[list[str]]]:
    """Two splits in words -> pairs of ids of equal images."""
    return {" and ".join(splits): [[ids[i], ids[j]] for i, j in pairs] for splits, pairs in leaks.items()}


def leak_warning(leaks: dict[str, list[list[str]]], dropped: bool) -> str:
    """One line that says what find_leaks has found, by the images' ids; "" where that is nothing."""
    parts = [f"{len(pairs):,} of {splits} (such as {' = '.join(pairs[0])})" for splits, pairs in leaks.items()]
    if not parts:
        return ""
    way_out = "those of training are left out" if dropped else "set data.drop_leaks to leave out those of training"
    return f"Warning: the same image stands in two splits: {', '.join(parts)}; {way_out}."

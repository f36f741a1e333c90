"""Finds images that are in two splits, by the contents of their files."""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from fashion_jax.data.decoding.decode import in_parallel, why_unreadable
from fashion_jax.data.splits import Assigned
from fashion_jax.errors import UserError

Leaks = dict[tuple[str, str], list[tuple[int, int]]]  # two splits -> pairs of equal images, one of each


def find_leaks(files: Sequence[str], digests: np.ndarray, assigned: Assigned) -> Leaks:
    """Finds the images that two splits share.

    Args:
        files: paths of all images.
        digests: uint64 [images], digests of the files' contents.
        assigned: split -> its images (int [n]).

    Returns:
        For each pair of splits with shared images, training first: pairs of a shared image of the first split and the
        first image of the second split whose file is equal byte by byte. Of several images with one digest, one is
        compared for all.
    """
    leaks: Leaks = {}
    for first, second in combinations(sorted(assigned, key=lambda name: name != "train"), 2):
        seconds = assigned[second]
        ordered = seconds[np.argsort(digests[seconds], kind="stable")]
        places = np.searchsorted(digests[ordered], digests[assigned[first]]).clip(max=max(len(ordered) - 1, 0))
        same = digests[ordered[places]] == digests[assigned[first]] if len(ordered) else np.zeros(len(places), bool)
        shared, others = assigned[first][same], ordered[places[same]]
        equal = _are_equal(files, digests, shared, others)
        if equal.any():
            leaks[first, second] = list(zip(shared[equal].tolist(), others[equal].tolist(), strict=True))
    return leaks


def _are_equal(files: Sequence[str], digests: np.ndarray, images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns bool [n]: whether the files of images (int [n]) and of others (int [n]) with the same digests are equal.

    It reads one pair of files for each digest, several pairs at a time.
    """
    _, samples, of = np.unique(digests[images], return_index=True, return_inverse=True)
    pairs = zip(images[samples].tolist(), others[samples].tolist(), strict=True)
    results = in_parallel(lambda pair: _is_same(files[pair[0]], files[pair[1]]), list(pairs))
    return np.array(results, bool)[of]


def _is_same(file: str, other: str) -> bool:
    try:
        return filecmp.cmp(file, other, shallow=False)
    except OSError as error:  # a file that was good earlier may be unreadable now, at the same size and time
        raise UserError(
            f"The image {error.filename!r} cannot be used ({why_unreadable(error)}): make it readable, or take it out."
        ) from error


def without_leaks(assigned: Assigned, leaks: Leaks) -> tuple[Assigned, np.ndarray]:
    """Removes from training the images that another split has too; returns the splits and the removed images."""
    dropped = np.unique([i for splits, pairs in leaks.items() if splits[0] == "train" for i, _ in pairs]).astype(int)
    return assigned | {"train": assigned["train"][~np.isin(assigned["train"], dropped)]}, dropped


def leaks_by_ids(leaks: Leaks, ids: Sequence[str]) -> dict[str, list[list[str]]]:
    """Returns the leaks as names of two splits -> pairs of ids of equal images."""
    return {" and ".join(splits): [[ids[i], ids[j]] for i, j in pairs] for splits, pairs in leaks.items()}


def leak_warning(leaks: dict[str, list[list[str]]], dropped: bool) -> str:
    """Returns one line on what find_leaks has found, with an example by ids; "" if there are no leaks."""
    parts = [f"{len(pairs):,} of {splits} (such as {' = '.join(pairs[0])})" for splits, pairs in leaks.items()]
    if not parts:
        return ""
    count = sum(map(len, leaks.values()))
    of_training = sum(len(pairs) for splits, pairs in leaks.items() if splits.startswith("train and "))
    text = f"Warning: the same {'image is' if count == 1 else 'images are'} in two splits: {', '.join(parts)}"
    if not of_training:
        return f"{text}."
    them = "it" if count == 1 else "them" if of_training == count else "those of train"
    if dropped:
        return f"{text}; data.drop_leaks has left {them} out of training."
    return f"{text}; set data.drop_leaks to True to leave {them} out of training."

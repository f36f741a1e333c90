"""Decodes every level's probabilities over the tree into decisions that agree, by likelihood or by least risk."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping

import numpy as np

from fashion_jax.scoring.blocks import row_blocks
from fashion_jax.taxonomy import UNKNOWN, Taxonomy

DECODES = ("independent", "marginal", "conditional", "joint")

# The chain rule keeps calibrated heads calibrated, and leaves coarse classes to their own head. Joint counts evidence
# that the heads share twice, and marginal ignores the coarse heads.
DEFAULT_DECODE = "conditional"

_FLOOR = -1e4  # a log-probability that rounds to zero in any float


def decode(log_probs: Mapping[str, np.ndarray], taxonomy: Taxonomy, how: str) -> dict[str, np.ndarray]:
    """Returns level -> float64 log-probabilities [images, classes] that agree over the tree.

    A class without children is a leaf itself. The head of the level below says nothing about it, so it keeps the
    probability it has above, and the classes of that head share the rest.

    Args:
        log_probs: level -> [images, classes], from each level's own head.
        taxonomy: the classes.
        how: independent (each as it is), marginal (the finest level; a parent is the sum of its children),
            conditional (P(class | parent) of each level's head, times P(parent), from the top down), or joint (the
            product of all heads over the tree's paths, renormalized).
    """
    if how not in DECODES:
        raise ValueError(f"how is {how!r}, but must be one of {', '.join(DECODES)}")
    if how == "independent":
        return {level: np.asarray(log_probs[level], np.float64) for level in taxonomy.levels}
    scores, parents = _complete(log_probs, taxonomy)
    leaves = scores[-1]
    if how == "conditional":
        leaves = scores[0]
        for here, above in zip(scores[1:], parents[1:], strict=True):
            leaves = here + (leaves - _sums(here, above))[:, above]
    elif how == "joint":
        leaves = scores[0]
        for here, above in zip(scores[1:], parents[1:], strict=True):
            leaves = here + leaves[:, above]
        leaves = leaves - np.logaddexp.reduce(leaves, axis=1, keepdims=True)
    decoded = {}
    for level, above in zip(reversed(taxonomy.levels), reversed(parents), strict=True):
        decoded[level] = leaves[:, : taxonomy.num_classes(level)]
        leaves = _sums(leaves, above) if len(above) else leaves
    return {level: decoded[level] for level in taxonomy.levels}


def _complete(log_probs: Mapping[str, np.ndarray], taxonomy: Taxonomy) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Pads the tree so that every path has every level.

    A class without children gets itself as its child, after the classes of the level below. Returns, per level,
    log-probabilities [images, nodes] and parents [nodes].
    """
    scores = [finite(log_probs[taxonomy.levels[0]])]
    parents = [np.zeros(0, int)]
    for level in taxonomy.levels[1:]:
        above, own = scores[-1], np.asarray(taxonomy.parents[level], int)
        here = finite(log_probs[level])
        childless = np.setdiff1d(np.arange(above.shape[1]), own)
        if len(childless):
            rest = np.logaddexp.reduce(np.delete(above, childless, axis=1), axis=1, keepdims=True)
            here = np.concatenate([here + rest, above[:, childless]], axis=1)
        scores.append(here)
        parents.append(np.concatenate([own, childless]))
    return scores, parents


def finite(log_probs: np.ndarray) -> np.ndarray:
    """Converts log-probabilities to float64 and raises -inf to a finite floor, so that they can be subtracted."""
    return np.maximum(np.asarray(log_probs, np.float64), _FLOOR)


def _sums(log_probs: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """Returns the log of the sum over each parent's children, [images, parents]; every parent must have a child."""
    order = np.argsort(parents, kind="stable")
    starts = np.searchsorted(parents[order], np.arange(parents.max() + 1))
    return np.logaddexp.reduceat(log_probs[:, order], starts, axis=1)


def leaf_paths(taxonomy: Taxonomy) -> np.ndarray:
    """Returns int [leaves, levels]: the class at each level of every path of the tree, UNKNOWN (-1) below its leaf.

    The finest level's classes come first, in their order, then the childless classes of coarser levels. The array is
    shared, and cannot be written to.
    """
    counts = tuple(taxonomy.num_classes(level) for level in taxonomy.levels)
    return _leaf_paths(counts, tuple(taxonomy.parents[level] for level in taxonomy.levels))


@functools.lru_cache(maxsize=8)  # it is asked for several times for each batch of images
def _leaf_paths(counts: tuple[int, ...], parents: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """Returns `leaf_paths` of a tree, given the number of classes and their parents of each level."""
    paths = []
    for depth in reversed(range(len(counts))):
        below = parents[depth + 1] if depth + 1 < len(counts) else ()
        ids = np.setdiff1d(np.arange(counts[depth]), below)
        path = np.full((len(ids), len(counts)), UNKNOWN)
        for i in reversed(range(depth + 1)):
            path[:, i] = ids
            ids = np.asarray(parents[i], int)[ids] if i else ids
        paths.append(path)
    found = np.concatenate(paths)
    found.flags.writeable = False
    return found


def leaf_log_probs(decoded: Mapping[str, np.ndarray], taxonomy: Taxonomy) -> np.ndarray:
    """Returns the log-probabilities [images, leaves], in the order of `leaf_paths`, from the result of `decode`."""
    paths = leaf_paths(taxonomy)
    depths = (paths != UNKNOWN).sum(1) - 1
    columns = [decoded[level][:, paths[depths == i, i]] for i, level in enumerate(taxonomy.levels)]
    return np.concatenate(columns[::-1], axis=1)


def leaf_classes(leaves: np.ndarray, taxonomy: Taxonomy) -> dict[str, np.ndarray]:
    """Returns level -> int [images]: the classes on the paths of leaves, given as rows of `leaf_paths`."""
    return dict(zip(taxonomy.levels, leaf_paths(taxonomy)[leaves].T, strict=True))


def likeliest_leaves(
    decoded: Mapping[str, np.ndarray], sure: Mapping[str, np.ndarray], taxonomy: Taxonomy
) -> np.ndarray:
    """Returns int [images]: the likeliest row of `leaf_paths` below the classes that are sure, from `decode`'s result.

    Args:
        decoded: level -> log-probabilities [images, classes].
        sure: level -> int [images]; UNKNOWN (-1) where any class may be.
        taxonomy: the classes of both.
    """
    scores = leaf_log_probs(decoded, taxonomy)
    for level, path in zip(taxonomy.levels, leaf_paths(taxonomy).T, strict=True):
        known = sure[level][:, None]
        scores = np.where((known == UNKNOWN) | (known == path), scores, -np.inf)
    return scores.argmax(1)


def predicted_classes(decoded: Mapping[str, np.ndarray], taxonomy: Taxonomy, how: str) -> dict[str, np.ndarray]:
    """Returns level -> int [images]: each level's likeliest class if `how` is independent, else the likeliest path.

    So only independent can contradict itself. Below a class without children a path has UNKNOWN (-1).
    """
    if how == "independent":
        return {level: decoded[level].argmax(1) for level in taxonomy.levels}
    return leaf_classes(leaf_log_probs(decoded, taxonomy).argmax(1), taxonomy)


def contradictions(predicted: Mapping[str, np.ndarray], taxonomy: Taxonomy) -> np.ndarray:
    """Returns bool [images]: whether the class predicted at some level is no child of the one predicted above it."""
    said = down_to_leaves(predicted, taxonomy)
    wrong = np.zeros(len(said[taxonomy.levels[0]]), bool)
    for above, level in itertools.pairwise(taxonomy.levels):
        classes = said[level]
        parents = np.asarray(taxonomy.parents[level])[classes]
        wrong |= (classes != UNKNOWN) & (parents != said[above])
    return wrong


def down_to_leaves(predicted: Mapping[str, np.ndarray], taxonomy: Taxonomy) -> dict[str, np.ndarray]:
    """Returns level -> int [images]: predicted classes, UNKNOWN (-1) below a predicted class that has no children.

    A level's own head has to name some class there, but says nothing by it.
    """
    coarsest = taxonomy.levels[0]
    said = {coarsest: predicted[coarsest]}
    for above, level in itertools.pairwise(taxonomy.levels):
        has_children = np.isin(np.arange(taxonomy.num_classes(above)), taxonomy.parents[level])
        is_below = (said[above] != UNKNOWN) & has_children[said[above]]
        said[level] = np.where(is_below, predicted[level], UNKNOWN)
    return said


def contradiction_rate(predicted: Mapping[str, np.ndarray], taxonomy: Taxonomy) -> float:
    """Returns the share of images with `contradictions`; NaN without images."""
    wrong = contradictions(predicted, taxonomy)
    return float(wrong.mean()) if len(wrong) else math.nan


def tree_costs(taxonomy: Taxonomy) -> np.ndarray:
    """Returns the height of the lowest common ancestor of any two leaves, float64 [leaves, leaves].

    Leaves are those of `leaf_paths`. The height is 0 for the same leaf, 1 under the same parent, and the number of
    levels at the root (Bertinetto et al. 2020).
    """
    paths = leaf_paths(taxonomy)
    costs = np.empty((len(paths), len(paths)))
    for rows in row_blocks(len(paths), paths.size):
        costs[rows] = common_heights(paths[rows][:, None], paths[None])
    np.fill_diagonal(costs, 0)
    return costs


def common_heights(paths: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the height of the lowest common ancestor of pairs of different paths [..., levels] of `leaf_paths`."""
    shared = np.cumprod((paths == others) & (paths != UNKNOWN), axis=-1).sum(-1)
    return paths.shape[-1] - shared


def minimum_risk(leaf_probs: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Returns int [images]: the leaf of least expected cost, the first one in a tie (Bayes' decision rule).

    Args:
        leaf_probs: [images, leaves], probabilities.
        costs: [leaves, leaves], the cost of predicting a leaf (column) when another (row) is true.
    """
    return (leaf_probs @ costs).argmin(1)


def leaf_names(taxonomy: Taxonomy) -> list[str]:
    """Returns the names of the leaves as taxonomy.json has them, such as Apparel/Topwear, in `leaf_paths`'s order."""
    depths = (leaf_paths(taxonomy) != UNKNOWN).sum(1) - 1
    classes = [taxonomy.classes[level] for level in taxonomy.levels]
    return [classes[depth][path[depth]] for path, depth in zip(leaf_paths(taxonomy), depths, strict=True)]


def with_costs(taxonomy: Taxonomy, told: Mapping[tuple[str, str], float]) -> np.ndarray:
    """Returns `tree_costs` with the costs that are told, float64 [leaves, leaves].

    Args:
        taxonomy: the classes.
        told: (true, predicted) leaf, as `leaf_names` has them -> the cost of the mistake.
    """
    places = {name: i for i, name in enumerate(leaf_names(taxonomy))}
    costs = tree_costs(taxonomy)
    for (true, predicted), cost in told.items():
        costs[places[true], places[predicted]] = cost
    return costs

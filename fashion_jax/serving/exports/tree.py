"""Adds the decoding over the tree to a graph: conditional, as `scoring.tree_decoding.decode` does it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from fashion_jax.scoring.tree_decoding import leaf_paths
from fashion_jax.serving.exports.graph import PATH, Graph, probabilities_name
from fashion_jax.serving.exports.operations import (
    Concatenate,
    Flatten,
    Gather,
    Likeliest,
    Multiply,
    Scale,
    Shift,
    Softmax,
)
from fashion_jax.taxonomy import Taxonomy

_NEVER = -1e30  # a log-probability whose exponential is 0; finite, so that it can be multiplied and subtracted


def group_members(groups: Sequence[int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Lists the members of groups in a table, whose rows are filled up with any member.

    Args:
        groups: the group of each member.
        count: number of groups.

    Returns:
        int64 [count, members of the largest group], and what to add to a log-probability so that it does not count
        where a row is filled up: float32 of the same shape.
    """
    sizes = np.bincount(groups, minlength=count)
    width = sizes.max()
    members = np.zeros((count, width), np.int64)
    is_member = np.arange(width) < sizes[:, None]
    members[is_member] = np.argsort(groups, kind="stable")
    return members, np.where(is_member, 0, _NEVER).astype(np.float32)


def add_decoding(
    graph: Graph, log_probs: Mapping[str, str], temperatures: Mapping[str, float], taxonomy: Taxonomy
) -> None:
    """Adds the outputs of a network that are made of log-probabilities: the probabilities per level, and the path.

    P(class) is P(class | parent), the softmax of a level's scaled log-probabilities over the children of one parent,
    times P(parent). A class without children is a leaf itself.

    Args:
        graph: the layers before it.
        log_probs: level -> the name of its log-probabilities.
        temperatures: level -> what its log-probabilities are divided by; 1 where a level has none.
        taxonomy: the classes.
    """
    probabilities: dict[str, str] = {}
    for above, level in itertools.pairwise(["", *taxonomy.levels]):
        x, temperature = log_probs[level], temperatures.get(level, 1.0)
        if temperature != 1:
            factors = np.full(taxonomy.num_classes(level), 1 / temperature, np.float32)
            x = graph.add(f"decode/{level}/calibrated", Scale(factors), x)
        name = probabilities_name(level)
        if above:
            own = _add_sibling_softmax(graph, level, x, taxonomy.parents[level])
            parents = Gather(np.asarray(taxonomy.parents[level], np.int64))
            of_parents = graph.add(f"decode/{level}/of_parents", parents, probabilities[above])
            probabilities[level] = graph.add(name, Multiply(), own, of_parents)
        else:
            probabilities[level] = graph.add(name, Softmax(), x)
    _add_path(graph, probabilities, taxonomy)


def _add_sibling_softmax(graph: Graph, level: str, x: str, parents: Sequence[int]) -> str:
    """Adds a softmax over the children of each parent that has some."""
    groups = np.unique(parents, return_inverse=True)[1].tolist()
    members, mask = group_members(groups, max(groups) + 1)
    places = np.empty(len(groups), np.int64)
    places[members[mask == 0]] = np.flatnonzero(mask == 0)
    x = graph.add(f"decode/{level}/siblings", Gather(members), x)
    x = graph.add(f"decode/{level}/masked", Shift(mask), x)
    x = graph.add(f"decode/{level}/sibling_softmax", Softmax(), x)
    x = graph.add(f"decode/{level}/flattened", Flatten(), x)
    return graph.add(f"decode/{level}/given_parent", Gather(places), x)


def _add_path(graph: Graph, probabilities: Mapping[str, str], taxonomy: Taxonomy) -> None:
    """Adds the likeliest row of `leaf_paths`."""
    paths = leaf_paths(taxonomy)
    depths = (paths >= 0).sum(1) - 1
    leaves = []
    for depth, level in reversed([*enumerate(taxonomy.levels)]):
        classes = paths[depths == depth, depth]
        if len(classes):
            leaves.append(graph.add(f"decode/{level}/leaves", Gather(classes.astype(np.int64)), probabilities[level]))
    x = graph.add("decode/leaves", Concatenate(), *leaves) if len(leaves) > 1 else leaves[0]
    graph.add(PATH, Likeliest(paths.astype(np.int32)), x)

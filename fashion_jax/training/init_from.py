"""Starts from trunks that other runs, or other libraries, have trained: model.init_from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fashion_jax.config.combinations import trunk_names, trunk_paths
from fashion_jax.config.loading import load_run_config
from fashion_jax.models.pretrained.matching import left_out_words, read_leaf
from fashion_jax.models.pretrained.source import is_weights, naming, open_weights
from fashion_jax.step.train_state import TrainState
from fashion_jax.workdir.checkpoints.store import Say
from fashion_jax.workdir.paths import config_path
from fashion_jax.workdir.trained import restore_parts

Keys = tuple[str, ...]  # the keys to a leaf in a TrainState, or to a tree above it

ROOTS = {"params": ("params",), "batch_stats": ("model_state", "batch_stats")}  # where a TrainState has a collection


def with_trunks(
    state: TrainState, model_name: str, heads: Mapping[str, str], init_from: Mapping[str, str], say: Say
) -> TrainState:
    """Returns a new state with the trunks of model.init_from, and reports what each begins with.

    From a run's best checkpoint it takes parameters and statistics. From a file of weights it takes the two hidden
    layers of VGG's classifier too, if the file has them, for every head of the kind "classifier" on that trunk.

    Args:
        state: a new one.
        model_name: model.name.
        heads: level -> kind of its head.
        init_from: name of a trunk -> where its weights are, which `check_sources` has checked.
        say: reports.

    Raises:
        UserError: a source cannot be read, or the trunk there has different shapes or dtypes.
        RunError: none of a run's checkpoints can be used.
    """
    leaves = flatten_dict({"params": state.params, "model_state": state.model_state})
    for name, source in init_from.items():
        here = trunk_paths(model_name)[name]
        if is_weights(source):
            # A hybrid's features are those of two trunks, which the hidden layers of a VGG do not fit.
            levels = [level for level, head in heads.items() if head == "classifier" and name == model_name]
            leaves |= _of_weights(leaves, name, here, levels, source, say)
        else:
            leaves |= _of_run(leaves, name, here, source, say)
    tree = unflatten_dict(leaves)
    return state.replace(params=tree["params"], model_state=tree.get("model_state", {}))


def _of_run(leaves: Mapping[Keys, Any], name: str, here: Keys, workdir: str, say: Say) -> dict[Keys, Any]:
    """Returns the leaves of a trunk as a run's best checkpoint has them."""
    folder = Path(workdir).expanduser()
    source = load_run_config(config_path(folder))
    moves = {
        path: stored_at(there, is_averaged=source.average > 0)
        for path, there in _moves(leaves, here, trunk_paths(source.model.name)[name])
    }
    step, arrays = restore_parts(folder, "best", unflatten_dict({there: leaves[here] for here, there in moves.items()}))
    found = flatten_dict(arrays)
    say(f"{name} begins as it was in {workdir} after step {step}.")
    return {here: found[there] for here, there in moves.items()}


def others_than(workdir: str, model_name: str, init_from: Mapping[str, str]) -> list[str]:
    """Returns the trunks of a model that do not begin as in the run at workdir."""
    folder = os.path.realpath(os.path.expanduser(workdir))
    sources = {name: os.path.realpath(os.path.expanduser(source)) for name, source in init_from.items()}
    return [name for name in trunk_names(model_name) if sources.get(name) != folder]


def stored_at(path: Keys, *, is_averaged: bool) -> Keys:
    """Returns where a checkpoint has a leaf of a TrainState: among the averages, if the run has some."""
    return ("average", *path) if is_averaged else path


def _moves(leaves: Iterable[Keys], here: Keys, there: Keys) -> Iterator[tuple[Keys, Keys]]:
    """Yields the paths of a trunk's leaves in this model and in the other, where the trunk is at `here` and `there`."""
    for path in leaves:
        for root in ROOTS.values():
            trunk = (*root, *here)
            if path[: len(trunk)] == trunk:
                yield path, (*root, *there, *path[len(trunk) :])


def _of_weights(
    leaves: Mapping[Keys, Any], name: str, here: Keys, levels: list[str], source: str, say: Say
) -> dict[Keys, Any]:
    """Returns the leaves of a trunk as a file of weights has them, and the hidden layers of the levels' heads."""
    field = f"model.init_from.{name}"
    weights = open_weights(source, field, name)
    matched = weights.matched
    found = {}
    with naming(source, field):
        for leaf, tensor in matched.trunk:
            path = (*ROOTS[leaf.collection], *here, *leaf.path)
            found[path] = _placed(read_leaf(leaf, tensor), leaves[path])
        for leaf, tensor in matched.hidden if levels else []:
            values = read_leaf(leaf, tensor)
            for level in levels:
                path = (*ROOTS[leaf.collection], f"heads_{level}", *leaf.path)
                found[path] = _placed(values, leaves[path])
    unused = [leaf.name for leaf, _ in matched.hidden if not levels] + matched.left_out
    taken = f"{len(matched.trunk)} arrays of {source}" + (f" under {matched.prefix}" if matched.prefix else "")
    if levels and matched.hidden:
        taken += f", and the hidden layers of its classifier in {' and '.join(levels)}"
    unsaid = (
        ""
        if weights.says_normalization
        else (
            "the source does not say how its pixels were normalised, which is taken to be as ImageNet's, unless "
            f"model.normalization.{name} says otherwise"
        )
    )
    say("; ".join(filter(None, [f"{name} begins with {taken}", left_out_words(unused), unsaid])) + ".")
    return found


def _placed(values: np.ndarray, like: jax.Array) -> jax.Array:
    """Returns values as an array of the type and on the devices of another one."""
    values = values.astype(like.dtype)
    return jax.make_array_from_callback(values.shape, like.sharding, lambda index: values[index])

"""Starts from the heads that another run has trained, possibly for other classes: model.init_heads_from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fashion_jax.config.combinations import head_names
from fashion_jax.config.loading import load_run_config
from fashion_jax.errors import UserError
from fashion_jax.models.heads import LAST_LAYER
from fashion_jax.models.hybrid import GATE
from fashion_jax.step.train_state import TrainState
from fashion_jax.taxonomy import Taxonomy
from fashion_jax.training.init_from import ROOTS, Keys, stored_at
from fashion_jax.workdir.checkpoints.store import Say
from fashion_jax.workdir.files import read_taxonomy
from fashion_jax.workdir.paths import config_path
from fashion_jax.workdir.trained import restore_parts

_MAX_NAMES = 5  # of new classes that are listed


def with_heads(
    state: TrainState,
    taxonomy: Taxonomy,
    heads: Mapping[str, str],
    workdir: str,
    say: Say,
    *,
    with_gate: bool = False,
    untrained: Collection[str] = (),
) -> TrainState:
    """Returns a new state with the heads of a run's best checkpoint, and reports which classes they know.

    A head is kept if the run has one of the same kind on a level of the same name: its hidden layers whole, and of its
    last layer the weights of the classes that have the same path in both taxonomies. All else stays as in `state`.

    Args:
        state: a new one.
        taxonomy: the classes of this run.
        heads: level -> kind of its head.
        workdir: of the other run; "" keeps the state as it is.
        say: reports.
        with_gate: also takes the gate of a hybrid, which belongs to both trunks of that run.
        untrained: levels of loss weight 0, whose heads stay as they begin.

    Raises:
        UserError: the hidden layers there have other shapes, or the run's taxonomy.json is not that of its checkpoint,
            or a level in `untrained` has classes that the run does not know.
        RunError: none of the run's checkpoints can be used.
    """
    if not workdir:
        return state
    folder = Path(workdir).expanduser()
    source, known = load_run_config(config_path(folder)), read_taxonomy(folder)
    levels = [level for level, head in heads.items() if head_names(source).get(level) == head]
    _check_known(known, taxonomy, untrained, workdir)
    leaves = flatten_dict({"params": state.params, "model_state": state.model_state})
    paths = [path for level in levels for path in _below(leaves, f"heads_{level}")]
    paths += _below(leaves, *GATE) if with_gate else []
    like = {path: _abstract(leaves[path], path, known) for path in paths}
    there = {path: stored_at(path, is_averaged=source.average > 0) for path in paths}
    parts = unflatten_dict({there[path]: x for path, x in like.items()})
    step, arrays = restore_parts(folder, "best", parts, known)
    found = flatten_dict(arrays)
    for path in paths:
        new, old = leaves[path], found[there[path]]
        is_last = LAST_LAYER in path
        leaves[path] = _kept(new, old, known.common_classes(taxonomy, _level(path))) if is_last else old
    say(f"The heads begin as in {workdir} after step {step}: {'; '.join(_told(levels, heads, known, taxonomy))}.")
    tree = unflatten_dict(leaves)
    return state.replace(params=tree["params"], model_state=tree.get("model_state", {}))


def _check_known(known: Taxonomy, taxonomy: Taxonomy, untrained: Collection[str], workdir: str) -> None:
    """Raises a UserError if a head that is not trained would get classes that the run at workdir does not know."""
    for level in untrained:
        _, kept = known.common_classes(taxonomy, level)
        if new := [name for i, name in enumerate(taxonomy.classes[level]) if i not in kept]:
            raise UserError(
                f"loss_weights.{level} is 0, so that its head would stay as it begins, but model.init_heads_from, "
                f"{workdir!r}, does not know the class {new[0]!r} of {level}: give it a weight above 0."
            )


def _below(leaves: Mapping[Keys, Any], *names: str) -> list[Keys]:
    roots = [(*root, *names) for root in ROOTS.values()]
    return [path for path in leaves if any(path[: len(root)] == root for root in roots)]


def _level(path: Keys) -> str:
    return next(name.removeprefix("heads_") for name in path if name.startswith("heads_"))


def _abstract(leaf: jax.Array, path: Keys, known: Taxonomy) -> jax.ShapeDtypeStruct:
    """Returns the shape of a leaf in the other run, whose last layers have its own number of classes."""
    shape = (*leaf.shape[:-1], known.num_classes(_level(path))) if LAST_LAYER in path else leaf.shape
    return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=leaf.sharding)


def _kept(new: jax.Array, old: jax.Array, rows: tuple[list[int], list[int]]) -> jax.Array:
    """Returns the last layer's kernel [inputs, classes] or bias [classes], with the known classes' values."""
    values = np.array(new)
    values[..., rows[1]] = np.asarray(old)[..., rows[0]]
    return jax.make_array_from_callback(values.shape, new.sharding, lambda index: values[index])


def _told(levels: list[str], heads: Mapping[str, str], known: Taxonomy, taxonomy: Taxonomy) -> Iterator[str]:
    for level in heads:
        names = taxonomy.classes[level]
        if level not in levels:
            yield f"{level} is new"
            continue
        _, kept = known.common_classes(taxonomy, level)
        new = [name for i, name in enumerate(names) if i not in kept]
        more = f" and {len(new) - _MAX_NAMES} more" if len(new) > _MAX_NAMES else ""
        others = f" (new: {', '.join(new[:_MAX_NAMES])}{more})" if new else ""
        yield f"{level} keeps {len(names) - len(new)} of {len(names)} classes{others}"

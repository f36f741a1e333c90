"""Starts from trunks that other runs have trained: model.init_from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from flax.traverse_util import flatten_dict, unflatten_dict

from fashion_jax.config.combinations import trunk_paths
from fashion_jax.config.loading import load_run_config
from fashion_jax.errors import UserError
from fashion_jax.step.train_state import TrainState
from fashion_jax.workdir.checkpoints.store import Say
from fashion_jax.workdir.files import check_has_checkpoint
from fashion_jax.workdir.paths import config_path
from fashion_jax.workdir.trained import restore_parts

Leaf = tuple[str, ...]  # the path of a leaf, or of a tree above it

_ROOTS = (("params",), ("model_state", "batch_stats"))  # where a TrainState holds the trunks' arrays


def check_sources(init_from: Mapping[str, str]) -> None:
    """Checks quickly that the runs of model.init_from exist, have saved a checkpoint, and have the trunk.

    Args:
        init_from: name of a trunk -> work directory of the run that has trained it.

    Raises:
        UserError: names the first run that does not, and the config field.
    """
    for name, workdir in init_from.items():
        field = f"model.init_from.{name} is {workdir!r}"
        try:
            source = load_run_config(config_path(_folder(workdir)))
            check_has_checkpoint(_folder(workdir))
        except UserError as error:
            raise UserError(
                f"{field}, which cannot be used ({str(error).rstrip('.')}): name the --workdir of a training."
            ) from error
        if name not in trunk_paths(source.model.name):
            raise UserError(f"{field}, but the model there is {source.model.name}: name a run of {name}.")


def with_trunks(state: TrainState, model_name: str, init_from: Mapping[str, str], say: Say) -> TrainState:
    """Returns a new state with the trunks of model.init_from, each taken from its run's best checkpoint.

    It takes parameters and statistics, and reports their steps and the damaged ones that were skipped.

    Raises:
        UserError: as in `check_sources`, or if the trunk there has different shapes or dtypes.
        RunError: none of a run's checkpoints can be used.
    """
    leaves = flatten_dict({"params": state.params, "model_state": state.model_state})
    for name, workdir in init_from.items():
        source = load_run_config(config_path(_folder(workdir)))
        moves = dict(_moves(leaves, trunk_paths(model_name)[name], trunk_paths(source.model.name)[name]))
        like = unflatten_dict({there: leaves[here] for here, there in moves.items()})
        step, arrays = restore_parts(_folder(workdir), "best", like)
        found = flatten_dict(arrays)
        say(f"{name} begins as it was in {workdir} after step {step}.")
        leaves |= {here: found[there] for here, there in moves.items()}
    tree = unflatten_dict(leaves)
    return state.replace(params=tree["params"], model_state=tree.get("model_state", {}))


def _moves(leaves: Iterable[Leaf], here: Leaf, there: Leaf) -> Iterator[tuple[Leaf, Leaf]]:
    """Yields the paths of a trunk's leaves in this model and in the other, where the trunk is at `here` and `there`."""
    for path in leaves:
        for root in _ROOTS:
            trunk = (*root, *here)
            if path[: len(trunk)] == trunk:
                yield path, (*root, *there, *path[len(trunk) :])


def _folder(workdir: str) -> Path:
    return Path(workdir).expanduser()

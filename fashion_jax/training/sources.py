"""Checks the sources of model.init_from, and records how the pixels of their trunks are normalised. Imports no jax."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from fashion_jax.atomic import read_text
from fashion_jax.config.combinations import head_names, normalization, trunk_names
from fashion_jax.config.loading import load_run_config, read_config
from fashion_jax.errors import UserError
from fashion_jax.models.pretrained.source import SOURCES, is_weights, open_weights
from fashion_jax.workdir.files import has_checkpoint
from fashion_jax.workdir.paths import config_path


def checked_normalizations(init_from: Mapping[str, str], given: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Returns the normalisation of every trunk of model.init_from, once its source is checked.

    Weights are opened and their names and shapes compared, but not read. A run that has saved a checkpoint needs its
    sources no more, which may be gone: the normalisation is that of its config.json.

    Args:
        init_from: name of a trunk -> where its weights are.
        given: model.normalization, which comes before what the sources say.
        workdir: of the run.

    Returns:
        Name of a trunk -> mean and std, also of the trunks that are only in `given`.

    Raises:
        UserError: names the first source that cannot be used, and the config field.
    """
    found = _recorded(workdir) if has_checkpoint(workdir) else check_sources(init_from)
    tables = {name: table for name, table in found.items() if name in init_from} | {**given}
    return {
        name: {part: [float(x) for x in values] for part, values in table.items()} for name, table in tables.items()
    }


def check_sources(init_from: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Checks the sources of model.init_from: the names and shapes of weights, the trunk and the checkpoint of a run.

    Args:
        init_from: name of a trunk -> where its weights are.

    Returns:
        Name of a trunk -> mean and std of the pixels that its weights were trained with.

    Raises:
        UserError: names the first source that cannot be used, and the config field.
    """
    return {name: _check(name, source, f"model.init_from.{name}") for name, source in init_from.items()}


def check_heads(heads: Mapping[str, str], model_name: str, source: str, workdir: Path) -> None:
    """Checks the run of model.init_heads_from: a checkpoint, the same model, a head of the same kind on some level.

    Args:
        heads: level -> kind of its head, of the new run.
        model_name: the field model.name of the new run.
        source: the workdir of the run whose heads are taken; "" for none.
        workdir: of the new run, which needs the source no more once it has saved a checkpoint.

    Raises:
        UserError: the run cannot be used.
    """
    if not source or has_checkpoint(workdir):
        return
    config = _run_config(source, "model.init_heads_from", "name the --workdir of a training.")
    if config.model.name != model_name:
        raise UserError(
            f"model.init_heads_from is {source!r}, whose heads read the features of {config.model.name}, but "
            f"model.name is {model_name!r}: name a run of {model_name}, or leave it out."
        )
    if config.model.condition_on_parent:
        raise UserError(
            f"model.init_heads_from is {source!r}, whose heads were trained with model.condition_on_parent and answer "
            "only with the conditions on their parents, which are not taken over: name another run, or leave it out."
        )
    theirs = head_names(config)
    if not theirs.items() & heads.items():
        own, other = (", ".join(f"{level} ({head})" for level, head in x.items()) for x in (heads, theirs))
        raise UserError(
            f"model.init_heads_from is {source!r}, whose heads are {other}, but this run's are {own}: name a run with "
            "a head of the same kind on a level of the same name."
        )


def _run_config(source: str, field: str, way_out: str) -> ConfigDict:
    folder = Path(source).expanduser()
    if not folder.exists():
        raise UserError(f"{field} is {source!r}, which does not exist: {way_out}")
    if not has_checkpoint(folder):
        raise UserError(f"{field} is {source!r}, which holds no checkpoint of a run: {way_out}")
    try:
        return load_run_config(config_path(folder))
    except UserError as error:
        raise UserError(f"{field} is {source!r}, a run that cannot be used: {error}") from error


def _check(name: str, source: str, field: str) -> dict[str, Any]:
    if is_weights(source):
        return open_weights(source, field, name).normalization._asdict()
    config = _run_config(source, field, f"name the --workdir of a training, {SOURCES}.")
    if name not in trunk_names(config.model.name):
        raise UserError(f"{field} is {source!r}, but the model there is {config.model.name}: name a run of {name}.")
    return normalization(config.model.normalization, name)


def _recorded(workdir: Path) -> dict[str, Any]:
    """Returns the normalisation in a run's config.json; nothing if it cannot be read, which is reported later."""
    try:
        return read_config(read_text(config_path(workdir)), str(workdir)).model.normalization
    except (OSError, UnicodeDecodeError, UserError):
        return {}

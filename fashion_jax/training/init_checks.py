"""Checks the sources of a new run's weights, and finds how pixels are normalised for them. Imports no jax."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from fashion_jax.atomic import read_text
from fashion_jax.config.combinations import head_names, loss_weights, normalization, trunk_names
from fashion_jax.config.loading import load_run_config, read_config
from fashion_jax.errors import UserError
from fashion_jax.models.pretrained.source import SOURCES, is_weights, open_weights
from fashion_jax.workdir.files import has_checkpoint
from fashion_jax.workdir.paths import config_path


def check_initial_weights(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Checks the sources of model.init_from and model.init_heads_from; returns how the pixels are normalised.

    Args:
        config: a checked config.
        workdir: of the run.

    Returns:
        See `checked_normalizations`.

    Raises:
        UserError: a source cannot be used; names it and its field.
    """
    model = config.model
    features = Features(model.name, model.fusion, config.dtype)
    check_heads(head_names(config), loss_weights(config), features, model.init_heads_from, workdir)
    return checked_normalizations(model.init_from, model.normalization, config.dtype, workdir)


def checked_normalizations(
    init_from: Mapping[str, str], given: Mapping[str, Any], dtype: str, workdir: Path
) -> dict[str, Any]:
    """Returns the normalisation of every trunk of model.init_from, once its source is checked.

    Weights are opened and their names and shapes compared, but not read. A run that has saved a checkpoint needs its
    sources no more, which may be gone: the normalisation is that of its config.json.

    Args:
        init_from: name of a trunk -> where its weights are.
        given: model.normalization, which comes before what the sources say.
        dtype: the field, of the run.
        workdir: of the run.

    Returns:
        Name of a trunk -> mean and std, also of the trunks that are only in `given`.

    Raises:
        UserError: names the first source that cannot be used, and the config field.
    """
    found = _recorded(workdir) if has_checkpoint(workdir) else check_sources(init_from, dtype)
    tables = {name: table for name, table in found.items() if name in init_from} | {**given}
    return {
        name: {part: [float(x) for x in values] for part, values in table.items()} for name, table in tables.items()
    }


def check_sources(init_from: Mapping[str, str], dtype: str) -> dict[str, dict[str, Any]]:
    """Checks the sources of model.init_from: the names and shapes of weights, the trunk and the checkpoint of a run.

    Args:
        init_from: name of a trunk -> where its weights are.
        dtype: the field, of the run that begins with them.

    Returns:
        Name of a trunk -> mean and std of the pixels that its weights were trained with.

    Raises:
        UserError: names the first source that cannot be used, and the config field.
    """
    return {name: _check(name, source, f"model.init_from.{name}", dtype) for name, source in init_from.items()}


class Features(NamedTuple):
    """What the heads of a run read: the fields model.name, model.fusion and dtype."""

    model: str
    fusion: str
    dtype: str


def check_heads(
    heads: Mapping[str, str], weights: Mapping[str, float], features: Features, source: str, workdir: Path
) -> None:
    """Checks the run of model.init_heads_from: a checkpoint, the same features, a head of the same kind on some level.

    Args:
        heads: level -> kind of its head, of the new run.
        weights: level -> weight of its loss, of the same levels.
        features: of the new run.
        source: the workdir of the run whose heads are taken; "" for none.
        workdir: of the new run, which needs the source no more once it has saved a checkpoint.

    Raises:
        UserError: the run cannot be used.
    """
    if not source or has_checkpoint(workdir):
        return
    config = _run_config(source, "model.init_heads_from", "name the --workdir of a training.")
    _check_features(features, Features(config.model.name, config.model.fusion, config.dtype), source)
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
    for level, head in heads.items():
        if not weights[level] and theirs.get(level) != head:
            raise UserError(
                f"loss_weights.{level} is 0, so that its head would stay as it begins, but model.init_heads_from, "
                f"{source!r}, has no head of the kind {head} on {level}: give it a weight above 0, or name a run with "
                "such a head."
            )


def _check_features(features: Features, theirs: Features, source: str) -> None:
    """Raises a UserError if the heads of the run of model.init_heads_from, `source`, read other features."""
    if theirs.model != features.model:
        raise UserError(
            f"model.init_heads_from is {source!r}, whose heads read the features of {theirs.model}, but "
            f"model.name is {features.model!r}: name a run of {features.model}, or leave it out."
        )
    if theirs.fusion != features.fusion:
        raise UserError(
            f"model.init_heads_from is {source!r}, whose heads read features with model.fusion {theirs.fusion!r}, but "
            f"model.fusion is {features.fusion!r}: set it to {theirs.fusion}, or name another run."
        )
    _check_dtype(features.dtype, theirs.dtype, source, "model.init_heads_from")


def _check_dtype(dtype: str, there: str, source: str, field: str) -> None:
    """Checks that the parameters of a run, which was trained with the dtype `there`, fit those of another one."""
    if (there == "float64") != (dtype == "float64"):  # bfloat16 has parameters of float32
        raise UserError(
            f"{field} is {source!r}, which was trained with dtype {there}, but dtype is {dtype}: set it to {there}, or "
            "name another run."
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


def _check(name: str, source: str, field: str, dtype: str) -> dict[str, Any]:
    if is_weights(source):
        return open_weights(source, field, name).normalization._asdict()
    config = _run_config(source, field, f"name the --workdir of a training, {SOURCES}.")
    if name not in trunk_names(config.model.name):
        raise UserError(f"{field} is {source!r}, but the model there is {config.model.name}: name a run of {name}.")
    _check_dtype(dtype, config.dtype, source, field)
    return normalization(config.model.normalization, name)


def _recorded(workdir: Path) -> dict[str, Any]:
    """Returns the normalisation in a run's config.json; nothing if it cannot be read, which is reported later."""
    try:
        return read_config(read_text(config_path(workdir)), str(workdir)).model.normalization
    except (OSError, UnicodeDecodeError, UserError):
        return {}

"""Loads a config file, overrides its fields, and checks all of them. Imports neither jax nor TensorFlow."""

from __future__ import annotations

import copy
import difflib
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from fashion_jax.atomic import read_text
from fashion_jax.config.combinations import check_combinations
from fashion_jax.config.data_source import source_at
from fashion_jax.config.fields import ADDED, CHECKS, are_fractions, literal, shape_of, split_column
from fashion_jax.config.files import find_config, run_config_file
from fashion_jax.config.suggestions import meant_field, suggestion
from fashion_jax.errors import UserError
from fashion_jax.json_text import parse_json

_OF_FILES = ("csv", "folder", "tfds")  # the sources that read files

# Field -> the sources that read it, the usual one first. A set of TFDS may be one that was prepared, which is trained
# on with the config by which it was prepared.
_READ_BY = {
    "data.path": _OF_FILES,
    "data.csv": ("csv", "tfds"),
    "data.image": ("csv", "tfds"),
    "data.tfds": ("tfds",),
    "data.group_column": ("csv", "tfds"),
    "data.catalogue.num_images": ("catalogue", "tfds"),
    "data.catalogue.seed": ("catalogue", "tfds"),
    "data.catalogue.label_noise": ("catalogue", "tfds"),
}

OF_PIXELS = ("data.resize", "data.canvas_size")
_OF_READING = ("data.cache", "data.cache_dir", "data.max_bad_fraction")  # how images are read, not which


def names_other_images(overrides: Iterable[tuple[str, str]]) -> bool:
    """Returns whether a field may make other images of a split than those that a run had."""
    return any(field.startswith("data.") and field not in (*OF_PIXELS, *_OF_READING) for field, _ in overrides)


def load_config(path: str, overrides: Iterable[tuple[str, str]] = ()) -> ConfigDict:
    """Runs get_config() of a Python file, or reads a run's config.json, overrides fields, and checks the result.

    Args:
        path: the config file, or the name of one of the project's own, such as mtl. Python is executed.
        overrides: pairs of a field (`learning_rate`, `data.splits.train`) and its value as text.

    Raises:
        UserError: the file is missing or fails, or a field is unknown or has a wrong value.
    """
    return _loaded(path, overrides, is_text=True)


def get_config(name: str | os.PathLike[str] = "default", /, **fields: Any) -> ConfigDict:
    """Returns one of the project's own configs, such as "mtl", with some fields changed and all of them checked.

    Args:
        name: of the config, or the path of a config file, which is executed, or of a run's config.json.
        fields: field -> its value, of the type that the field has: a number, not its text.

    Raises:
        UserError: there is no such config or field, or a value is wrong.

    Example:
        >>> import fashion_jax as fj
        >>> config = fj.get_config("mtl", num_epochs=3, **{"data.path": "photos"})
        >>> config.num_epochs, config.data.path, config.data.source, config.model.name
        (3, 'photos', 'folder', 'resnet34')
    """
    plain = {field: os.fspath(x) if isinstance(x, os.PathLike) else x for field, x in fields.items()}
    return _loaded(os.fspath(name), plain.items(), is_text=False)


def load_run_config(path: Path, overrides: Iterable[tuple[str, str]] = ()) -> ConfigDict:
    """Loads the config of a run from its config.json, with overrides of its data and of how it predicts.

    The run may come from someone else, so the cache folder in its config.json is ignored: compiled programs are loaded
    from there and run, so that whoever names the folder decides what is computed.

    Raises:
        UserError: there is no run, or a field is unknown, cannot change after training, or has a wrong value.
    """
    try:
        config = read_config(read_text(path), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--workdir is {str(path.parent)!r}, which holds no run (its {path.name} cannot be read): "
            "name the --workdir of a training."
        ) from error
    config.data.cache_dir = ""
    for field, text in overrides:
        if not field.startswith(("data.", "rare_classes.post_hoc")) and field != "eval_flip":
            raise UserError(
                f"{field} cannot be changed in a trained run: set fields of data, eval_flip or rare_classes.post_hoc."
            )
        _set(config, field, text, is_text=True)
    check_config(config)
    _check_is_read(config.data.source, config.data.splits, overrides)
    return config


def load_export_config(path: Path, overrides: Iterable[tuple[str, str]] = ()) -> ConfigDict:
    """Loads the config of an export, which does not say where its data is, with overrides that do.

    The cache folder in its config.json is ignored, as in load_run_config.

    Args:
        path: the config.json of the export.
        overrides: pairs of a field of data and its value as text.

    Raises:
        UserError: no data is named, or a field is unknown, is part of the exported model, or has a wrong value.
    """
    config = _parsed_config(read_text(path), str(path))
    config.data.cache_dir = ""
    for field, text in overrides:
        if not field.startswith("data.") or field in OF_PIXELS:
            raise UserError(
                f"{field} cannot be changed in the export {str(path.parent)!r}: export the run again with "
                f"--config.{field}."
            )
        _set(config, field, text, is_text=True)
    if config.data.source != "catalogue" and not config.data.path and not config.data.tfds:
        raise UserError(
            f"The export {str(path.parent)!r} does not say where its data is: name it by --config.data.path=..., and "
            "whatever else it needs, such as --config.data.csv=..."
        )
    check_config(config)
    _check_is_read(config.data.source, config.data.splits, overrides)
    return config


def named_cache_dir(overrides: Iterable[tuple[str, str]]) -> str:
    """Returns the cache that overrides name for a run or an export, or ""; what its config.json names is ignored.

    Raises:
        UserError: data.cache_dir has a wrong value.
    """
    cache_dir = dict(overrides).get("data.cache_dir", "")
    _check_field("data.cache_dir", cache_dir)
    return cache_dir


def portable_config(config: ConfigDict, canvas: tuple[int, int]) -> ConfigDict:
    """Returns the config of a run for others: without paths, and with the size of the canvases that its model takes.

    Args:
        config: of the run.
        canvas: (height, width).
    """
    config = read_config(config_to_json(config), "The config of the run")  # a copy; copy.deepcopy sorts the fields
    config.model.init_from, config.model.init_heads_from, config.model.frozen = {}, "", []
    data = config.data
    data.path = data.csv = data.taxonomy = data.cache_dir = ""
    data.canvas_size = list(canvas)
    if isinstance(data.splits, dict) and not split_column(data.splits):
        data.splits = {name: os.path.basename(x) if isinstance(x, str) else x for name, x in data.splits.items()}
    patterns = [data.image] if isinstance(data.image, str) else data.image
    if any(os.path.isabs(os.path.expanduser(pattern)) for pattern in patterns):
        data.image = "images/{id}.jpg"
    if data.source == "tfds" and os.path.isabs(os.path.expanduser(data.tfds)):
        data.tfds = ""
    return config


def ways_to_predict(path: Path, overrides: Iterable[tuple[str, str]]) -> list[str]:
    """Returns the overridden fields that make a run predict differently from how it was trained.

    Args:
        path: the config.json of the run.
        overrides: pairs of a field and its value as text.

    Raises:
        UserError: see load_run_config.
    """
    fields = [field for field, _ in overrides if not field.startswith("data.") or field in OF_PIXELS]
    before, now = load_run_config(path).to_dict(), load_run_config(path, overrides).to_dict()
    return [field for field in fields if _value(before, field) != _value(now, field)]


def _value(node: Any, field: str) -> Any:
    """Returns the value of a field, or of a level in a table; None if the table does not have the level."""
    for name in field.split("."):
        node = node.get(name)
    return node


def _loaded(name: str, fields: Iterable[tuple[str, Any]], *, is_text: bool) -> ConfigDict:
    """Reads a config and sets the fields that a user names, whose values may be texts; checks the result.

    The source of the data is found where only its path is named.
    """
    name = os.path.expanduser(name)
    is_of_a_run, fields = name.endswith(".json"), list(fields)
    config = _read_json(name) if is_of_a_run else _run(name)
    for field, value in fields:
        _set(config, field, value, is_text=is_text)
    named = [field for field, _ in fields] + ([] if is_of_a_run else ["data.path"])  # a config file may set it
    if _names_only_a_path(config.data.source, named):
        levels = config.data.levels.values() if any(field.startswith("data.levels") for field in named) else ()
        config.data.source = source_at(config.data.path, config.data.csv, [*filter(None, levels)])
    check_config(config)
    _check_is_read(config.data.source, config.data.splits, fields)
    return config


def _names_only_a_path(source: str, fields: Sequence[str]) -> bool:
    """Returns whether the fields that a user has set name data, while the config would draw the catalogue."""
    return source == "catalogue" and "data.path" in fields and "data.source" not in fields


def is_read(field: str, source: str) -> bool:
    """Returns whether data that come from a source depend on a field, or may."""
    return source in _READ_BY.get(field, (source,))


def _check_is_read(source: str, splits: Any, overrides: Iterable[tuple[str, Any]]) -> None:
    """Raises a UserError if an override sets a field that the source does not read.

    Overlays may set fields of another source; on the command line a field is set on purpose.
    """
    for field, value in overrides:
        names_files = field.startswith("data.splits") and not are_fractions(splits)
        sources = _OF_FILES if names_files else _READ_BY.get(field, (source,))
        if source in sources or value == "":
            continue
        if source == "catalogue":
            reads, way_out = "is drawn and reads no files", "set data.source to csv, folder or tfds"
        else:
            reads, way_out = "does not read it", f"take it out, or set data.source to {sources[0]}"
        raise UserError(f"{field} is {value!r}, but data.source is {source}, which {reads}: {way_out}.")


def _read_json(path: str) -> ConfigDict:
    try:
        config = read_config(Path(path).read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--config is {path!r}, which cannot be read ({error}): name a config file.") from error
    config.data.cache_dir = ""  # only flags, config files and the environment name it, as in load_run_config
    return config


def read_config(text: str, name: str) -> ConfigDict:
    """Reads the config of a run from the text of its config.json; executes nothing.

    Raises:
        UserError: text is not a config; the message calls it `name`.
    """
    config = _parsed_config(text, name)
    try:
        check_config(config)
    except UserError as error:
        raise UserError(f"{name} does not suit this version of the program: {error}") from error
    return config


def _parsed_config(text: str, name: str) -> ConfigDict:
    """Returns the config that JSON text holds, unchecked.

    Raises:
        UserError: text is no JSON object; the message calls it `name`.
    """
    try:
        return _section("", _with_added(parse_json(text)))
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"{name} is not the config of a run ({error!r}): restore it, or use another --workdir."
        ) from error


def _with_added(tree: dict[str, Any]) -> dict[str, Any]:
    """Adds the fields that a run's version did not have yet to the plain dict of its config."""
    for field, value in ADDED.items():
        *sections, name = field.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node.setdefault(name, copy.deepcopy(value))
    return tree


def config_to_json(config: ConfigDict) -> str:
    """Returns the config as JSON, in the order of its fields."""
    return json.dumps(config.to_dict(), indent=1, ensure_ascii=False)


def flatten(config: ConfigDict) -> dict[str, Any]:
    """Returns field -> value; tables (of levels, of splits) are values."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            flat |= {f"{name}.{field}": x for field, x in flatten(value).items()}
        else:
            flat[name] = list(value) if isinstance(value, tuple) else value
    return flat


def check_config(config: ConfigDict) -> None:
    """Checks that every field exists, is known, has the right type and range, and fits the others.

    Raises:
        UserError: names the first wrong field, its value, and what is valid.
    """
    _check_tables(config)
    flat = flatten(config)
    for field, value in flat.items():
        if any(known.startswith(f"{field}.") for known in CHECKS):
            raise UserError(f"{field} is {value!r}, but must be a section, as in configs/default.py.")
        if field not in CHECKS:
            raise _unknown(field)
        _check_field(field, value)
    if missing := [field for field in CHECKS if field not in flat]:
        raise UserError(f"The config lacks {missing[0]}: start from get_config() of configs/default.py.")
    check_combinations(config)


def _check_field(field: str, value: Any) -> None:
    if wrong := CHECKS[field](value):
        raise UserError(f"{field} is {value!r}, but must be {wrong}.")


def _check_tables(config: ConfigDict, prefix: str = "") -> None:
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            if prefix + name in CHECKS:
                raise UserError(f"{prefix}{name} is a ConfigDict, but must be a plain dict, which keeps its order.")
            _check_tables(value, f"{prefix}{name}.")


def image_shape(config: ConfigDict) -> tuple[int, int]:
    """Returns (height, width) of the network's input, in evaluation and in all but the progressive epochs."""
    return shape_of(config.image_size)


def _run(name: str) -> ConfigDict:
    path = find_config(name)
    try:
        config = run_config_file(path)
    except (Exception, SystemExit) as error:
        reason = _first_sentence(error)
        raise UserError(f"The config file {name!r} fails: {type(error).__name__}: {reason}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"get_config() of {name!r} returns {type(config).__name__}, not a ConfigDict.")
    return config


def _first_sentence(error: BaseException) -> str:
    text = str(error) or "no message"
    if match := re.search(r'Key "(\w+)" does not exist', text):  # ml_collections does not say in which section
        names = {name for field in CHECKS for name in field.split(".")}
        close = difflib.get_close_matches(match[1], names, n=1)
        return f"there is no field {match[1]!r}" + (f"; did you mean {close[0]}?" if close else ".")
    return text.splitlines()[0]


def _set(config: ConfigDict, field: str, value: Any, *, is_text: bool) -> None:
    """Sets a field to a value, or, if it is text of a command line, to what the text stands for.

    Raises:
        UserError: there is no such field, it is a section, or the value is wrong.
    """
    *parents, name = field.split(".")
    node: Any = config
    for parent in parents:
        node = node.get(parent) if isinstance(node, ConfigDict | dict) else None
    inside_table = isinstance(node, dict)
    if not isinstance(node, ConfigDict | dict) or not (inside_table or name in node):
        raise _unknown(field, value if is_text else None)
    if isinstance(node.get(name), ConfigDict):
        raise UserError(f"{field} is a section: set one of its fields, such as {field}.{next(iter(node[name]))}.")
    if not inside_table and field not in CHECKS:  # a field that a config file has added
        raise _unknown(field, value if is_text else None)
    if is_text:
        value = _read(field, value, is_string=isinstance(node.get(name), str) and not inside_table)
    if not inside_table:
        _check_field(field, value)  # before ConfigDict turns True into 1.0
    node[name] = copy.deepcopy(value)


def _read(field: str, text: str, is_string: bool) -> Any:
    """Returns the value that a text stands for.

    A field that has a string takes the text as it is, or a list or table if it may be one; others take a literal.
    """
    value = literal(text)
    return text if is_string and not (isinstance(value, list | dict) and not CHECKS[field](value)) else value


def _unknown(field: str, text: str | None = None) -> UserError:
    """Returns the error for a field that does not exist; `text` is its value if it is of the command line."""
    if text is not None:
        hint = suggestion(field, text)
    else:
        hint = f"; did you mean {meant}?" if (meant := meant_field(field)) else ""
    return UserError(f"There is no field {field!r} in the config{hint or '; configs/default.py has them all.'}")


def _section(name: str, tree: dict[str, Any]) -> ConfigDict:
    """Makes a section of the config from its plain dict; fields that are tables stay plain dicts."""
    prefix = name and name + "."
    fields = {
        field: _section(prefix + field, value)
        if isinstance(value, dict) and any(known.startswith(f"{prefix}{field}.") for known in CHECKS)
        else value
        for field, value in tree.items()
    }
    return ConfigDict(fields, type_safe=False, convert_dict=False, sort_keys=False)

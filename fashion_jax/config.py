"""Loading a config file, overriding its fields, and checking every one of them. Imports neither jax nor TF."""

from __future__ import annotations

import ast
import difflib
import importlib.util
import json
import math
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from fashion_jax.errors import UserError

MIN_IMAGE_SIZE = 32  # the trunks halve the image five times
_LEVEL_METRICS = ("loss", "accuracy", "macro_f1", "auroc")

# A check returns what a good value is, or "" where the value is good.
Check = Callable[[Any], str]


def _integer(low: int) -> Check:
    return lambda x: "" if type(x) is int and x >= low else f"a whole number of at least {low}"


def _number(low: float, high: float = math.inf, *, open_low: bool = False) -> Check:
    def check(x: Any) -> str:
        good = type(x) in (int, float) and math.isfinite(x) and low <= x <= high and not (open_low and x == low)
        bound = f"{'above' if open_low else 'of at least'} {low}" + (f" and at most {high}" if high < math.inf else "")
        return "" if good else f"a finite number {bound}"

    return check


def _choice(*values: str) -> Check:
    return lambda x: "" if x in values else "one of " + ", ".join(values)


def _text(x: Any) -> str:
    return "" if isinstance(x, str) else "a text"


def _level_table(check_value: Check, empty: bool) -> Check:
    def check(x: Any) -> str:
        if not isinstance(x, dict) or not (x or empty):
            return "a table of levels, such as {'main': …, 'sub': …}"
        for level, value in x.items():
            if not isinstance(level, str) or not re.fullmatch(r"[A-Za-z_]\w*", level):
                return "a table whose levels are named by letters, digits and _"
            if wrong := check_value(value):
                return f"a table whose values are each {wrong}"
        return ""

    return check


def _image_size(x: Any) -> str:
    sizes = [x] if type(x) is int else x
    good = isinstance(sizes, list | tuple) and len(sizes) in (1, 2) and all(type(s) is int for s in sizes)
    if good and not (isinstance(x, list | tuple) and len(x) == 1) and min(sizes) >= MIN_IMAGE_SIZE:
        return ""
    return f"an int or (height, width), each at least {MIN_IMAGE_SIZE} (the trunk halves the image five times)"


def _canvas_size(x: Any) -> str:
    return "" if x == 0 and type(x) is int else _image_size(x) and "0, or " + _image_size(x)


def _splits(x: Any) -> str:
    if isinstance(x, str) and x:
        return ""
    if not isinstance(x, dict) or not {"train", "validation"} <= set(x):
        return "the name of a column, or a table with train and validation in it"
    if all(isinstance(value, str) and value for value in x.values()):
        return ""
    fractions = [v for v in x.values() if type(v) is float and 0 < v < 1]
    if len(fractions) == len(x) and sum(fractions) <= 1 + 1e-9:
        return ""
    return "all files of ids, or all fractions between 0 and 1 with a sum of at most 1"


CHECKS: dict[str, Check] = {
    "seed": _integer(0),
    "image_size": _image_size,
    "batch_size": _integer(2),
    "num_epochs": _integer(1),
    "learning_rate": _number(0, open_low=True),
    "momentum": _number(0, 1),
    "weight_decay": _number(0),
    "schedule": _choice("cosine", "exponential"),
    "learning_rate_decay": _number(0, 1, open_low=True),
    "loss_weights": _level_table(_number(0), empty=True),
    "batch_norm": _choice("global", "group", "local"),
    "batch_norm_group_size": _integer(2),
    "dtype": _choice("float32", "bfloat16", "float64"),
    "on_nonfinite": _choice("stop"),
    "augment": _choice("none", "flip", "light"),
    "model.name": _choice("resnet10", "resnet18", "resnet34", "vgg16"),
    "model.heads": _level_table(_choice("main", "sub", "classifier", "linear"), empty=True),
    "checkpoint.every_steps": _integer(1),
    "checkpoint.keep": _integer(1),
    "checkpoint.best": _text,
    "data.source": _choice("catalogue", "csv"),
    "data.path": _text,
    "data.csv": _text,
    "data.image": _text,
    "data.levels": _level_table(_text, empty=False),
    "data.taxonomy": _text,
    "data.splits": _splits,
    "data.group_column": _text,
    "data.min_images_per_class": _integer(1),
    "data.max_bad_fraction": _number(0, 1),
    "data.resize": _choice("stretch", "crop", "letterbox"),
    "data.canvas_size": _canvas_size,
    "data.cache": _choice("auto", "host", "none"),
    "data.cache_dir": _text,
    "data.catalogue.num_images": _integer(1),
    "data.catalogue.seed": _integer(0),
    "log_every_steps": _integer(1),
}


def load_config(path: str, overrides: Iterable[tuple[str, str]] = ()) -> ConfigDict:
    """Runs get_config() of a Python file, overrides fields of it, and checks the result.

    Args:
        path: the config file. It is executed.
        overrides: pairs of a field (`learning_rate`, `data.splits.train`) and its value as text.

    Raises:
        UserError: the file is missing or fails, or a field is unknown or has a wrong value.
    """
    config = _run(Path(path))
    for field, text in overrides:
        _override(config, field, text)
    check_config(config)
    return config


def read_config(text: str, name: str) -> ConfigDict:
    """The config of a run from its config.json, whose text is given; executes nothing.

    Raises:
        UserError: text is not a config; the sentence calls it `name`.
    """
    try:
        tree = json.loads(text)
        config = _section("", tree)
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"{name} is not the config of a run ({error!r}): restore it, or use another --workdir."
        ) from error
    check_config(config)
    return config


def config_to_json(config: ConfigDict) -> str:
    """The config as JSON, in the order of its fields."""
    return json.dumps(config.to_dict(), indent=1, ensure_ascii=False)


def flatten(config: ConfigDict) -> dict[str, Any]:
    """Field -> value; tables (of levels, of splits) are values."""
    flat = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            flat |= {f"{name}.{field}": x for field, x in flatten(value).items()}
        else:
            flat[name] = list(value) if isinstance(value, tuple) else value
    return flat


def check_config(config: ConfigDict) -> None:
    """Checks that every field is there, known, of the right type and range, and that they fit together.

    Raises:
        UserError: names the first field that is wrong, its value, and what is right.
    """
    flat = flatten(config)
    for field, value in flat.items():
        if field not in CHECKS:
            raise _unknown(field)
        if wrong := CHECKS[field](value):
            raise UserError(f"{field} is {value!r}, but must be {wrong}.")
    if missing := [field for field in CHECKS if field not in flat]:
        raise UserError(f"The config lacks {missing[0]}: start from get_config() of configs/default.py.")
    _check_levels(config)
    _check_sizes(config)
    if config.data.source == "csv" and not config.data.path:
        raise UserError("data.path is empty: name the folder of the images and their table.")


def best_metric(config: ConfigDict) -> str:
    """The metric of metrics.jsonl that the best checkpoint has the best value of."""
    return config.checkpoint.best or f"validation/{list(config.data.levels)[-1]}/macro_f1"


def _check_levels(config: ConfigDict) -> None:
    levels, heads = list(config.data.levels), config.model.heads
    for field, table in (("model.heads", heads), ("loss_weights", config.loss_weights)):
        for level in table:
            if level not in levels:
                raise UserError(f"{field} names the level {level!r}, but data.levels has only {', '.join(levels)}.")
    if heads and levels[-1] not in heads:
        raise UserError(
            f"model.heads must have the finest level, {levels[-1]!r}: add it, or take it out of data.levels."
        )
    for level, weight in config.loss_weights.items():
        if heads and level not in heads and weight:
            raise UserError(f"loss_weights has {level!r}, but model.heads gives it no head: take it out.")
    known = ["validation/loss", *(f"validation/{level}/{m}" for level in levels for m in _LEVEL_METRICS)]
    if best_metric(config) not in known:
        raise UserError(f"checkpoint.best is {config.checkpoint.best!r}, but must be one of {', '.join(known)}.")


def _check_sizes(config: ConfigDict) -> None:
    size, canvas = ([x, x] if isinstance(x, int) else list(x) for x in (config.image_size, config.data.canvas_size))
    if config.data.canvas_size and any(c < s for c, s in zip(canvas, size, strict=True)):
        raise UserError(f"data.canvas_size is {canvas}, but must not be smaller than image_size, {size}.")
    if config.batch_norm == "group" and config.batch_size % config.batch_norm_group_size:
        raise UserError(
            f"batch_size is {config.batch_size}, but must be a multiple of batch_norm_group_size, "
            f"{config.batch_norm_group_size}, where batch_norm is group."
        )


def _run(path: Path) -> ConfigDict:
    if not path.is_file():
        raise UserError(
            f"There is no config file {str(path)!r}: the project's own are in configs/, e.g. configs/mtl.py."
        )
    root = str(path.resolve().parent.parent)
    if root not in sys.path:  # so that an overlay finds configs/default.py from any directory
        sys.path.append(root)
    try:
        spec = importlib.util.spec_from_file_location(f"_config_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        config = module.get_config()
    except (Exception, SystemExit) as error:
        reason = _first_sentence(error)
        raise UserError(f"The config file {str(path)!r} fails: {type(error).__name__}: {reason}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"get_config() of {str(path)!r} returns {type(config).__name__}, not a ConfigDict.")
    return config


def _first_sentence(error: BaseException) -> str:
    text = str(error).strip("'\"") or "no message"
    if match := re.search(r'Key "(\w+)" does not exist', text):
        return f"there is no field {match[1]!r}."
    return text.splitlines()[0]


def _override(config: ConfigDict, field: str, text: str) -> None:
    *parents, name = field.split(".")
    node: Any = config
    for parent in parents:
        node = node.get(parent) if isinstance(node, ConfigDict | dict) else None
    inside_table = isinstance(node, dict)
    if not isinstance(node, ConfigDict | dict) or not (inside_table or name in node):
        raise _unknown(field)
    if isinstance(node.get(name), ConfigDict):
        raise UserError(f"{field} is a section: set one of its fields, such as {field}.{next(iter(node[name]))}.")
    # a field whose default is a text takes the text as it is, any other a Python literal where it is one
    node[name] = text if isinstance(node.get(name), str) and not inside_table else _literal(text)


def _literal(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _unknown(field: str) -> UserError:
    close = difflib.get_close_matches(field, CHECKS, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else "configs/default.py has them all."
    return UserError(f"There is no field {field!r} in the config; {hint}")


def _section(name: str, tree: dict[str, Any]) -> ConfigDict:
    """A section of the config from its plain dict; what the checks know as one field stays a plain dict."""
    prefix = name and name + "."
    fields = {
        field: _section(prefix + field, value)
        if isinstance(value, dict) and any(known.startswith(f"{prefix}{field}.") for known in CHECKS)
        else value
        for field, value in tree.items()
    }
    return ConfigDict(fields, type_safe=False, convert_dict=False, sort_keys=False)

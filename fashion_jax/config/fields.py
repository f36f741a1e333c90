"""The fields of the config, and what a valid value of each is."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fashion_jax.command_line import remote
from fashion_jax.config.architectures import TRUNKS
from fashion_jax.config.image_patterns import Value, parse_pattern

# The mean and the standard deviation of ImageNet's pixels, as torchvision's recipes use them: those of every trunk that
# model.normalization does not name.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

MIN_IMAGE_SIZE = 32  # the trunks halve the image five times

DEFAULT_SPLITS = {"train": 0.8, "validation": 0.2}  # data.splits in configs/default.py

COLUMN = "column"  # names the column of splits in a table such as {"column": "split", "validation": "val"}

_COLUMN_TABLE = "a table that names a column and values of it, such as {'column': 'split', 'validation': 'val'}"

_NAME = r"[^\W\d]\w*"  # name of a level or a split

# A check returns a description of valid values, or "" if the value is valid.
Check = Callable[[Any], str]


def _integer(low: int, high: float = math.inf) -> Check:
    bound = f"of at least {low}" + (f" and at most {high}" if high < math.inf else "")
    return lambda x: "" if type(x) is int and low <= x <= high else f"a whole number {bound}"


def _number(low: float, high: float = math.inf, *, open_low: bool = False, open_high: bool = False) -> Check:
    bound = f"{'above' if open_low else 'of at least'} {low}"
    if high < math.inf:
        bound += f" and {'below' if open_high else 'at most'} {high}"

    def check(x: Any) -> str:
        good = type(x) in (int, float) and math.isfinite(x) and low <= x <= high
        excluded = (open_low and x == low) or (open_high and x == high)
        return "" if good and not excluded else f"a finite number {bound}"

    return check


def _choice(*values: str) -> Check:
    return lambda x: "" if x in values else "one of " + ", ".join(values)


def _boolean(x: Any) -> str:
    return "" if type(x) is bool else "True or False"


def _text(x: Any) -> str:
    good = isinstance(x, str) and not re.search(
        "[\0\ud800-\udfff]", x
    )  # surrogates stand for bytes of the command line that are not UTF-8
    return "" if good else "a text in UTF-8"


def _path(x: Any) -> str:
    if wrong := _text(x):
        return wrong
    return f"a path of the file system ({store})" if (store := remote(x)) else ""


def _pattern(x: Any) -> str:
    patterns = [x] if isinstance(x, str) else x
    if isinstance(patterns, list | tuple) and patterns and all(map(_is_pattern, patterns)):
        return ""
    return (
        "a pattern with a column of the table in braces, such as images/{id}.jpg or images/{id[:3]}/{id}.jpg, in whose "
        "last part * stands for anything, or a list of patterns"
    )


def _is_pattern(x: Any) -> bool:
    try:
        pieces = parse_pattern(x)
    except (ValueError, TypeError):
        return False
    folder = "".join("" if isinstance(piece, Value) else piece for piece in pieces).rpartition("/")[0]
    return any(isinstance(piece, Value) for piece in pieces) and "*" not in folder


def _level_table(check_value: Check, empty: bool) -> Check:
    def check(x: Any) -> str:
        if not isinstance(x, dict) or not (x or empty):
            return "a table of levels, such as {'main': …, 'sub': …}"
        for level, value in x.items():
            if not isinstance(level, str) or not re.fullmatch(_NAME, level):
                return "a table whose levels are named by letters, digits and _, the first of which is no digit"
            if wrong := check_value(value):
                return f"a table whose values are each {wrong}"
        return ""

    return check


def _factors(x: Any) -> str:
    if not isinstance(x, dict) or not all(isinstance(pattern, str) and pattern for pattern in x):
        return "a table from regular expressions to factors, such as {'^trunk/': 0.1}"
    for pattern, factor in x.items():
        try:
            re.compile(pattern)
        except re.error as error:
            return f"a table of regular expressions, which {pattern!r} is not ({error})"
        if wrong := _number(0)(factor):
            return f"a table whose values are each {wrong}"
    return ""


def _early_stopping(x: Any) -> str:
    if x == {}:
        return ""
    good = isinstance(x, dict) and set(x) == {"metric", "patience"} and isinstance(x["metric"], str)
    if good and not _integer(1)(x["patience"]):
        return ""
    return "{} or a table such as {'metric': 'validation/sub/macro_f1', 'patience': 3}"


def _levels(x: Any) -> str:
    if wrong := _level_table(_text, empty=False)(x):
        return wrong
    taken = {"path", "error", "answer", *(f"{level}_{of}" for level in x for of in ("name", "probability"))} & set(x)
    return f"a table whose levels have other names than {', '.join(sorted(taken))}" if taken else ""


def _trunk_list(x: Any) -> str:
    good = isinstance(x, list | tuple) and all(isinstance(name, str) and name in TRUNKS for name in x)
    return "" if good and len(set(x)) == len(x) else f"a list of different ones of {', '.join(TRUNKS)}"


def _trunk_table(x: Any) -> str:
    if isinstance(x, dict) and all(name in TRUNKS and value and not _text(value) for name, value in x.items()):
        return ""
    return (
        f"a table from one of {', '.join(TRUNKS)} to where its weights are, such as {{'resnet34': 'runs/mtl'}}: the "
        "--workdir of a run, a .safetensors or .pth file, the folder of a timm repository, or hf://OWNER/NAME"
    )


def _normalizations(x: Any) -> str:
    if isinstance(x, dict) and all(name in TRUNKS and not wrong_normalization(value) for name, value in x.items()):
        return ""
    example = "{'vgg16': {'mean': [0.5, 0.5, 0.5], 'std': [0.25, 0.25, 0.25]}}"
    return (
        f"a table from one of {', '.join(TRUNKS)} to mean and std of its pixels, such as {example}: three numbers "
        "each, for pixels from 0 to 1, with std above 0"
    )


def wrong_normalization(x: Any) -> str:
    """Returns what is wrong with a trunk's mean and std of pixels, or "" if both are three numbers in their range."""
    if not isinstance(x, dict) or set(x) != {"mean", "std"}:
        return "not a table of mean and std"
    for name, check in (("mean", _number(0, 1)), ("std", _number(0, 1, open_low=True))):
        values = x[name]
        if not isinstance(values, list | tuple) or len(values) != 3 or any(map(check, values)):
            return f"{name} is {values!r} instead of three numbers, each {check(None)}"
    return ""


def _image_size(x: Any) -> str:
    sizes = [x] if type(x) is int else x
    good = isinstance(sizes, list | tuple) and len(sizes) in (1, 2) and all(type(s) is int for s in sizes)
    if good and not (isinstance(x, list | tuple) and len(x) == 1) and min(sizes) >= MIN_IMAGE_SIZE:
        return ""
    return f"an int or (height, width), each at least {MIN_IMAGE_SIZE} (the trunk halves the image five times)"


def _canvas_size(x: Any) -> str:
    return "" if x == 0 and type(x) is int else _image_size(x) and "0, or " + _image_size(x)


def shape_of(size: int | Sequence[int]) -> tuple[int, int]:
    """Returns (height, width) of the images that a field such as image_size describes."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def seconds_in(time_limit: str) -> float:
    """Returns the seconds that a time such as 45s, 30m, 90m or 1h30m stands for; 0 if the text is no such time."""
    found = re.fullmatch(r"(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s)?", time_limit)
    hours, minutes, seconds = (int(x or 0) for x in found.groups()) if found else (0, 0, 0)
    return 3600.0 * hours + 60 * minutes + seconds


def _time_limit(x: Any) -> str:
    good = isinstance(x, str) and (not x or seconds_in(x) > 0)
    return "" if good else "empty, or a time such as 45s, 30m or 1h30m"


def split_column(splits: Any) -> str:
    """Returns the column that data.splits names, alone or under "column"; "" if it names none."""
    return splits if isinstance(splits, str) else splits.get(COLUMN, "")


def are_fractions(splits: str | Mapping[str, Any]) -> bool:
    """Returns whether a valid data.splits has fractions of the images, and names neither a column nor files."""
    return not isinstance(splits, str) and all(isinstance(value, float) for value in splits.values())


def wrong_split_names(splits: Mapping[str, Any]) -> str:
    """Returns what data.splits must be if splits have wrong names; "" if they are right."""
    if not all(isinstance(split, str) and re.fullmatch(_NAME, split) for split in splits):
        return "a table whose splits are named by letters, digits and _, the first of which is no digit"
    return "a table without a split named all, which stands for every image" if "all" in splits else ""


def _splits(x: Any) -> str:
    if isinstance(x, str) and x:
        return ""
    if isinstance(x, dict) and COLUMN in x:
        names = [x[COLUMN], *x]
        good = all(isinstance(name, str) and name for name in names)
        return "" if good and all(isinstance(value, str | int) for value in x.values()) else _COLUMN_TABLE
    if not isinstance(x, dict) or not {"train", "validation"} <= set(x):
        return f"the name of a column, {_COLUMN_TABLE}, or a table with train and validation in it{_meant_splits(x)}"
    if wrong := wrong_split_names(x):
        return wrong
    if all(isinstance(value, str) and value for value in x.values()):
        return ""
    fractions = [v for v in x.values() if type(v) is float and 0 < v < 1]
    if len(fractions) == len(x) and sum(fractions) <= 1 + 1e-9:
        return ""
    return f"all files of ids, or all fractions between 0 and 1 with a sum of at most 1{_meant_splits(x)}"


def _meant_splits(x: Any) -> str:
    """Returns a question that names the splits train and validation if other names seem to stand for them."""
    meant = {"train": "train", "val": "validation", "dev": "validation", "eval": "validation"}
    for name in x if isinstance(x, dict) else ():
        for start, split in meant.items():
            if isinstance(name, str) and name != split and name.casefold().startswith(start):
                return f" (did you mean {split!r} by {name!r}?)"
    return ""


CHECKS: dict[str, Check] = {
    "seed": _integer(0, 2**32 - 1),  # jax.random.key uses 32 bits
    "time_limit": _time_limit,
    "image_size": _image_size,
    "batch_size": _integer(2),
    "num_epochs": _integer(1),
    "learning_rate": _number(0, open_low=True),
    "learning_rate_batch_size": _integer(0),
    "momentum": _number(0, 1),
    "weight_decay": _number(0),
    "optimizer": _choice("sgd", "adamw", "muon"),
    "adam_beta2": _number(0, 1, open_high=True),
    "no_decay": _boolean,
    "schedule": _choice("cosine", "exponential", "one_cycle", "constant"),
    "schedule_per": _choice("epoch", "step"),
    "warmup_epochs": _number(0),
    "learning_rate_factors": _factors,
    "layer_decay": _number(0, 1, open_low=True),
    "average": _number(0, 1, open_high=True),
    "early_stopping": _early_stopping,
    "label_smoothing": _level_table(_number(0, 1, open_high=True), empty=True),
    "learning_rate_decay": _number(0, 1, open_low=True),
    "loss_weights": _level_table(_number(0), empty=True),
    "batch_norm": _choice("global", "group", "local"),
    "batch_norm_group_size": _integer(2),
    "dtype": _choice("float32", "bfloat16", "float64"),
    "clip_gradient_norm": _number(0),
    "deterministic": _boolean,
    "on_nonfinite": _choice("stop", "skip", "rollback"),
    "nonfinite.max_in_a_row": _integer(1),
    "nonfinite.learning_rate_factor": _number(0, 1, open_low=True),
    "nonfinite.max_rollbacks": _integer(1),
    "accumulate": _integer(1),
    "steps_per_dispatch": _integer(1),
    "remat": _choice("none", "dots", "blocks"),
    "augment": _choice("none", "flip", "light", "medium", "trivial", "strong"),
    "progressive.epochs": _integer(0),
    "progressive.image_size": _image_size,
    "eval_flip": _boolean,
    "model.name": _choice(*TRUNKS, "hybrid"),
    "model.fusion": _choice("concatenate", "gated"),
    "model.init_from": _trunk_table,
    "model.init_heads_from": _text,
    "model.normalization": _normalizations,
    "model.frozen": _trunk_list,
    "model.heads": _level_table(_choice("main", "sub", "classifier", "linear"), empty=True),
    "model.condition_on_parent": _boolean,
    "rare_classes.weights": _level_table(_choice("inverse", "effective"), empty=True),
    "rare_classes.beta": _number(0, 0.999999),
    "rare_classes.loss": _level_table(_choice("balanced_softmax", "logit_adjustment"), empty=True),
    "rare_classes.tau": _number(0),
    "rare_classes.post_hoc": _level_table(_number(0), empty=True),
    "rare_classes.draw": _level_table(_choice("class_balanced", "square_root"), empty=True),
    "checkpoint.every_steps": _integer(1),
    "checkpoint.keep": _integer(1),
    "checkpoint.best": _text,
    "data.source": _choice("catalogue", "csv", "folder", "tfds"),
    "data.path": _path,
    "data.csv": _path,
    "data.tfds": _text,
    "data.image": _pattern,
    "data.levels": _levels,  # some names are taken by predict's columns
    "data.taxonomy": _path,
    "data.splits": _splits,
    "data.folds": lambda x: "" if type(x) is int and (x == 0 or x >= 2) else "0, or a whole number of at least 2",
    "data.fold": _integer(0),
    "data.group_column": _text,
    "data.min_images_per_class": _integer(1),
    "data.rare_classes": _choice("drop", "merge"),
    "data.max_bad_fraction": _number(0, 1),
    "data.drop_leaks": _boolean,
    "data.resize": _choice("stretch", "crop", "letterbox"),
    "data.canvas_size": _canvas_size,
    "data.cache": _choice("auto", "none", "host", "device"),
    "data.cache_dir": _path,
    "data.catalogue.num_images": _integer(1),
    "data.catalogue.seed": _integer(0),
    "data.catalogue.label_noise": _number(0, 1),
    "watchdog_minutes": _number(0),
    "log_every_steps": _integer(1),
}

# Fields that configs of earlier versions lack -> the value that matches what those versions did.
ADDED: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate_batch_size": 0,
    "adam_beta2": 0.999,
    "no_decay": False,
    "schedule_per": "epoch",
    "warmup_epochs": 0.0,
    "learning_rate_factors": {},
    "layer_decay": 1.0,
    "average": 0.0,
    "early_stopping": {},
    "label_smoothing": {},
    "progressive.epochs": 0,
    "progressive.image_size": 32,
    "model.fusion": "concatenate",
    "model.init_from": {},
    "model.init_heads_from": "",
    "model.normalization": {},
    "model.frozen": [],
    "model.condition_on_parent": False,
    "data.folds": 0,
    "data.fold": 0,
    "watchdog_minutes": 0.0,
    "time_limit": "",
}


def literal(text: str) -> Any:
    """Returns the value that a text on the command line stands for; the text itself if it is no literal."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text

"""Compares a config with the prepared set that it names: what of it the set cannot give."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from fashion_jax.data.records.prepared_index import PLAN, is_prepared, read_json
from fashion_jax.data.sources.stored_names import stored_path
from fashion_jax.errors import UserError


def misuse(config: ConfigDict) -> list[str]:
    """Returns sentences, without their full stops, on what a checked config asks of a prepared set in vain.

    It is empty if the config names no prepared set. A run that an earlier version began with such a config may go on.

    Raises:
        UserError: the description of the set cannot be read.
    """
    folder, made = _prepared(config)
    faults = []
    if (resize := made.get("resize", config.data.resize)) != config.data.resize:
        faults.append(
            f"data.resize is {config.data.resize!r}, but {str(folder)!r} was prepared with {resize!r}, which "
            f"prediction would not know: set it to {resize!r}, or prepare the images anew"
        )
    return faults


def check_use(config: ConfigDict) -> None:
    """Refuses a checked config that asks of a prepared set what this cannot give, see `misuse`.

    Raises:
        UserError: names the field, and what it must be for this set.
    """
    for fault in misuse(config):
        raise UserError(f"{fault}.")


def enlarged(config: ConfigDict, canvas: tuple[int, int]) -> str:
    """Returns a sentence, without its full stop, if a set was prepared smaller than the canvas; "" otherwise.

    Args:
        config: names the set.
        canvas: (height, width) in pixels that the config asks for.
    """
    folder, made = _prepared(config)
    height, width = made.get("canvas", canvas)
    if height >= canvas[0] and width >= canvas[1]:
        return ""
    return (
        f"the images in {str(folder)!r} were prepared at {height} × {width} pixels and are enlarged to {canvas[0]} × "
        f"{canvas[1]}: to see more of the photos, prepare them anew with this config's image_size and augment"
    )


def _prepared(config: ConfigDict) -> tuple[Path, dict[str, Any]]:
    """Returns the folder, and what it was prepared with: the fields of data, and its "canvas"; empty if it is none."""
    folder = stored_path(Path(os.path.expanduser(config.data.path)).absolute())
    if config.data.source != "tfds" or not config.data.path or not is_prepared(folder):
        return folder, {}
    plan = read_json(folder / PLAN)
    canvas = {"canvas": plan["canvas"]} if "canvas" in plan else {}
    return folder, plan["source"]["data"] | canvas

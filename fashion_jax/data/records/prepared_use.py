"""Compares the fields of the data with the prepared set that they name: what of them the set cannot give."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fashion_jax.config.fields import split_column
from fashion_jax.data.fields import DataFields
from fashion_jax.data.records.prepared_index import (
    ID,
    PLAN,
    is_complete,
    is_prepared,
    made_from,
    made_splits,
    read_index,
    read_json,
)
from fashion_jax.data.stored_names import stored_path
from fashion_jax.errors import UserError


def misuse(data: DataFields, resize: str) -> list[str]:
    """Returns sentences, without their full stops, on what is asked of a prepared set in vain.

    It is empty if `data` names no prepared set. A run that an earlier version began with such a config may go on.

    Args:
        data: of a checked config.
        resize: its data.resize.

    Raises:
        UserError: the description of the set cannot be read.
    """
    folder, plan = _prepared(data)
    if not plan:
        return []
    made = plan["source"]["data"]
    faults = [_torn(data.splits, folder, plan), _resized_otherwise(folder, plan, resize)]
    if (groups := data.group_column) and groups != made.get("group_column", groups):
        faults.append(
            f"data.group_column is {groups!r}, but {str(folder)!r} was prepared with {made['group_column']!r}, and has "
            "no columns by which to keep groups in one split: prepare the images anew, or leave it empty"
        )
    return [fault for fault in faults if fault]


def check_use(data: DataFields, resize: str) -> None:
    """Refuses what a prepared set cannot give; takes what `misuse` takes.

    Raises:
        UserError: names the field, and what it must be for this set.
    """
    for fault in misuse(data, resize):
        raise UserError(f"{fault}.")


def unlike_photos(data: DataFields, resize: str, canvas: tuple[int, int]) -> list[str]:
    """Returns sentences, without their full stops, on how images of a prepared set differ from photos of the canvas.

    Args:
        data: of a checked config.
        resize: its data.resize.
        canvas: (height, width) in pixels of the images that are trained or measured on.
    """
    folder, plan = _prepared(data)
    if not plan:
        return []
    found = _resized_otherwise(folder, plan, resize), enlarged(data, canvas), _refitted(folder, plan, resize, canvas)
    return [text for text in found if text]


def _refitted(folder: Path, plan: Mapping[str, Any], resize: str, canvas: tuple[int, int]) -> str:
    """Returns a sentence, without its full stop, if a set was fitted to another aspect ratio than the canvas's.

    Such an image is fitted a second time, while predict fits a photo once. Stretching twice is as stretching once. It
    is "" otherwise.
    """
    (height, width), before = plan.get("canvas", canvas), plan["source"]["data"].get("resize", resize)
    rounding = (height + width + sum(canvas)) / 2  # half a pixel of each side
    if before == resize == "stretch" or abs(height * canvas[1] - width * canvas[0]) <= rounding:
        return ""
    return (
        f"the images in {str(folder)!r} were prepared at {height} × {width} pixels with data.resize {before!r} and are "
        f"fitted to {canvas[0]} × {canvas[1]} once more, while predict fits a photo once: prepare them anew with the "
        "image_size of the run's config"
    )


def enlarged(data: DataFields, canvas: tuple[int, int]) -> str:
    """Returns a sentence, without its full stop, if a set was prepared smaller than the canvas; "" otherwise.

    Args:
        data: names the set.
        canvas: (height, width) in pixels of the images that are trained on.
    """
    folder, plan = _prepared(data)
    height, width = plan.get("canvas", canvas)
    if height >= canvas[0] and width >= canvas[1]:
        return ""
    return (
        f"the images in {str(folder)!r} were prepared at {height} × {width} pixels and are enlarged to {canvas[0]} × "
        f"{canvas[1]}: to see more of the photos, prepare them anew with this config's image_size and augment"
    )


def _resized_otherwise(folder: Path, plan: Mapping[str, Any], resize: str) -> str:
    """Returns a sentence, without its full stop, if a set was prepared with another data.resize; "" otherwise."""
    before = plan["source"]["data"].get("resize", resize)
    if before == resize:
        return ""
    return (
        f"data.resize is {resize!r}, but {str(folder)!r} was prepared with {before!r}, which prediction would not "
        f"know: set it to {before!r}, or prepare the images anew"
    )


def _torn(splits: Any, folder: Path, plan: Mapping[str, Any]) -> str:
    """Returns a sentence, without its full stop, if data.splits may part images that the set keeps in one split."""
    names = list(plan["images"])
    if split_column(splits) or made_from(splits, folder):
        return ""
    parts = [part.strip() for text in splits.values() for part in str(text).split("+")]
    if set(parts) <= set(names):  # whole splits
        return ""
    groups = plan["source"]["data"].get("group_column")
    reason = f"data.group_column {groups!r}" if groups else _several(folder, names)
    return reason and (
        f"data.splits is {splits!r}, but {str(folder)!r} was prepared with {reason}, whose images would come into "
        f"several splits: set it to {made_splits(folder)!r}, with which it was prepared, or name whole splits of "
        f"{', '.join(names)}, or prepare the images anew"
    )


def _several(folder: Path, names: Sequence[str]) -> str:
    """Returns, in words, that images share an id, as those of a row do; "" if they do not."""
    counts = Counter(image_id for name in names for image_id in read_index(folder, name, [ID])[ID].tolist())
    shared = next((image_id for image_id, count in counts.items() if count > 1), None)
    return "" if shared is None else f"several images of one id, such as {shared.decode('utf-8', 'replace')!r}"


def _prepared(data: DataFields) -> tuple[Path, dict[str, Any]]:
    """Returns the folder that data.path names, and its plan (prepare.json); empty if it is no prepared set."""
    folder = stored_path(Path(os.path.expanduser(data.path)).absolute())
    is_one = data.source == "tfds" and data.path and is_prepared(folder)
    return folder, read_json(folder / PLAN) if is_one and is_complete(folder) else {}

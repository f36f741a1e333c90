"""Computes and compares digests: one of each array of a checkpoint, and one of all of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fashion_jax.errors import UserError
from fashion_jax.json_text import parse_json


class Unusable(Exception):
    """Says where a checkpoint is damaged or incomplete."""


@dataclasses.dataclass(frozen=True)
class Saved:
    """The metadata that a checkpoint holds about itself.

    Attributes:
        arrays: name -> "dtype[shape] sha256".
        label: the run and step it was saved by (see identity.Identity); empty in checkpoints of earlier versions.
    """

    arrays: dict[str, str]
    label: dict[str, Any]

    def holds(self, step: int) -> bool:
        """Returns whether the arrays are those of a step; True if they have no step."""
        if "step" not in self.arrays:
            return True
        kind, digest = self.arrays["step"].split(" ")
        dtype = np.dtype(kind.partition("[")[0])
        return step <= np.iinfo(dtype).max and digest == _sha256(np.asarray(step, dtype))


def digests_of(arrays: Any, label: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Returns "arrays" of a tree of numpy arrays (name -> "dtype[shape] sha256"), the label, and "digest" of both."""
    entries = {name: f"{_kind(array)} {_sha256(array)}" for name, array in _named(arrays).items()}
    labelled = {"label": dict(label)} if label else {}
    return {"arrays": entries, **labelled, "digest": _digest(entries, label)}


def read_saved(folder: Path) -> Saved:
    """Reads the metadata of the checkpoint in a folder.

    Raises:
        Unusable: it has no digests, or they are damaged themselves.
    """
    path = folder / "digests" / "metadata"
    try:
        found = parse_json(path.read_bytes())
        entries, label, digest = found["arrays"], found.get("label", {}), found["digest"]
        good = digest == _digest(entries, label) and all(len(entry.split(" ")) == 2 for entry in entries.values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise Unusable(f"its digests cannot be read ({error})") from error
    if not good:
        raise Unusable("its digests are damaged")
    return Saved(entries, label)


def check_structure(saved: dict[str, str], like: Any, folder: Path) -> None:
    """Checks that a checkpoint has the expected arrays.

    Raises:
        UserError: it is another model's; names the first array that differs, and both kinds.
    """
    for name, leaf in _named(like).items():
        has, wants = saved[name].split(" ")[0] if name in saved else "nothing there", _kind(leaf)
        if has != wants:
            raise UserError(
                f"{name} is {wants} in the model of this config and these classes, but the checkpoint {folder} has "
                f"{has}: use the config, data and version it was made with, or another --workdir."
            )


def check_digests(saved: dict[str, str], arrays: Any) -> None:
    """Checks a tree of numpy arrays against the saved digests.

    Raises:
        Unusable: names the first array that is not the saved one.
    """
    for name, array in _named(arrays).items():
        if saved[name] != f"{_kind(array)} {_sha256(array)}":
            raise Unusable(f"{name} is damaged")


def _named(tree: Any) -> dict[str, Any]:
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _kind(array: Any) -> str:
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _digest(entries: dict[str, str], label: Mapping[str, Any] | None) -> str:
    content = [entries, label] if label else entries
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

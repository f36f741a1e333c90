"""What a checkpoint's arrays are known by again: a digest of each, and a digest of all of these."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fashion_jax.errors import UserError


class Unusable(Exception):
    """A checkpoint is damaged or lacks a part; says where."""


def digests_of(arrays: Any) -> dict[str, Any]:
    """For a tree of numpy arrays: "arrays", name -> "dtype[shape] sha256", and "digest", of all that."""
    entries = {name: f"{_kind(array)} {_sha256(array)}" for name, array in _named(arrays).items()}
    return {"arrays": entries, "digest": _digest(entries)}


def read_digests(folder: Path) -> dict[str, str]:
    """Name -> "dtype[shape] sha256" of the checkpoint in a folder.

    Raises:
        Unusable: it has none, or they are damaged themselves.
    """
    path = folder / "digests" / "metadata"
    try:
        saved = json.loads(path.read_bytes())
        entries, digest = saved["arrays"], saved["digest"]
        good = digest == _digest(entries) and all(len(entry.split(" ")) == 2 for entry in entries.values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise Unusable(f"its digests cannot be read ({error})") from error
    if not good:
        raise Unusable("its digests are damaged")
    return entries


def check_structure(saved: dict[str, str], like: Any, folder: Path) -> None:
    """Checks that a checkpoint has the arrays that are wanted.

    Raises:
        UserError: it is another model's; names the first array that differs, and both kinds.
    """
    for name, leaf in _named(like).items():
        has, wants = saved[name].split(" ")[0] if name in saved else "nothing there", _kind(leaf)
        if has != wants:
            raise UserError(
                f"{name} is {wants} in the model of this config and these classes, but the checkpoint {folder} has "
                f"{has}: go on with the config, data and version that it was made by, or use another --workdir."
            )


def check_digests(saved: dict[str, str], arrays: Any) -> None:
    """Checks a tree of numpy arrays.

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


def _digest(entries: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()

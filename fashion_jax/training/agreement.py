"""Checks, before the first collective, that the processes of a run agree on what they train."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from fashion_jax.devices.job import first_difference, named
from fashion_jax.devices.mesh import fetch
from fashion_jax.devices.processes import exchange
from fashion_jax.devices.shared_files import seen_by_this_process
from fashion_jax.errors import UserError
from fashion_jax.workdir.paths import meeting_path

_OWN = ("data.cache_dir",)  # fields of a config that may differ from machine to machine
_SHOWN = 3  # differences that are told of a process


def check_agreement(record: Mapping[str, object], workdir: Path) -> None:
    """Compares the records of all processes of a run, and checks that they share its work directory.

    Args:
        record: name -> what must be equal in all processes, as JSON: fields of the config, digests, versions.
        workdir: which exists.

    Raises:
        UserError: processes differ; all of them say which and in what.
    """
    with seen_by_this_process(meeting_path(workdir)) as is_shared:
        own = {name: value for name, value in record.items() if name not in _OWN}
        found = exchange("agreement", own | {"--workdir is shared": is_shared}, differences)
    if found:
        raise UserError(found)


def differences(records: list[dict[str, Any]]) -> str:
    """Returns a sentence about how processes differ from process 0, or "", given the records of all."""
    index, names = first_difference(records)
    if not names:
        return ""
    first, record = records[0], records[index]
    if not record["--workdir is shared"]:
        return (
            f"Process {index} does not see the files that process 0 writes to --workdir: name a directory on a file "
            "system that all processes share."
        )
    told = "; ".join(f"{name} is {record.get(name)!r} instead of {first.get(name)!r}" for name in names[:_SHOWN])
    more = f"; and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (
        f"Process {index} differs from process 0: its {told}{more}. Start all processes with the same code, config and "
        "data."
    )


def check_same_weights(weights: Any, sources: Sequence[str]) -> None:
    """Checks that a new run begins with the same weights in all processes, which may read them from their own files.

    Args:
        weights: the parameters and statistics that the run begins with, the same on all devices.
        sources: of weights, in the config; "" for none.

    Raises:
        UserError: the weights differ.
    """
    if jax.process_count() == 1 or not any(sources):
        return
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(fetch(weights)):
        digest.update(leaf.tobytes())
    if different := exchange("weights", digest.hexdigest(), _different):
        raise UserError(
            f"Process {named(different)} begins with other weights than process 0: the files of "
            f"{', '.join(filter(None, sources))} are not the same on all machines."
        )


def _different(digests: Sequence[str]) -> list[int]:
    return [index for index, digest in enumerate(digests) if digest != digests[0]]

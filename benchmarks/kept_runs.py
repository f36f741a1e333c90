"""Keeps the runs of an ablation's result when the same study goes on, perhaps on another machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fashion_jax.errors import UserError
from fashion_jax.json_text import parse_json

Name = tuple[str, int]  # the variant and the seed of a run
Fields = dict[str, str]  # field -> its value as text

_ELSEWHERE = "data.path"  # differs between machines


def fields_of(fields: Mapping[str, str]) -> Fields:
    """Returns the fields that make a run what it is, wherever it is trained."""
    return {field: value for field, value in fields.items() if field != _ELSEWHERE}


def read_kept(path: Path | None, wanted: Mapping[Name, Fields]) -> list[dict[str, Any]]:
    """Returns the runs of an earlier result; none if there is no such file.

    Args:
        path: the result of an earlier command, or None.
        wanted: for each run of the study its fields, see fields_of.

    Raises:
        UserError: the file is something else, or one of its runs is none of the study, or was trained with other
            fields.
    """
    if path is None or not path.exists():
        return []
    try:
        result = parse_json(path.read_text(encoding="utf-8"))
        runs = {
            (run["variant"], run["seed"]): {"measured_at": result["commit"], **_with_fields(run, result["study"])}
            for run in result["runs"]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no result of this benchmark ({error!r}): name another --json.") from error
    for (variant, seed), run in runs.items():
        if run["fields"] != wanted.get((variant, seed)):
            raise UserError(
                f"{path} has a run {variant!r} with seed {seed} that this study does not have, or not with these "
                "fields: name another --json."
            )
    return list(runs.values())


def _with_fields(run: dict[str, Any], study: dict[str, Any]) -> dict[str, Any]:
    """Returns a run with its fields, which results of earlier versions have only in their study."""
    given = {**study["overrides"], **study["variants"][run["variant"]], "seed": str(run["seed"])}
    return {"fields": fields_of(given), **run}


def merged(wanted: Sequence[Name], kept: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[Any]:
    """Returns the runs in the order of the study, the new ones in place of kept ones of the same name.

    A kept run whose first variant was measured anew is no longer compared with it: its `tests` are None.
    """
    first = wanted[0][0]
    anew = {run["seed"] for run in new if run["variant"] == first}
    kept = [{**run, "tests": None} if run["seed"] in anew else run for run in kept]
    runs = {(run["variant"], run["seed"]): run for run in (*kept, *new)}
    return [runs[name] for name in wanted if name in runs]

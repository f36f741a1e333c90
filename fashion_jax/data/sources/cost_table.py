"""Reads a table of what mistakes cost: predict --costs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from fashion_jax.data.sources.columns import is_parquet, read_columns
from fashion_jax.data.sources.ragged import has_blank_end
from fashion_jax.errors import UserError
from fashion_jax.letters import composed

COST_COLUMNS = ("true", "predicted", "cost")


def read_costs(path: Path, names: Sequence[str]) -> dict[tuple[str, str], float]:
    """Returns (true, predicted) class -> the cost of the mistake, from a CSV or Parquet of COST_COLUMNS.

    Args:
        path: the table.
        names: the classes that may be in it, as in taxonomy.json, such as Apparel/Topwear.

    Raises:
        UserError: the file cannot be read, lacks a column, has a row with more or fewer cells than the header, or names
            an unknown class, a pair twice or a wrong cost.
    """
    written = {composed(name): name for name in names}  # as the table's cells are -> as in `names`
    costs: dict[tuple[str, str], float] = {}
    parts = list(read_columns(path, dict.fromkeys(COST_COLUMNS, "--costs"), optional=()))
    if ragged := [row for part in parts for row in part.ragged if not has_blank_end(row)]:
        raise UserError(
            f"Line {ragged[0].line} of {path} has {len(ragged[0].cells)} cells, but the header {ragged[0].width}: "
            "quote cells that hold the delimiter."
        )
    columns = [[part.numbers.tolist(), *(part.columns[name] for name in COST_COLUMNS)] for part in parts]
    for number, *pair, cost in itertools.chain.from_iterable(zip(*x, strict=True) for x in columns):
        where = f"{'Row' if is_parquet(path) else 'Line'} {number} of {path}"
        for column, name in zip(COST_COLUMNS, pair, strict=False):
            if name not in written:
                raise UserError(
                    f"{where} has {name!r} in the column {column}, which is no finest class of the run: "
                    f"name classes as in taxonomy.json, such as {names[0]!r}."
                )
        true, predicted = (written[name] for name in pair)
        if (true, predicted) in costs:
            raise UserError(f"{where} names {pair[0]!r} taken for {pair[1]!r} again: take it out.")
        costs[true, predicted] = _cost(cost, where)
    return costs


def _cost(text: str, where: str) -> float:
    try:
        cost = float(text)
    except ValueError:
        cost = math.nan
    if not (math.isfinite(cost) and cost >= 0):
        raise UserError(f"{where} has the cost {text!r}, but a cost must be a finite number of at least 0.")
    return cost

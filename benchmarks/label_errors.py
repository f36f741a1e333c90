"""Measures how many top-ranked labels are wrong: python -m benchmarks.label_errors ERRORS.csv --label-noise 0.05.

ERRORS.csv is the file that `fashion_jax.evaluate --label-errors` wrote for runs on the generated catalogue with that
label noise.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from benchmarks.command import create_parser, parse
from fashion_jax.command_line import run_command
from fashion_jax.command_line.output_files import write_json
from fashion_jax.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Measures as the arguments say; returns the exit status."""
    return run_command(_measure, arguments)


def _measure(arguments: list[str]) -> None:
    flags = _parse(arguments)
    with flags.errors.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    results = {level: precision(level, rows, flags) for level in ("main", "sub")}
    for level, (errors, share) in results.items():
        print(f"{level}: {errors} wrong labels; precision at {errors}: {share:.1%}")
    if flags.json:
        write_json(flags.json, {k: dict(zip(("errors", "precision"), v, strict=True)) for k, v in results.items()})


def _parse(arguments: list[str]) -> argparse.Namespace:
    usage = "ERRORS.csv --label-noise P [--seed N]"
    parser = create_parser("label_errors", usage, __doc__.partition(":")[0] + ".", config=None)
    parser.add_argument("errors", metavar="ERRORS.csv", type=Path)
    parser.add_argument("--label-noise", metavar="P", type=float, required=True, help="data.catalogue.label_noise")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="data.catalogue.seed (default: 0)")
    flags, _ = parse(parser, arguments)
    if not flags.errors.is_file():
        raise UserError(f"There is no file {str(flags.errors)!r}: name what evaluate --label-errors has written.")
    return flags


def precision(level: str, rows: list[dict[str, str]], flags: argparse.Namespace) -> tuple[int, float]:
    """Returns k, the number of wrong labels at a level, and the precision at k of the ranking."""
    from fashion_jax.data.catalogue.generator import draw

    place = 1 + ("main", "sub").index(level)  # position in a drawn item: the image and its labels
    wrong = []
    for row in sorted((row for row in rows if row["level"] == level), key=lambda row: int(row["rank"])):
        right, given = (draw(flags.seed, int(row["id"]), noise)[place] for noise in (0.0, flags.label_noise))
        wrong.append(right != given)
    return sum(wrong), sum(wrong[: sum(wrong)]) / max(sum(wrong), 1)


if __name__ == "__main__":
    sys.exit(main())

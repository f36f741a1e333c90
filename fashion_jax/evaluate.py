"""Measures trained runs: python -m fashion_jax.evaluate --workdir DIR [--workdir DIR2 ...]."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fashion_jax.command_line import Overrides, Parser, add_distributed, check_distributed, program, run_command
from fashion_jax.command_line.output_files import check_output
from fashion_jax.data.dataset import ALL
from fashion_jax.errors import UserError
from fashion_jax.report.evaluate_command import evaluate


def main(arguments: list[str] | None = None) -> int:
    """Evaluates as the arguments say; returns the exit status."""
    return run_command(_evaluate, arguments)


def parse(arguments: list[str]) -> tuple[argparse.Namespace, Overrides]:
    """Returns the flags, and the overrides of fields as pairs of field and text.

    Raises:
        UserError: a flag is unknown, missing, or lacks its value.
    """
    flags, overrides = _create_parser().parse(arguments)
    if not flags.workdir:
        raise UserError("--workdir is missing: name the directory of a run, e.g. --workdir runs/mtl.")
    if not 0 <= flags.shots[1] <= flags.shots[0]:
        raise UserError(f"--shots is {flags.shots[0]} {flags.shots[1]}, but must be two numbers, the larger one first.")
    check_distributed(flags)
    check_output("--json", flags.json)
    check_output("--label-errors", flags.label_errors)
    return flags, overrides


_EPILOG = (
    "The data is that of the run. Other data is named by the same fields: --config.data.splits.validation=test.txt, or "
    f"--config.data.source=csv --config.data.path=photos --config.data.csv=labels.csv --split {ALL}. Labels that the "
    "run does not know are not counted. Other ways to predict: --config.eval_flip=true, "
    "--config.rare_classes.post_hoc.sub=1. Label errors of a whole table: train with --config.data.folds=3 and "
    "--config.data.fold=0, 1 and 2, each into its own --workdir, and evaluate the three with --label-errors."
)


def _create_parser() -> Parser:
    parser = Parser(
        prog=program("fashion_jax.evaluate"),
        usage="%(prog)s --workdir DIR [--workdir DIR2 ...] [--split NAME] [--checkpoint best|latest] [--json FILE] "
        "[--label-errors FILE.csv] [--report DIR] [--shots MANY FEW] [--distributed] [--config.FIELD=VALUE ...]",
        description="Prints the metrics of trained runs: scores and calibration of each level, scores of each way to "
        "decode the tree, and the compute cost. Further runs are compared with the first one on the same images.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--workdir",
        metavar="DIR",
        action="append",
        type=Path,
        help="directory of a run, or folder of an export; repeat the flag to compare several",
    )
    parser.add_argument(
        "--split",
        metavar="NAME",
        default="validation",
        help=f"the split to measure: a name in data.splits, or {ALL} for every row of a table and every image of the "
        "splits (default: validation)",
    )
    parser.add_argument("--checkpoint", choices=("best", "latest"), default="best", help="which one (default: best)")
    _add_outputs(parser)
    parser.add_argument(
        "--shots",
        metavar=("MANY", "FEW"),
        nargs=2,
        type=int,
        default=(1000, 100),
        help="head classes have more training images than MANY, tail classes fewer than FEW (default: 1000 100)",
    )
    add_distributed(parser)
    parser.add_argument("--verbose", action="store_true", help="show where an error comes from")
    return parser


def _add_outputs(parser: Parser) -> None:
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write all metrics to this file")
    parser.add_argument(
        "--label-errors",
        metavar="FILE.csv",
        type=Path,
        help="write all labels to this file, ranked by how likely they are wrong; runs that were measured on different "
        "images, such as folds, are ranked together",
    )
    parser.add_argument(
        "--report", metavar="DIR", type=Path, help="write a report page to this folder (of several runs: a comparison)"
    )


def _evaluate(arguments: list[str]) -> None:
    flags, overrides = parse(arguments)
    evaluate(flags, overrides, arguments)


if __name__ == "__main__":
    sys.exit(main())

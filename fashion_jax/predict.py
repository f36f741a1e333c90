"""Predicts the classes of new images: python -m fashion_jax.predict --workdir DIR --input PATH... --output FILE."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from fashion_jax.command_line import Overrides, Parser, add_distributed, check_distributed, program, run_command
from fashion_jax.command_line.output_files import check_output
from fashion_jax.data.sources.columns import SUFFIXES
from fashion_jax.data.sources.cost_table import COST_COLUMNS
from fashion_jax.data.sources.inputs import STDIN
from fashion_jax.errors import UserError
from fashion_jax.scoring.calibration import UNSURE
from fashion_jax.scoring.tree_decoding import DECODES, DEFAULT_DECODE
from fashion_jax.serving.exports.folder import is_export
from fashion_jax.serving.loading import check_decisions
from fashion_jax.serving.parts import PART_SIZE, Shard, is_parts_folder
from fashion_jax.serving.predict_command import check_overrides, predict
from fashion_jax.serving.table_files import TABLES


def main(arguments: list[str] | None = None) -> int:
    """Predicts as the arguments say; returns the exit status."""
    return run_command(lambda given: predict(*parse(given)), arguments)


def parse(arguments: list[str]) -> tuple[argparse.Namespace, Overrides]:
    """Returns the flags, and the overrides of fields as pairs of field and text.

    Raises:
        UserError: a flag is unknown, missing, or has a wrong value.
    """
    parser = Parser(
        prog=program("fashion_jax.predict"),
        usage="%(prog)s --workdir DIR --input PATH [PATH ...] --output FILE|DIR/ [--checkpoint best|latest] "
        "[--decode HOW] [--costs tree|FILE] [--min-probability P | --precision P] [--top-k K] [--all-probabilities] "
        "[--embeddings] [--column NAME] [--batch-size N] [--part-size N] [--shard I/N] [--explain DIR] [--distributed] "
        "[--config.FIELD=VALUE ...]",
        description="Writes a table with one row per input, also for inputs that cannot be used: the class at every "
        "level and its probability, calibrated by the temperatures in the run's calibration.json.",
        epilog="A file that has no prediction has the reason in the column error; if none has a prediction, the exit "
        "status is 2. Other ways to predict: --config.eval_flip=true, --config.rare_classes.post_hoc.sub=1.",
        allow_abbrev=False,
    )
    parser.add_argument("--workdir", metavar="DIR", type=Path, help="of a run, or an export")
    _add_inputs(parser)
    _add_output(parser)
    parser.add_argument("--checkpoint", choices=("best", "latest"), default="best", help="which one (default: best)")
    _add_decisions(parser)
    parser.add_argument(
        "--batch-size",
        metavar="N",
        type=_positive,
        help="images at a time (default: the smallest multiple of the run's batch_size, divided by accumulate, that is "
        "at least 64)",
    )
    add_distributed(parser)
    parser.add_argument("--verbose", action="store_true", help="show where an error comes from")
    flags, overrides = parser.parse(arguments)
    for name, example in (("workdir", "runs/mtl"), ("input", "photos"), ("output", "predictions.csv")):
        if not getattr(flags, name):
            raise UserError(f"--{name} is missing: give it, e.g. --{name} {example}.")
    check_overrides(overrides)
    check_decisions(flags.decode, flags.costs, flags.precision, flags.min_probability)
    check_distributed(flags)
    if flags.distributed:
        _check_shared(flags)
    _check_output(flags)
    return flags, overrides


def _add_inputs(parser: Parser) -> None:
    parser.add_argument(
        "--input",
        metavar="PATH",
        nargs="+",
        action="extend",
        help="images, folders (with all below them), patterns such as 'photos/*.jpg', zips, tables of paths (their "
        f"names end in {', '.join(SUFFIXES)}), and {STDIN} for paths on standard input, separated by line breaks or "
        "NULs",
    )
    parser.add_argument(
        "--column",
        metavar="NAME",
        default="",
        help="of the tables of --input: the column of paths, relative to the table (default: the only one that holds "
        "some)",
    )


def _add_output(parser: Parser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--output",
        metavar="FILE|DIR/",
        help=f"a table, whose name ends in {', '.join(TABLES)}; or a folder, whose name ends in a slash, for Parquet "
        "files that each hold a part: the same command, run again, resumes with the parts that are missing",
    )
    group.add_argument("--top-k", metavar="K", type=_positive, default=0, help="add the K likeliest classes per level")
    group.add_argument(
        "--all-probabilities", action="store_true", help="add a list of the probabilities of all classes per level"
    )
    group.add_argument("--embeddings", action="store_true", help="add a list of the features, the heads' input")
    group.add_argument(
        "--explain", metavar="DIR", type=Path, help="write Grad-CAM heat maps of the first 1,000 images to this folder"
    )
    group.add_argument(
        "--part-size", metavar="N", type=_positive, help=f"rows of a part of the folder (default: {PART_SIZE:,})"
    )
    group.add_argument(
        "--shard",
        metavar="I/N",
        type=_shard,
        help="predict only every N-th part from the I-th on, while other processes predict the others: 1/2 and 2/2",
    )


def _add_decisions(parser: Parser) -> None:
    group = parser.add_argument_group("decisions")
    group.add_argument(
        "--decode",
        choices=DECODES,
        default=DEFAULT_DECODE,
        help="how the levels are made consistent: independent (each level by itself; they may contradict each other), "
        "marginal (the finest level, summed up to each parent), conditional (the default: P(class | parent) times "
        "P(parent), which stays calibrated), joint (the product of all levels, which is overconfident)",
    )
    group.add_argument(
        "--costs",
        metavar="tree|FILE",
        default="",
        help="choose the path of least expected cost instead of the likeliest. tree: a mistake costs its distance in "
        f"the tree. FILE: a table with the columns {', '.join(COST_COLUMNS)} has the costs for pairs of finest "
        "classes, named as in taxonomy.json; other pairs cost their distance",
    )
    group.add_argument(
        "--min-probability",
        metavar="P",
        type=float,
        help=f"add a column answer with the finest class whose probability is at least P, or {UNSURE!r}",
    )
    group.add_argument(
        "--precision",
        metavar="P",
        type=float,
        help="the same, with a threshold for each level at which this share of its answers was right on the run's "
        "validation split, such as 0.95",
    )


def _positive(text: str) -> int:
    if not re.fullmatch("0*[1-9][0-9]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def _shard(text: str) -> Shard:
    numbers = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    shard = Shard(*map(int, numbers.groups())) if numbers else Shard(0)
    if not 1 <= shard.number <= shard.total:
        raise argparse.ArgumentTypeError(f"{text!r} is no shard: the first of two is 1/2, the second 2/2")
    return shard


def _check_shared(flags: argparse.Namespace) -> None:
    """Checks that the flags name nothing that only a process by itself can do."""
    for name in ("shard", "explain"):
        if getattr(flags, name):
            raise UserError(f"--{name} is for a process by itself: leave it out, or leave --distributed out.")
    path = Path(flags.output)
    if not is_parts_folder(flags.output) and path.exists() and not path.is_file():
        raise UserError(
            f"--output is {flags.output!r}, which is no file, but with --distributed the parts of the table are kept "
            "beside it: name a file."
        )


def _check_output(flags: argparse.Namespace) -> None:
    """Checks the flags of the output, and that a file can be written."""
    path = Path(flags.output)
    if flags.explain and is_export(flags.workdir):
        raise UserError(f"--explain needs the weights of a run, but {flags.workdir} is an export: name the run.")
    if is_parts_folder(flags.output):
        if flags.explain:
            raise UserError("--explain numbers its pictures by the rows of one table: name a FILE for --output.")
        return
    if path.suffix.lower() not in TABLES:
        raise UserError(
            f"--output is {flags.output!r}, but its name must end in one of {', '.join(TABLES)}, or in a slash for a "
            "folder of parts."
        )
    check_output("--output", path)
    for name in ("shard", "part_size"):
        if getattr(flags, name):
            raise UserError(f"--{name.replace('_', '-')} is for a folder of parts: give --output DIR/.")
    for name in ("all_probabilities", "embeddings"):
        if getattr(flags, name) and path.suffix.lower() == ".csv":
            raise UserError(
                f"--{name.replace('_', '-')} needs cells that hold lists, which a CSV does not have: let --output end "
                "in .parquet, .jsonl or a slash."
            )


if __name__ == "__main__":
    sys.exit(main())

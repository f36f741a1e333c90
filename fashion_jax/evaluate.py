"""The metrics of trained runs: python -m fashion_jax.evaluate --workdir DIR [--workdir DIR2 ...]."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from fashion_jax.command_line import Overrides, Parser, check_has_checkpoint, parse_overrides, run_command
from fashion_jax.config import load_run_config
from fashion_jax.data.dataset import ALL, check_paths
from fashion_jax.errors import UserError

_COLUMNS = ("loss", "accuracy", "macro_f1", "auroc")


def main(arguments: list[str] | None = None) -> int:
    """Evaluates as the arguments say; returns the exit status."""
    return run_command(_evaluate, arguments)


def parse(arguments: list[str]) -> tuple[argparse.Namespace, Overrides]:
    """The flags, and the overrides of fields as pairs of field and text.

    Raises:
        UserError: a flag is unknown, missing, or lacks its value.
    """
    parser = Parser(
        prog="python -m fashion_jax.evaluate",
        usage="%(prog)s --workdir DIR [--workdir DIR2 ...] [--split NAME] [--config.FIELD=VALUE ...]",
        description="Prints loss, accuracy, macro-F1 and AUROC of trained runs, level by level.",
        epilog="The data are those of the run, or others by the same fields: --config.data.splits.validation=test.txt, "
        f"or --config.data.path=photos --config.data.csv=labels.csv --split {ALL}. Labels that the run does not know "
        "are not counted. Other ways to predict: --config.eval_flip=true, --config.rare_classes.post_hoc.sub=1.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--workdir", metavar="DIR", action="append", type=Path, help="of a run; give several to compare"
    )
    parser.add_argument(
        "--split", metavar="NAME", default="validation", help=f"of data.splits, or {ALL} for every row of the table"
    )
    parser.add_argument("--checkpoint", choices=("best", "latest"), default="best", help="which one (default: best)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the metrics there too")
    parser.add_argument("--verbose", action="store_true", help="show where an error comes from")
    flags, rest = parser.parse_known_args(arguments)
    overrides = parse_overrides(rest)
    if not flags.workdir:
        raise UserError("--workdir is missing: name the directory of a run, e.g. --workdir runs/mtl.")
    if flags.json and not flags.json.absolute().parent.is_dir():
        raise UserError(f"--json is {str(flags.json)!r}, but there is no such folder: make it, or name another.")
    return flags, overrides


def _evaluate(arguments: list[str]) -> None:
    flags, overrides = parse(arguments)
    configs = {workdir: load_run_config(workdir, overrides) for workdir in flags.workdir}
    for workdir, config in configs.items():
        check_has_checkpoint(workdir)
        check_paths(config, flags.split)
    rows = [_metrics(workdir, config, flags, overrides) for workdir, config in configs.items()]
    print(_table(rows))
    if flags.json:
        from fashion_jax.writers import write_atomically

        write_atomically(flags.json, json.dumps(rows, indent=1, ensure_ascii=False))


def _metrics(workdir: Path, config: Any, flags: argparse.Namespace, overrides: Overrides) -> dict[str, Any]:
    """What is known of one run: workdir, checkpoint's step, split, images, and LEVEL/METRIC -> value."""
    from fashion_jax.compilation_cache import enable_compilation_cache
    from fashion_jax.config import image_shape
    from fashion_jax.data.dataset import load_split
    from fashion_jax.data.pipeline import eval_batches, open_images
    from fashion_jax.evaluation import split_metrics
    from fashion_jax.hierarchy import UNKNOWN
    from fashion_jax.trained import load_trained, read_taxonomy

    enable_compilation_cache(config.data.cache_dir)
    split = load_split(config, read_taxonomy(workdir), flags.split)
    known = {level: int((labels != UNKNOWN).sum()) for level, labels in split.labels.items()}
    if not any(known.values()):
        raise UserError(f"No image of the split {flags.split!r} has a label that {workdir} knows: check data.levels.")
    trained = load_trained(workdir, flags.checkpoint, overrides)
    images = open_images(split, config, image_shape(config), trained.mesh)
    log_probs = trained.log_probs(eval_batches(split, images, trained.batch_size()), len(split))
    row: dict[str, Any] = {"workdir": str(workdir), "step": trained.step, "split": flags.split, "images": len(split)}
    row |= {f"{level}/known_labels": count for level, count in known.items()}
    return row | split_metrics(config, split, log_probs)


def _table(rows: list[dict[str, Any]]) -> str:
    """The rows, a line per run and level, in columns."""
    from fashion_jax.writers import printable

    lines = [("run", "step", "split", "level", "images", "loss", "accuracy", "macro-F1", "AUROC")]
    for row in rows:
        levels = [key.removesuffix("/known_labels") for key in row if key.endswith("/known_labels")]
        for level in levels:
            loss, accuracy, macro_f1, auroc = (row[f"{level}/{name}"] for name in _COLUMNS)
            scores = f"{loss:.4f}", f"{accuracy:.2%}", f"{macro_f1:.4f}", f"{auroc:.4f}"
            count = f"{row[f'{level}/known_labels']:,}"
            lines.append((row["workdir"], str(row["step"]), row["split"], level, count, *scores))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return printable("\n".join(text))


if __name__ == "__main__":
    sys.exit(main())

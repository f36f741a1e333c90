"""The classes of new images: python -m fashion_jax.predict --workdir DIR --input PATH... --output FILE."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fashion_jax.command_line import Overrides, Parser, check_has_checkpoint, parse_overrides, run_command
from fashion_jax.config import load_run_config
from fashion_jax.errors import UserError

if TYPE_CHECKING:
    from fashion_jax.trained import Trained

_SUFFIXES = (".csv", ".jsonl", ".parquet")


class Input(NamedTuple):
    """A row to come: what the user calls it, the file, and why there is none where that is known already."""

    name: str
    file: str
    error: str = ""


def main(arguments: list[str] | None = None) -> int:
    """Predicts as the arguments say; returns the exit status."""
    return run_command(_predict, arguments)


def parse(arguments: list[str]) -> tuple[argparse.Namespace, Overrides]:
    """The flags, and the overrides of fields as pairs of field and text.

    Raises:
        UserError: a flag is unknown, missing, or has a wrong value.
    """
    parser = Parser(
        prog="python -m fashion_jax.predict",
        usage="%(prog)s --workdir DIR --input PATH [PATH ...] --output FILE [--checkpoint best|latest] "
        "[--config.FIELD=VALUE ...]",
        description="Writes the class and its probability at every level, one row per input, whatever it is.",
        epilog="A file that has no prediction has the reason in the column error. Other ways to predict: "
        "--config.eval_flip=true, --config.rare_classes.post_hoc.sub=1.",
        allow_abbrev=False,
    )
    parser.add_argument("--workdir", metavar="DIR", type=Path, help="of a run")
    parser.add_argument(
        "--input", metavar="PATH", nargs="+", action="extend", help="images, folders (with all below them), and zips"
    )
    parser.add_argument("--output", metavar="FILE", type=Path, help=f"a table: its name ends in {', '.join(_SUFFIXES)}")
    parser.add_argument("--checkpoint", choices=("best", "latest"), default="best", help="which one (default: best)")
    parser.add_argument("--batch-size", metavar="N", type=int, help="images at a time (default: the run's)")
    parser.add_argument("--verbose", action="store_true", help="show where an error comes from")
    flags, rest = parser.parse_known_args(arguments)
    overrides = parse_overrides(rest)
    for name, example in (("workdir", "runs/mtl"), ("input", "photos"), ("output", "predictions.csv")):
        if not getattr(flags, name):
            raise UserError(f"--{name} is missing: give it, e.g. --{name} {example}.")
    if flags.batch_size is not None and flags.batch_size < 1:
        raise UserError(f"--batch-size is {flags.batch_size}, but must be at least 1.")
    _check_output(flags.output)
    return flags, overrides


def _check_output(output: Path) -> None:
    if output.suffix.lower() not in _SUFFIXES:
        raise UserError(f"--output is {str(output)!r}, but its name must end in one of {', '.join(_SUFFIXES)}.")
    if output.is_dir() or not os.access(output.absolute().parent, os.W_OK):
        raise UserError(f"--output is {str(output)!r}, which cannot be written: name a file in a folder that is there.")


def _predict(arguments: list[str]) -> None:
    flags, overrides = parse(arguments)
    config = load_run_config(flags.workdir, overrides)
    check_has_checkpoint(flags.workdir)
    inputs = list(_inputs(flags.input, config.data.cache_dir))
    if not inputs:
        raise UserError(f"--input is {' '.join(flags.input)}, where there are no files: name images or their folder.")
    from fashion_jax.compilation_cache import enable_compilation_cache
    from fashion_jax.trained import load_trained

    enable_compilation_cache(config.data.cache_dir)
    trained = load_trained(flags.workdir, flags.checkpoint, overrides)
    began = time.monotonic()
    rows = _rows(trained, inputs, trained.batch_size(flags.batch_size))
    seconds = time.monotonic() - began
    _write(flags.output, _columns(trained.taxonomy.levels), rows)
    _say(flags.output, rows, seconds)


def _inputs(paths: Sequence[str], cache_dir: str) -> Iterator[Input]:
    """Every file that the paths name, folders and zips opened, in the order of the paths and then by name."""
    for path in paths:
        if os.path.isdir(path):
            yield from _inside(path, path)
        elif os.path.splitext(path)[1].lower() == ".zip" and os.path.isfile(path):
            yield from _zipped(path, cache_dir)
        else:
            yield Input(path, path)


def _inside(name: str, folder: str) -> Iterator[Input]:
    """The files in a folder and below it."""
    from fashion_jax.data.walk import READ_ANYWAY, walk

    for path, error in walk(folder):
        if error != READ_ANYWAY:
            yield Input(os.path.join(name, path) if path else name, os.path.join(folder, path), error)


def _zipped(path: str, cache_dir: str) -> Iterator[Input]:
    from fashion_jax.data.archive import extracted_whole
    from fashion_jax.data.cache import cache_root

    try:
        folder = extracted_whole(Path(path), cache_root(cache_dir))
    except UserError as error:
        yield Input(path, path, str(error))
        return
    yield from _inside(path, str(folder))


def _columns(levels: Sequence[str]) -> list[str]:
    return ["path", *(column for level in levels for column in (level, f"{level}_probability")), "error"]


def _rows(trained: Trained, inputs: Sequence[Input], batch_size: int) -> list[list[Any]]:
    """A row of _columns per input, in order; None where there is no prediction."""
    levels = trained.taxonomy.levels
    readable = [i for i, item in enumerate(inputs) if not item.error]
    good, errors, log_probs = _log_probs(trained, [inputs[i].file for i in readable], batch_size)
    rows = [[item.name, *[None] * (2 * len(levels)), item.error] for item in inputs]
    for i, error in errors.items():
        rows[readable[i]][-1] = error
    for place, level in enumerate(levels):
        best = log_probs[level].argmax(axis=-1)
        for i, k, values in zip(good, best, log_probs[level], strict=True):
            row = rows[readable[i]]
            row[1 + 2 * place], row[2 + 2 * place] = trained.taxonomy.classes[level][k], _probability(values[k])
    return rows


def _probability(log_prob: Any) -> float:
    import numpy as np

    return float(np.exp(np.float64(log_prob)))


def _log_probs(
    trained: Trained, files: Sequence[str], batch_size: int
) -> tuple[list[int], dict[int, str], dict[str, Any]]:
    """The indices of the files that can be decoded, the errors of the others, and the former's log-probabilities."""
    from fashion_jax.config import image_shape
    from fashion_jax.data.pipeline import decode_files

    good: list[int] = []
    errors: dict[int, str] = {}

    def batches() -> Iterator[dict[str, Any]]:
        for indices, pixels, failed in decode_files(files, trained.config, image_shape(trained.config), batch_size):
            errors.update(failed)
            if len(indices) or not good:
                good.extend(indices.tolist())
                yield {"image": pixels}

    log_probs = trained.log_probs(batches(), len(files))
    return good, errors, {level: values[: len(good)] for level, values in log_probs.items()}


def _write(path: Path, columns: Sequence[str], rows: list[list[Any]]) -> None:
    """The table, in the format that the path's suffix names; the file is replaced whole."""
    from fashion_jax.report.drawing import encodable, replacing
    from fashion_jax.report.tables import write_csv

    if path.suffix.lower() == ".csv":
        write_csv(path, columns, rows)
        return
    rows = [[encodable(value) if isinstance(value, str) else value for value in row] for row in rows]
    with replacing(path) as temporary:
        if path.suffix.lower() == ".jsonl":
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                for row in rows:
                    record = dict(zip(columns, row, strict=True))
                    file.write(json.dumps(record, ensure_ascii=False) + "\n")
        else:
            _write_parquet(temporary, columns, rows)


def _write_parquet(path: Path, columns: Sequence[str], rows: list[list[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = [pa.float64() if column.endswith("_probability") else pa.string() for column in columns]
    values = [[row[place] for row in rows] for place in range(len(columns))]
    table = pa.table([pa.array(v, kind) for v, kind in zip(values, kinds, strict=True)], names=list(columns))
    pq.write_table(table, path)


def _say(path: Path, rows: list[list[Any]], seconds: float) -> None:
    from fashion_jax.writers import printable

    failed = sum(bool(row[-1]) for row in rows)
    without = f"; {failed:,} without, see the column error" if failed else ""
    done = len(rows) - failed
    print(printable(f"{path}: {done:,} predictions{without}. {done / max(seconds, 1e-9):.0f} images/s."))


if __name__ == "__main__":
    sys.exit(main())

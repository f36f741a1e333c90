"""Exports a trained run for other runtimes: python -m fashion_jax.export --workdir DIR --output DIR --format FORMAT."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fashion_jax.command_line import Overrides, Parser, program, run_command
from fashion_jax.config.loading import load_run_config
from fashion_jax.errors import UserError
from fashion_jax.serving.exports.engines import check_installed
from fashion_jax.serving.exports.folder import COMPARED_IMAGES, MODELS, check_replaceable
from fashion_jax.workdir.files import check_has_checkpoint
from fashion_jax.workdir.paths import config_path


def main(arguments: list[str] | None = None) -> int:
    """Exports as the arguments say; returns the exit status."""
    return run_command(_export, arguments)


def parse(arguments: list[str]) -> tuple[argparse.Namespace, Overrides]:
    """Returns the flags, and the overrides of fields as pairs of field and text.

    Raises:
        UserError: a flag is unknown, missing, or has a wrong value.
    """
    flags, overrides = _create_parser().parse(arguments)
    for name, example in (("workdir", "runs/mtl"), ("output", "exports/mtl"), ("format", "onnx")):
        if not getattr(flags, name):
            raise UserError(f"--{name} is missing: give it, e.g. --{name} {example}.")
    if flags.int8 and flags.format != "tflite":
        raise UserError(f"--int8 is for --format tflite, but --format is {flags.format}: leave it out.")
    return flags, overrides


def _create_parser() -> Parser:
    parser = Parser(
        prog=program("fashion_jax.export"),
        usage="%(prog)s --workdir DIR --output DIR --format FORMAT [--int8] [--checkpoint best|latest] "
        "[--images PATH ...] [--config.FIELD=VALUE ...]",
        description="Writes a folder with the model of a run, which answers as the run does: normalisation, "
        "temperatures and decoding are inside. Before it is done, the export is loaded again and compared with the run "
        f"on {COMPARED_IMAGES:,} images.",
        epilog="The images are those of the run's validation split (name its data by --config.data.path=... if it has "
        "moved); what is missing is taken from --images, and then generated. Other ways to predict: "
        "--config.eval_flip=true, --config.rare_classes.post_hoc.sub=1.",
        allow_abbrev=False,
    )
    parser.add_argument("--workdir", metavar="DIR", type=Path, help="of a run")
    parser.add_argument("--output", metavar="DIR", type=Path, help="a new folder, or an earlier export to replace")
    parser.add_argument(
        "--format",
        choices=MODELS,
        help="stablehlo (for JAX on CPU, GPU and TPU), onnx (for ONNX Runtime, browsers included), savedmodel (for "
        "TensorFlow and TensorFlow Serving) or tflite (for LiteRT on phones)",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="with tflite: compute in 8-bit integers, whose ranges are those of validation images, and measure what "
        "that costs in accuracy",
    )
    parser.add_argument("--checkpoint", choices=("best", "latest"), default="best", help="which one (default: best)")
    parser.add_argument(
        "--images", metavar="PATH", nargs="+", action="extend", default=[], help="more images to compare on"
    )
    parser.add_argument("--verbose", action="store_true", help="show where an error comes from")
    return parser


def _export(arguments: list[str]) -> None:
    flags, overrides = parse(arguments)
    load_run_config(config_path(flags.workdir), overrides)  # what is wrong is told before libraries are imported
    check_has_checkpoint(flags.workdir)
    check_replaceable(flags.output)
    check_installed(flags.format, to_write=True)

    from fashion_jax.serving.exports.making import export_run

    export_run(flags, overrides)


if __name__ == "__main__":
    sys.exit(main())

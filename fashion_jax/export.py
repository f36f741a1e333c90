"""Exports a trained run for other runtimes: python -m fashion_jax.export --workdir DIR --output DIR --format FORMAT."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fashion_jax.command_line import Overrides, Parser, program, run_command
from fashion_jax.config.loading import load_run_config, ways_to_predict
from fashion_jax.errors import UserError
from fashion_jax.serving.exports.engines import check_installed
from fashion_jax.serving.exports.folder import MODELS, check_replaceable
from fashion_jax.terminal import Terminal, doing
from fashion_jax.workdir.files import check_has_checkpoint
from fashion_jax.workdir.paths import config_path

if TYPE_CHECKING:
    from fashion_jax.serving.exports.check_images import CheckImages

IMAGES = 1000  # that an export is compared on


def main(arguments: list[str] | None = None) -> int:
    """Exports as the arguments say; returns the exit status."""
    return run_command(_export, arguments)


def parse(arguments: list[str]) -> tuple[argparse.Namespace, Overrides]:
    """Returns the flags, and the overrides of fields as pairs of field and text.

    Raises:
        UserError: a flag is unknown, missing, or has a wrong value.
    """
    parser = Parser(
        prog=program("fashion_jax.export"),
        usage="%(prog)s --workdir DIR --output DIR --format FORMAT [--int8] [--checkpoint best|latest] "
        "[--images PATH ...] [--config.FIELD=VALUE ...]",
        description="Writes a folder with the model of a run, which answers as the run does: normalisation, "
        "temperatures and decoding are inside. Before it is done, the export is loaded again and compared with the run "
        f"on {IMAGES:,} images.",
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
    flags, overrides = parser.parse(arguments)
    for name, example in (("workdir", "runs/mtl"), ("output", "exports/mtl"), ("format", "onnx")):
        if not getattr(flags, name):
            raise UserError(f"--{name} is missing: give it, e.g. --{name} {example}.")
    if flags.int8 and flags.format != "tflite":
        raise UserError(f"--int8 is for --format tflite, but --format is {flags.format}: leave it out.")
    return flags, overrides


def _export(arguments: list[str]) -> None:
    flags, overrides = parse(arguments)
    path = config_path(flags.workdir)
    config, otherwise = load_run_config(path, overrides), ways_to_predict(path, overrides)
    check_has_checkpoint(flags.workdir)
    check_replaceable(flags.output)
    check_installed(flags.format, to_write=True)

    from fashion_jax.config.loading import image_shape
    from fashion_jax.data.batches.pipeline import canvas_shape
    from fashion_jax.devices.compilation_cache import enable_compilation_cache
    from fashion_jax.serving.exports.check_images import find_check_images
    from fashion_jax.serving.exports.making import Plan, make_export
    from fashion_jax.workdir.calibration_file import read_calibration
    from fashion_jax.workdir.files import read_taxonomy
    from fashion_jax.workdir.trained import load_trained

    enable_compilation_cache(config.data.cache_dir)
    taxonomy = read_taxonomy(flags.workdir)
    calibration = read_calibration(flags.workdir, taxonomy)
    canvas = canvas_shape(config, image_shape(config))
    images = find_check_images(config, taxonomy, canvas, IMAGES, flags.images)
    if flags.int8:
        _check_calibration_images(images)
    with doing("Loading the model"):
        trained = load_trained(flags.workdir, flags.checkpoint, overrides)
    plan = Plan(trained, calibration, otherwise, flags.format, flags.int8, images)
    say = Terminal().say
    for sentence in make_export(plan, flags.output):
        say(sentence)
    size = sum(x.stat().st_size for x in flags.output.rglob("*") if x.is_file())
    say(f"{flags.output}: {flags.format}, {size / 1e6:,.1f} MB. card.md says how to use it.")


def _check_calibration_images(images: CheckImages) -> None:
    """Raises a UserError if no image of the validation split is there to take the ranges of 8-bit integers from."""
    if not len(images.validation):
        raise UserError(
            "--int8 takes its ranges from images of the run's validation split: name them by --config.data.path=..., "
            f"or leave --int8 out. {images.why_not}"
        )


if __name__ == "__main__":
    sys.exit(main())

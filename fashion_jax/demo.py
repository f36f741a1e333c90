"""Serves a page on which people try a model: python -m fashion_jax.demo --workdir DIR."""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fashion_jax.command_line import Overrides, Parser, program, run_command
from fashion_jax.command_line.formats import printable
from fashion_jax.command_line.output_files import folder_of_flag
from fashion_jax.config.loading import named_cache_dir
from fashion_jax.errors import UserError, how_to_install
from fashion_jax.serving.demo.description import BEST, MIN_PROBABILITY, describe
from fashion_jax.serving.exports.engines import check_installed
from fashion_jax.serving.exports.folder import is_export
from fashion_jax.terminal import doing

if TYPE_CHECKING:
    from fashion_jax.serving.classifier import Classifier

_LIBRARIES = ("fastapi", "uvicorn", "python_multipart")

_BATCH_SIZE = 8  # images computed at a time: the page sends so many, and each size is compiled by itself


def main(arguments: list[str] | None = None) -> int:
    """Serves as the arguments say until Ctrl-C, or writes the static page; returns the exit status."""
    return run_command(_demo, arguments)


def parse(arguments: list[str]) -> tuple[argparse.Namespace, Overrides]:
    """Returns the flags, and the overrides of fields as pairs of field and text.

    Raises:
        UserError: a flag is unknown, missing, or has a wrong value.
    """
    flags, overrides = _create_parser().parse(arguments)
    _check(flags)
    return flags, overrides


def _create_parser() -> Parser:
    parser = Parser(
        prog=program("fashion_jax.demo"),
        usage="%(prog)s --workdir DIR [--host ADDRESS] [--port N] [--checkpoint best|latest] "
        "[--min-probability P | --precision P] "
        "[--static DIR --runtime DIR] [--config.FIELD=VALUE ...]",
        description="Serves a page on which images are dropped, pasted or photographed, and a JSON API, described at "
        "/docs. Nothing of an upload is written to disk.",
        epilog="With --static it writes the page instead, for any web server: it then classifies in the browser. Other "
        "ways to predict: --config.eval_flip=false.",
        allow_abbrev=False,
    )
    parser.add_argument("--workdir", metavar="DIR", type=Path, help="of a run, or the folder of an export")
    parser.add_argument(
        "--host", metavar="ADDRESS", default="127.0.0.1", help="to listen at (default: 127.0.0.1, this computer only)"
    )
    parser.add_argument("--port", metavar="N", type=int, default=8000, help="(default: 8000; 0: any that is free)")
    parser.add_argument("--checkpoint", choices=("best", "latest"), default="best", help="of a run (default: best)")
    parser.add_argument(
        "--min-probability",
        metavar="P",
        type=float,
        help=f"the lowest probability of a class that is called sure (default: {MIN_PROBABILITY})",
    )
    parser.add_argument(
        "--precision",
        metavar="P",
        type=float,
        help="instead, a threshold for each level with which this share of its sure classes is right on the run's "
        "validation split",
    )
    parser.add_argument("--static", metavar="DIR", type=Path, help="write the page there, with the model as ONNX")
    parser.add_argument(
        "--runtime", metavar="DIR", type=Path, help="of onnxruntime-web, the unpacked npm package, which --static needs"
    )
    parser.add_argument("--verbose", action="store_true", help="show where an error comes from")
    return parser


def _check(flags: argparse.Namespace) -> None:
    if not flags.workdir:
        raise UserError("--workdir is missing: give it, e.g. --workdir runs/mtl.")
    if not 0 <= flags.port <= 65535:
        raise UserError(f"--port is {flags.port}, but must be from 0 to 65535.")
    for name in ("min_probability", "precision"):
        value, flag = getattr(flags, name), "--" + name.replace("_", "-")
        if value is not None and not 0 < value <= 1:
            raise UserError(f"{flag} is {value}, but must be above 0 and at most 1.")
    if flags.min_probability is not None and flags.precision is not None:
        raise UserError("--min-probability and --precision both say what is sure: give one of them.")
    if flags.static and not flags.runtime:
        raise UserError(
            "--static needs --runtime, the folder of onnxruntime-web: get it with 'npm pack onnxruntime-web' and "
            "'tar xf onnxruntime-web-*.tgz', and give --runtime package."
        )
    if flags.runtime and not flags.static:
        raise UserError(f"--runtime is {str(flags.runtime)!r}, which only --static needs: leave it out.")


def _demo(arguments: list[str]) -> None:
    flags, overrides = parse(arguments)
    if flags.static:
        _write_static(flags, overrides)
    else:
        _serve(flags, overrides)


def _serve(flags: argparse.Namespace, overrides: Overrides) -> None:
    for library in _LIBRARIES:
        if importlib.util.find_spec(library) is None:
            raise UserError(f"The demo needs {library}, which is not installed: {how_to_install('demo')}.")
    from fashion_jax.serving.demo.server import bind, create_app, serve

    with bind(flags.host, flags.port) as bound:
        with doing("Loading the model"):
            classifier = _load(flags, overrides)
            _warm_up(classifier)
        heat_maps = _heat_maps(classifier)
        model = _description(flags, classifier, has_heat_maps=heat_maps is not None)
        app = create_app(classifier, model, explain=heat_maps, host=flags.host, port=bound.getsockname()[1])
        with contextlib.suppress(KeyboardInterrupt):
            serve(app, bound, _say)


def _load(flags: argparse.Namespace, overrides: Overrides) -> Classifier:
    from fashion_jax.serving.loading import load

    given = flags.min_probability, flags.precision
    return load(
        flags.workdir,
        checkpoint=flags.checkpoint,
        batch_size=_BATCH_SIZE,
        min_probability=MIN_PROBABILITY if given == (None, None) else flags.min_probability,
        precision=flags.precision,
        top_k=BEST,
        overrides=overrides,
    )


def _warm_up(classifier: Classifier) -> None:
    """Compiles for the two numbers of images that the page sends at a time."""
    import numpy as np

    canvas = np.zeros((*classifier.engine.canvas, 3), np.uint8)
    for count in (1, _BATCH_SIZE):
        classifier.predict([canvas] * count)


def _is_export(classifier: Classifier) -> bool:
    return classifier.engine.decode is not None


def _heat_maps(classifier: Classifier) -> Any:
    """Returns the function that draws heat maps; None for an export, which needs no jax then."""
    if _is_export(classifier):
        return None
    from fashion_jax.serving.demo.heat_maps import HeatMaps
    from fashion_jax.serving.engine import RunEngine

    assert isinstance(classifier.engine, RunEngine)
    return HeatMaps(classifier.engine.trained).draw


def _description(flags: argparse.Namespace, classifier: Classifier, *, has_heat_maps: bool) -> dict[str, Any]:
    engine = classifier.engine
    assert classifier.decider.abstention is not None  # _load names a threshold
    return describe(
        flags.workdir.resolve().name,
        engine.taxonomy,
        engine.canvas,
        engine.resize,
        classifier.decider.abstention.thresholds,
        has_heat_maps=has_heat_maps,
        is_calibrated=_is_calibrated(classifier),
    )


def _is_calibrated(classifier: Classifier) -> bool | None:
    """Returns whether the probabilities are calibrated; None for an export that does not deny it, as early ones."""
    from fashion_jax.serving.exports.engines import ExportEngine

    engine = classifier.engine
    if isinstance(engine, ExportEngine):
        return None if engine.export.calibrated else False
    return bool(engine.temperatures)


def _say(url: str) -> None:
    print(f"The demo is at {printable(url)} (the API: {printable(url)}/docs). Ctrl-C ends it.", flush=True)


def _write_static(flags: argparse.Namespace, overrides: Overrides) -> None:
    from fashion_jax.serving.demo.static_page import check_static_folder, find_runtime, write_static_page

    check_installed("onnx", to_write=not is_export(flags.workdir))  # an export's model is copied
    check_static_folder(flags.static)
    runtime = find_runtime(flags.runtime)
    with folder_of_flag("--static", Path(os.path.realpath(flags.static)).parent, named=flags.static):
        with doing("Loading the model"):
            classifier = _load(flags, overrides)
        from fashion_jax.serving.demo.static_model import check_can_be_onnx, write_static_model

        check_can_be_onnx(classifier, flags.workdir)
        model = _description(flags, classifier, has_heat_maps=False)
        cache_dir = named_cache_dir(overrides)
        write_model = functools.partial(write_static_model, classifier, flags.workdir, cache_dir=cache_dir)
        with doing("Writing the page"):
            write_static_page(flags.static, runtime, model, write_model)
    print(
        f"The page is in {printable(str(flags.static))}: put it on any web server, or try it with "
        f"python -m http.server --bind 127.0.0.1 --directory {printable(str(flags.static))}"
    )


if __name__ == "__main__":
    sys.exit(main())

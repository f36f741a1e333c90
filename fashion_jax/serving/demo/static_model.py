"""Writes the model of the static page as ONNX, and compares it with the classifier before it is called done."""

from __future__ import annotations

import shutil
from pathlib import Path

import jax
import numpy as np

from fashion_jax.data.catalogue.generator import catalogue_folder
from fashion_jax.errors import RunError, UserError
from fashion_jax.serving.classifier import Classifier
from fashion_jax.serving.engine import RunEngine
from fashion_jax.serving.exports import onnx_file
from fashion_jax.serving.exports.graph import probabilities_name
from fashion_jax.serving.exports.making import in_float32
from fashion_jax.serving.exports.network import build_network
from fashion_jax.serving.images import to_canvas

_IMAGES = 64  # generated ones, on which the model is compared

_MOST_DIFFERENCE = 1e-4  # of a probability


def check_can_be_onnx(classifier: Classifier, workdir: Path) -> None:
    """Checks that a classifier is a run or an export as ONNX; raises UserError otherwise."""
    if not isinstance(classifier.engine, RunEngine) and not (workdir / onnx_file.MODEL_FILE).is_file():
        raise UserError(
            f"--workdir is {str(workdir)!r}, an export that is not ONNX, which alone runs in a browser: give the run, "
            "or its export with --format onnx."
        )


def write_static_model(classifier: Classifier, workdir: Path, folder: Path, cache_dir: str = "") -> None:
    """Writes model.onnx into a folder.

    Args:
        classifier: loaded from `workdir`.
        workdir: of a run, which is exported, or the folder of an export as ONNX, whose model is copied.
        folder: exists.
        cache_dir: where images to compare the two are generated, as data.cache_dir; "" for the default.

    Raises:
        RunError: the model does not answer as the classifier does in float32.
    """
    engine = classifier.engine
    if isinstance(engine, RunEngine):
        onnx_file.write(build_network(engine.trained, engine.temperatures), folder)
    else:
        shutil.copyfile(workdir / onnx_file.MODEL_FILE, folder / onnx_file.MODEL_FILE)
    _compare(classifier, folder, cache_dir)


def _compare(classifier: Classifier, folder: Path, cache_dir: str) -> None:
    engine = classifier.engine
    files = sorted((catalogue_folder(cache_dir, _IMAGES, 0, 0.0) / "images").iterdir())[:_IMAGES]
    canvases = np.stack([to_canvas(file, engine.canvas, engine.resize) for file in files])
    found = onnx_file.read(folder)(canvases)
    with jax.default_matmul_precision("highest"):  # otherwise GPUs and TPUs compute in less than float32
        expected = _in_float32(classifier).probabilities(canvases)
    worst = max(float(np.abs(found[probabilities_name(level)] - x).max()) for level, x in expected.items())
    if not worst <= _MOST_DIFFERENCE:
        raise RunError(
            f"The model as ONNX does not answer as the run does: a probability differs by {worst:.2g}, more than "
            f"{_MOST_DIFFERENCE:g}. Nothing was written; please report it, with the run's config.json."
        )


def _in_float32(classifier: Classifier) -> Classifier:
    """Returns a classifier that computes in float32, as the model as ONNX does, whatever the dtype of the run."""
    engine = classifier.engine
    if not isinstance(engine, RunEngine):
        return classifier
    engine = RunEngine(in_float32(engine.trained), engine.batch_size, engine.temperatures)
    return Classifier(engine, classifier.decider, batch_size=classifier.batch_size)

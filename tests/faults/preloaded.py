"""Imports what every command imports, for the process that the faults' commands are forked from."""

from pathlib import Path

import matplotlib.figure
import matplotlib.pyplot
import pyarrow.parquet  # noqa: F401
import pytest
import sklearn.metrics  # noqa: F401
import tensorflow  # noqa: F401
from PIL import Image

import fashion_jax.evaluate
import fashion_jax.predict
import fashion_jax.report.folder
import fashion_jax.scoring.assessment
import fashion_jax.training.train
import fashion_jax.workdir.trained  # noqa: F401
from tests.small_trunks import shrink_resnet10


def _save_blank(figure: matplotlib.figure.Figure, path: Path, format: str) -> None:
    """Writes one white pixel: drawing takes a third of the time of so small a run, and no fault is about drawing."""
    Image.new("RGB", (1, 1), "white").save(path, format)


shrink_resnet10(pytest.MonkeyPatch())
matplotlib.figure.Figure.savefig = _save_blank

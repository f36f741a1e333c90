"""Imports what every command imports, for the process that the faults' commands are forked from."""

import matplotlib.pyplot  # noqa: F401
import pyarrow.parquet  # noqa: F401
import pytest
import sklearn.metrics  # noqa: F401
import tensorflow  # noqa: F401

import fashion_jax.evaluate
import fashion_jax.predict
import fashion_jax.report.folder
import fashion_jax.scoring.assessment
import fashion_jax.training.train
import fashion_jax.workdir.trained  # noqa: F401
from tests.small_trunks import shrink_resnet10

shrink_resnet10(pytest.MonkeyPatch())

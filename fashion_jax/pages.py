"""The pages of the evaluate command: of one run what it says of a split, of several a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fashion_jax.data.dataset import Split
from fashion_jax.explanations import create_grad_cam, overlay
from fashion_jax.report.comparison import write_comparison
from fashion_jax.report.contents import PageContents, read_contents
from fashion_jax.report.folder import write_folder
from fashion_jax.report.heat import explainer
from fashion_jax.trained import Trained


def evaluated_contents(
    trained: Trained,
    config: ConfigDict,
    split: Split,
    log_probs: Mapping[str, np.ndarray],
    row: Mapping[str, Any],
    **known: Any,
) -> PageContents:
    """What a page says of a run and a split, with heat maps of the images that it shows.

    Args:
        trained: of the run.
        config: of the run, with what was overridden.
        split: that was measured.
        log_probs: level -> [images, classes].
        row: what evaluate knows of them: split, assessment, note, parameters, flops_per_image, images_per_second.
        known: temperatures, command and thresholds of PageContents.
    """
    return read_contents(
        trained.workdir,
        config=config,
        taxonomy=trained.taxonomy,
        step=trained.step,
        split_name=row["split"],
        split=split,
        log_probs=log_probs,
        assessment=row["assessment"],
        explain=explainer(create_grad_cam(trained), overlay, split, config),
        cost={name: row[name] for name in ("parameters", "flops_per_image", "images_per_second")},
        note=row["note"],
        **known,
    )


def write_pages(directory: Path, runs: Sequence[PageContents]) -> Path:
    """Writes the page of a run with its figures and tables, or the page that compares several; returns its path."""
    page = directory / "index.html"
    if len(runs) == 1:
        write_folder(directory, runs[0])
    else:
        write_comparison(page, runs)
    return page

"""Writes the report page: one self-contained HTML file, with what a newcomer wants to know about a run first."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fashion_jax.report.contents import PageContents
from fashion_jax.report.rendering import Section, write_html
from fashion_jax.report.sections import data as data_section
from fashion_jax.report.sections import galleries
from fashion_jax.report.sections import run as run_section
from fashion_jax.report.sections.augmentation import augmentation
from fashion_jax.report.sections.calibration import calibration
from fashion_jax.report.sections.classes import classes
from fashion_jax.report.sections.confusion import confusions
from fashion_jax.report.sections.curves import curves
from fashion_jax.report.sections.findings import findings
from fashion_jax.report.sections.scores import header, results
from fashion_jax.report.sections.training_images import images
from fashion_jax.report.sections.verdict import grades, verdict
from fashion_jax.report.thumbnails import data_uri

SECTIONS = (
    Section("verdict", "Verdict", verdict),
    Section("results", "Results", results),
    Section("confusions", "Confusions", confusions),
    Section("classes", "Classes", classes),
    Section("galleries", "Images to check", galleries.galleries),
    Section("calibration", "Calibration", calibration),
    Section("curves", "Training", curves),
    Section("data", "Data", data_section.data),
    Section("images", "Training images", images),
    Section("augmentation", "Augmented images", augmentation),
    Section("run", "Run", run_section.run),
)


def write_page(path: Path, contents: PageContents) -> None:
    """Writes the page of a run and a split; it needs no network and no other file, and runs no script but its own."""
    contents.album.clear()
    described = [(section, section.describe(contents)) for section in SECTIONS]
    _embed(contents)
    write_html(
        path,
        "index.html",
        name=contents.name,
        split=contents.split_name,
        header=header(contents),
        grades=grades(contents),
        findings=findings(contents),
        sections=[(section, data) for section, data in described if data is not None],
        album=contents.album,
    )


def _embed(contents: PageContents) -> None:
    """Embeds the images that the sections show, and their heat maps, which are computed at once."""
    album, splits = contents.album, {contents.split_name: contents.split}
    album.embed(splits if contents.train is None else {**splits, "train": contents.train})
    shown = [key for key in album.explained() if key in album.pictures]
    if contents.explain is None or not shown:
        return
    rows = [row for _, row in shown]
    classes = {level: np.argmax(x[rows], axis=1) for level, x in contents.log_probs.items()}
    maps = contents.explain(rows, classes)[contents.taxonomy.levels[-1]]
    album.heat_maps = {key: data_uri(image) for key, image in zip(shown, maps, strict=True) if image is not None}

"""The report page: one self-contained HTML file, with what a newcomer wants to know of a run first."""

from __future__ import annotations

from pathlib import Path

from fashion_jax.report import data_section, galleries, sections
from fashion_jax.report.augmentation import augmentation
from fashion_jax.report.calibration import calibration
from fashion_jax.report.classes import classes
from fashion_jax.report.confusions import confusions
from fashion_jax.report.contents import PageContents
from fashion_jax.report.findings import findings
from fashion_jax.report.rendering import Section, write_html
from fashion_jax.report.results import header, results

SECTIONS = (
    Section("results", "Results", results),
    Section("confusions", "Confusions", confusions),
    Section("classes", "Classes", classes),
    Section("galleries", "Images to look at", galleries.galleries),
    Section("calibration", "How sure it is", calibration),
    Section("curves", "Training", sections.curves),
    Section("data", "Data", data_section.data),
    Section("images", "Training images", sections.images),
    Section("augmentation", "What the network is shown", augmentation),
    Section("run", "Run", sections.run),
)


def write_page(path: Path, contents: PageContents) -> None:
    """Writes the page of a run and a split; it needs no network and no other file, and runs no script but its own."""
    described = [(section, section.describe(contents)) for section in SECTIONS]
    write_html(
        path,
        "index.html",
        name=contents.name,
        split=contents.split_name,
        header=header(contents),
        findings=findings(contents),
        sections=[(section, data) for section, data in described if data is not None],
    )

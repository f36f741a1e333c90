"""The report page: one self-contained HTML file, with what a newcomer wants to know of a run first."""

from __future__ import annotations

import base64
import hashlib
import math
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fashion_jax.report import sections
from fashion_jax.report.augmentation import augmentation
from fashion_jax.report.contents import PageContents
from fashion_jax.report.drawing import encodable, replacing

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"
_MAX_NAME = 80  # characters


class Section(NamedTuple):
    """A part of the page: templates/NAME.html shows what `describe` makes of a run."""

    name: str
    title: str
    describe: Callable[[PageContents], dict[str, Any]]


SECTIONS = (
    Section("curves", "Curves", sections.curves),
    Section("confusions", "Confusions", sections.confusions),
    Section("classes", "Classes", sections.classes),
    Section("images", "Training images", sections.images),
    Section("augmentation", "What the network is shown", augmentation),
    Section("errors", "Worst errors", sections.errors),
    Section("data", "Data", sections.data),
    Section("run", "Run", sections.run),
)


def write_page(path: Path, contents: PageContents) -> None:
    """Writes the page of a run; it needs no network and no other file, and runs no script but its own."""
    style, script = (_TEMPLATES / "style.css").read_text("utf-8"), (_TEMPLATES / "script.js").read_text("utf-8")
    page = (
        _environment()
        .get_template("index.html")
        .render(
            name=contents.name,
            header=sections.header(contents),
            sections=[(section, section.describe(contents)) for section in SECTIONS],
            style=style,
            script=script,
            policy=_policy(style, script),
        )
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


def _environment() -> Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"text": text, "percent": percent, "decimal": decimal, "count": "{:,}".format}
    return environment


def _policy(style: str, script: str) -> str:
    """A Content-Security-Policy: this style and this script, pictures inside the page, and nothing else."""
    hashes = {kind: f"'sha256-{_digest(body)}'" for kind, body in (("style", style), ("script", script))}
    allowed = f"style-src {hashes['style']}; script-src {hashes['script']}; img-src data:"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _digest(body: str) -> str:
    return base64.b64encode(hashlib.sha256(body.encode("utf-8")).digest()).decode("ascii")


def text(value: Any, max_characters: int = _MAX_NAME) -> str:
    """A name from users' data without control characters, the middle left out where it is too long."""
    name = "".join(" " if unicodedata.category(c) == "Cc" else c for c in encodable(str(value)))
    tail = max_characters // 3
    return name if len(name) <= max_characters else f"{name[: max_characters - tail - 1]}…{name[-tail:]}"


def percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None or math.isnan(value) else f"{100 * value:.{digits}f}\N{NARROW NO-BREAK SPACE}%"


def decimal(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"

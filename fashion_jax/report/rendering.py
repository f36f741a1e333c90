"""Renders templates to one self-contained HTML file: names as text, readable numbers, a policy against other code."""

from __future__ import annotations

import base64
import functools
import hashlib
import math
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from fashion_jax.atomic import replacing
from fashion_jax.command_line import formats
from fashion_jax.serving.table_files import encodable

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPTS = ("tables.js", "edges.js", "matrix.js", "viewer.js", "page.js")  # joined into one script
_MAX_NAME = 80  # characters
_DIRECTIONS = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])  # marks that reorder text


class Section(NamedTuple):
    """A part of the page: templates/NAME.html shows the result of `describe`; if that is None, the part is left out."""

    name: str
    title: str
    describe: Callable[[Any], dict[str, Any] | None]


def write_html(path: Path, template: str, **values: Any) -> None:
    """Writes a page; it needs no network and no other file, and runs no script but its own."""
    style, script = _read("style.css"), "\n".join(map(_read, _SCRIPTS))
    page = (
        _environment()
        .get_template(template)
        .render(**values, style=style, script=script, policy=_policy(style, script))
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")


@functools.cache
def _environment() -> Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "text": text,
        "whole": whole,
        "percent": percent,
        "points": points,
        "decimal": decimal,
        "count": "{:,}".format,
        "px": "{:.1f}".format,
    }
    return environment


def _policy(style: str, script: str) -> str:
    """Returns a Content-Security-Policy that allows only this style, this script, and pictures inside the page."""
    hashes = {kind: f"'sha256-{_digest(body)}'" for kind, body in (("style", style), ("script", script))}
    allowed = f"style-src {hashes['style']}; script-src {hashes['script']}; img-src data:"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _digest(body: str) -> str:
    return base64.b64encode(hashlib.sha256(body.encode("utf-8")).digest()).decode("ascii")


def text(value: Any, max_characters: int = _MAX_NAME) -> str:
    """Returns a name from users' data without control characters, with its middle left out if it is too long."""
    plain = encodable(str(value)).translate(_DIRECTIONS)
    name = "".join(" " if unicodedata.category(c) == "Cc" else c for c in plain)
    tail = max_characters // 3
    return name if len(name) <= max_characters else f"{name[: max_characters - tail - 1]}…{name[-tail:]}"


def whole(value: Any) -> str:
    """Returns an id of any length on one line, with escapes for control characters and marks that reorder text."""
    escaped = ("Cc", "Zl", "Zp")
    return "".join(
        c.encode("unicode_escape").decode("ascii") if ord(c) in _DIRECTIONS or unicodedata.category(c) in escaped else c
        for c in encodable(str(value))
    )


def percent(value: float | None, digits: int = 1) -> str:
    """Formats a share as the commands do, with a narrow space before the sign."""
    return formats.percent(value, digits).replace("%", "\N{NARROW NO-BREAK SPACE}%")


def points(value: float | None, digits: int = 1) -> str:
    """Formats a difference of two shares, signed, in percentage points."""
    return f"{100 * value:+.{digits}f}".replace("-", "\N{MINUS SIGN}") if _is_finite(value) else formats.UNDEFINED


def decimal(value: float | None, digits: int = 3) -> str:
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}") if _is_finite(value) else formats.UNDEFINED


def _is_finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)

"""Holds the style that the figures share, and shows names from users' data as plain text.

Matplotlib is slow to import and therefore imported where it is used, and only through Figure and the Agg canvas, which
touch no global state and need no display.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fashion_jax.atomic import replacing
from fashion_jax.serving.table_files import encodable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text


INK, GREY, LINE = "#1f2937", "#6b7280", "#9aa1ab"

_STYLE: dict[Any, Any] = {  # Matplotlib types the keys as a long Literal
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": LINE,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "text.parse_math": False,  # dollar signs in names are no formulas
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Applies the style of the figures; a character that the font lacks is drawn as a box, without a warning."""
    import matplotlib

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def create_figure(**options: Any) -> Figure:
    """Creates a Figure whose texts can be measured; call it, draw and save inside `style()`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(**options)
    FigureCanvasAgg(figure)  # without it, each text measurement creates a canvas
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def text_width(text: Text) -> float:
    """Returns the width of a text in inches, after its rotation."""
    figure = text.get_figure(root=True)
    assert figure is not None
    return text.get_window_extent().width / figure.dpi


def shown(name: str, max_characters: int = 28) -> str:
    """Returns a name as one line of printable text, with its middle left out if it is too long."""
    name = "".join(c if c.isprintable() else " " for c in encodable(name))
    if len(name) <= max_characters:
        return name
    tail = max_characters // 3
    return f"{name[: max_characters - tail - 1].rstrip()}…{name[-tail:].lstrip()}"

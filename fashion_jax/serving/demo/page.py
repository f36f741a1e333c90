"""Reads the files of the page, which the server sends and the static page is written from."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_ASSETS = Path(__file__).parent / "assets"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_SHARED = ("index.html", "style.css", "app.js", "results.js", "batch.js", "zip.js", "csv.js", "labels.js", "icon.svg")
_SERVED = {"engine.js": "engine_of_server.js"}
_STATIC = {"engine.js": "engine_in_browser.js", "worker.js": "worker.js", "pixels.js": "pixels.js"}


# A page without a server has no headers to say it. The runtime compiles WebAssembly.
_STATIC_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)


class Asset(NamedTuple):
    """A file of the page: its content and its media type."""

    content: bytes
    media_type: str


def served_assets() -> dict[str, Asset]:
    """Returns name -> file of the page that asks a server."""
    return _assets({name: name for name in _SHARED} | _SERVED)


def static_assets() -> dict[str, Asset]:
    """Returns name -> file of the page that classifies in the browser; it names what it may load by itself."""
    assets = _assets({name: name for name in _SHARED} | _STATIC)
    page = assets["index.html"]
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_STATIC_POLICY}">'.encode()
    return assets | {"index.html": page._replace(content=page.content.replace(b"<head>", b"<head>\n" + policy))}


def _assets(files: dict[str, str]) -> dict[str, Asset]:
    return {name: Asset((_ASSETS / file).read_bytes(), _TYPES[Path(name).suffix]) for name, file in files.items()}

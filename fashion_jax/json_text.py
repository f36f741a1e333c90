"""Parses JSON from untrusted files."""

from __future__ import annotations

import json
import re
from typing import Any

_MAX_DEPTH = 100  # the package's own files are nested less than 10 deep
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def parse_json(text: str | bytes) -> Any:
    """Parses a JSON text.

    Raises:
        ValueError: text is not JSON, or nested so deeply that recursive readers would fail.
    """
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    check_depth(text)
    return json.loads(text)


def check_depth(text: str) -> None:
    """Checks how deeply brackets are nested.

    Raises:
        ValueError: they are nested more deeply than any reader should go.
    """
    if text.count("[") + text.count("{") <= _MAX_DEPTH:
        return
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth > _MAX_DEPTH:
            raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")

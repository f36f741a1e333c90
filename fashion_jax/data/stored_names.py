"""Finds files whose names on disk have accents in another Unicode form than in a table or config."""

from __future__ import annotations

import os
from pathlib import Path

from fashion_jax.letters import composed


class StoredNames:
    """Looks up how names relative to a folder are spelt on disk; lists each folder once, and only if needed."""

    def __init__(self, folder: str):
        self._folder = folder
        self._listed: dict[str, dict[str, str]] = {}

    def find(self, name: str) -> str:
        """Returns the name as spelt on disk, or the given name if nothing there matches."""
        if name.isascii():  # ASCII has one form
            return name
        found: list[str] = []
        for part in name.split("/"):
            found.append(part if part.isascii() else self._stored("/".join([*found, ""]), part))
        return "/".join(found)

    def _stored(self, folder: str, part: str) -> str:
        if folder not in self._listed:
            names = [name for name in listed_names(os.path.join(self._folder, folder)) if not name.isascii()]
            self._listed[folder] = {composed(name): name for name in names} | {name: name for name in names}
        return self._listed[folder].get(part) or self._listed[folder].get(composed(part), part)


def stored_path(path: Path) -> Path:
    """Returns a path as spelt on disk, or the given path if it exists or nothing matches."""
    name = str(path)
    return path if name.isascii() or os.path.lexists(name) else Path(StoredNames("").find(name))


def listed_names(folder: str) -> list[str]:
    """Returns the names in a folder; none if it does not exist or cannot be read."""
    try:
        return os.listdir(folder or os.curdir)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return []

"""Names of files as they stand on disk, where a table or a config has the same name with accents in another form."""

from __future__ import annotations

import os
from pathlib import Path

from fashion_jax.letters import composed


class StoredNames:
    """Finds what names relative to a folder are called on disk; every folder is listed once, and only if needed."""

    def __init__(self, folder: str):
        self._folder = folder
        self._listed: dict[str, dict[str, str]] = {}

    def find(self, name: str) -> str:
        """The name as it stands on disk; the given one where nothing there is the same."""
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
    """The path of a file or folder as it stands on disk; the given one where it is there, or nothing is the same."""
    name = str(path)
    return path if name.isascii() or os.path.lexists(name) else Path(StoredNames("").find(name))


def listed_names(folder: str) -> list[str]:
    """The names in a folder; none where it is not there or cannot be read."""
    try:
        return os.listdir(folder or os.curdir)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return []

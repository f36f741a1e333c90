"""The cache: folders that are made once, appear whole, and may be deleted at any time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fashion_jax.atomic import remove_temporaries, replacing_folder, unwritable

_ABANDONED = 86_400  # seconds, longer than anything is being written


def make_once(
    folder: Path, write: Callable[[Path], None], is_complete: Callable[[Path], bool], way_out: str = ""
) -> None:
    """Writes a folder where it is not there and complete: into a hidden neighbour, which is then renamed.

    Of several processes at once the first to end leaves the folder, the others use it.

    Args:
        folder: of the cache.
        write: writes what belongs into the folder that it is given, which is empty.
        is_complete: whether a folder holds all of it; caches get cleaned.
        way_out: of the sentence where the folder cannot be written.

    Raises:
        UserError, RunError: the folder cannot be written.
    """
    if is_complete(folder):
        return
    remove_temporaries(folder.parent, folder.name, _ABANDONED)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error, way_out) from error
    with replacing_folder(folder, way_out, stays=is_complete) as temporary:
        write(temporary)

"""The cache: folders that are written once, appear as a whole, and may be deleted at any time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fashion_jax.atomic import remove_temporaries, replacing_folder, unwritable

_ABANDONED = 86_400  # seconds, longer than writing any folder takes


def make_once(
    folder: Path, write: Callable[[Path], None], is_complete: Callable[[Path], bool], way_out: str = ""
) -> None:
    """Writes a folder of the cache unless it is complete: under a hidden temporary name first, then renamed.

    If several processes write it at the same time, the first to finish provides the folder, and the others use it.

    Args:
        folder: the destination in the cache.
        write: writes the content into the empty folder that it is given.
        is_complete: whether a folder has its whole content, as something may have cleaned the cache.
        way_out: what the error advises if the folder cannot be written.

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

"""Names the files beside the page after their level."""

from __future__ import annotations

import re
import zlib


def confusion_file(level: str) -> str:
    """Returns the name of the picture of a level's confusion matrix."""
    return f"confusion_{file_stem(level)}.png"


def class_file(level: str) -> str:
    """Returns the name of the table of a level's classes."""
    return f"classes_{file_stem(level)}.csv"


def compared_class_file(level: str) -> str:
    """Returns the name of the table of a level's classes in all runs of a comparison."""
    return f"compared_{file_stem(level)}.csv"


def file_stem(level: str) -> str:
    """Returns a level's name as part of a file name: unchanged if safe, else its safe characters and a checksum."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", level)[:60]
    return safe if safe == level else f"{safe}-{zlib.crc32(level.encode('utf-8', 'surrogatepass')):08x}"

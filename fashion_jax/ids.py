"""The ids of images as one value: whether two splits have the same ones, in the same order."""

import hashlib
from collections.abc import Sequence


def digest_of_ids(ids: Sequence[str]) -> str:
    """Of the ids in their order, in hexadecimal."""
    return hashlib.sha256("\0".join(ids).encode("utf-8", "surrogateescape")).hexdigest()

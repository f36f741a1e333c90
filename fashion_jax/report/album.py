"""Keeps the images that a page shows: each is embedded once, however many places show it, within a budget."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fashion_jax.report.thumbnails import thumbnail

if TYPE_CHECKING:
    from fashion_jax.data.dataset import Split

BUDGET = 5_000_000  # characters of the data URIs of all images that open in full
_AT_ONCE = 64  # images whose files are held in memory while they are decoded

Key = tuple[str, int]  # name of a split, row of an image


@dataclasses.dataclass(frozen=True)
class Slot:
    """A place on the page that shows an image.

    Attributes:
        anchor: its id in the page.
        key: the image.
        picture: id of the picture of the image, the same wherever it is shown.
        first: whether the page embeds the picture here; the page's script copies it to the other places.
        heat: whether a heat map stands beside the picture if there is one.
    """

    anchor: str
    key: Key
    picture: str
    first: bool
    heat: bool


class Album:
    """The places and images of one page at a time.

    Attributes:
        pictures: data URI of each image that could be decoded, once `embed` is called.
        heat_maps: data URI of the heat map of images that have one.
    """

    def __init__(self) -> None:
        self.pictures: dict[Key, str] = {}
        self.heat_maps: dict[Key, str] = {}
        self._slots: list[Slot] = []
        self._names: dict[Key, str] = {}
        self._cells: dict[str, dict[tuple[int, int], str]] = {}

    def clear(self) -> None:
        """Begins another page, in which each image is embedded anew."""
        for kept in (self.pictures, self.heat_maps, self._slots, self._names, self._cells):
            kept.clear()

    def show(self, key: Key, heat: bool = False) -> Slot:
        """Adds a place that shows an image."""
        first = key not in self._names
        picture = self._names.setdefault(key, f"picture-{len(self._names)}")
        self._slots.append(Slot(f"image-{len(self._slots)}", key, picture, first, heat))
        return self._slots[-1]

    def link(self, level: str, true: int, predicted: int, anchor: str) -> None:
        """Lets a cell of a level's confusion matrix lead to an anchor; the first anchor of a cell is kept."""
        self._cells.setdefault(level, {}).setdefault((true, predicted), anchor)

    def links(self, level: str, places: Mapping[int, int]) -> list[tuple[int, int, str]]:
        """Returns (row, column, anchor) of the cells that lead to images.

        Args:
            level: name of the level.
            places: class -> its row and column in the matrix; other classes are left out.
        """
        return [
            (places[true], places[predicted], anchor)
            for (true, predicted), anchor in self._cells.get(level, {}).items()
            if true in places and predicted in places
        ]

    def explained(self) -> list[Key]:
        """Returns the images that have a place for a heat map, each once, in the order of their rows."""
        return sorted({slot.key for slot in self._slots if slot.heat})

    def embed(self, splits: Mapping[str, Split]) -> None:
        """Decodes the images of all places; together, their data URIs have at most BUDGET characters."""
        from fashion_jax.data.decoding.decode import in_parallel

        keys = list(self._names)
        make = functools.partial(thumbnail, max_characters=BUDGET // max(len(keys), 1))
        for part in _parts(keys, _AT_ONCE):
            uris = in_parallel(make, [splits[split].picture(row) for split, row in part])
            self.pictures |= {key: uri for key, uri in zip(part, uris, strict=True) if uri}


def _parts(keys: Sequence[Key], size: int) -> list[Sequence[Key]]:
    return [keys[start:end] for start, end in itertools.pairwise([*range(0, len(keys), size), len(keys)])]

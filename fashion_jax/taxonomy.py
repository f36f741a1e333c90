"""The tree of classes: label levels from coarse to fine, and the parent of each class."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Iterable, Sequence

import numpy as np

from fashion_jax.errors import UserError, first_line
from fashion_jax.json_text import parse_json
from fashion_jax.letters import composed

UNKNOWN = -1

MAX_CLASSES = 100_000  # at a level of a file that nobody has checked yet

_SEPARATOR = "/"


def class_name(path: Sequence[str]) -> str:
    """Returns the name of a class, its path from the root: ("Apparel", "Topwear") is "Apparel/Topwear".

    Inside a label "/" is written "\\/" and "\\" is doubled, so that different paths have different names.
    """
    return _SEPARATOR.join(label.replace("\\", "\\\\").replace(_SEPARATOR, "\\/") for label in path)


def class_labels(name: str) -> tuple[str, ...]:
    """Returns the path from the root of a name that class_name() made."""
    return tuple(re.sub(r"\\(.)", r"\1", label) for label in re.findall(r"(?:\\.|[^\\/])+", name, re.DOTALL))


@dataclasses.dataclass(frozen=True)
class Taxonomy:
    """Label levels, coarse to fine, with their classes.

    Attributes:
        levels: names of the levels.
        classes: level -> names of its classes (paths from the root), in the order of their ids.
        parents: level -> id of each class's parent at the level above; empty for the first level.
    """

    levels: tuple[str, ...]
    classes: dict[str, tuple[str, ...]]
    parents: dict[str, tuple[int, ...]]

    @classmethod
    def from_paths(cls, levels: Sequence[str], paths: Iterable[Sequence[str]]) -> Taxonomy:
        """Makes the taxonomy of the classes that occur in paths, sorted by path.

        Args:
            levels: names, coarse to fine.
            paths: a label per level; from the first empty label on, a path is unknown.
        """
        found: list[set[tuple[str, ...]]] = [set() for _ in levels]
        for path in set(map(tuple, paths)):
            for depth in range(len(_known(path))):
                found[depth].add(path[: depth + 1])
        ordered = [sorted(level) for level in found]
        classes = {level: tuple(map(class_name, ordered[i])) for i, level in enumerate(levels)}
        parents: dict[str, tuple[int, ...]] = {levels[0]: ()}
        for i in range(1, len(levels)):
            ids = {path: k for k, path in enumerate(ordered[i - 1])}
            parents[levels[i]] = tuple(ids[path[:-1]] for path in ordered[i])
        return cls(tuple(levels), classes, parents)

    def common(self, other: Taxonomy) -> Taxonomy | None:
        """Returns the coarsest levels that have the same classes in both; None if the first level differs."""
        same = [
            level == theirs and self.classes[level] == other.classes[level]
            for level, theirs in zip(self.levels, other.levels, strict=False)
        ]
        levels = self.levels[: [*same, False].index(False)]
        if not levels:
            return None
        classes = {level: self.classes[level] for level in levels}
        return Taxonomy(levels, classes, {level: self.parents[level] for level in levels})

    def common_classes(self, other: Taxonomy, level: str) -> tuple[list[int], list[int]]:
        """Returns the ids of the classes of a level that both have, here and in the other, in the other's order.

        Their names are the same even if the accents of one are composed and those of the other decomposed.
        """
        ids = _ids_of(self.classes[level])
        both = [(ids[name], i) for i, name in enumerate(map(composed, other.classes[level])) if name in ids]
        return [i for i, _ in both], [i for _, i in both]

    def num_classes(self, level: str) -> int:
        return len(self.classes[level])

    def label_ids(self, paths: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
        """Returns level -> int32 [len(paths)], UNKNOWN (-1) if a label is empty or not in the taxonomy.

        Labels with composed accents also match a taxonomy with decomposed ones, as in runs of earlier versions.
        """
        ids = {level: _ids_of(self.classes[level]) for level in self.levels}
        labels = {level: np.full(len(paths), UNKNOWN, np.int32) for level in self.levels}
        memo: dict[tuple[str, ...], list[int]] = {}
        for row, path in enumerate(map(tuple, paths)):
            if path not in memo:
                known = _known(path)
                memo[path] = [
                    ids[level].get(class_name(path[: i + 1]), UNKNOWN) if i < len(known) else UNKNOWN
                    for i, level in enumerate(self.levels)
                ]
            for level, label in zip(self.levels, memo[path], strict=True):
                labels[level][row] = label
        return labels

    def ancestors(self, level: str, of: str) -> np.ndarray:
        """Returns int [classes of `of`]: the id at `level` of each class of `of`, the same level or a finer one."""
        ids = np.arange(self.num_classes(of))
        for name in reversed(self.levels[self.levels.index(level) + 1 : self.levels.index(of) + 1]):
            ids = np.asarray(self.parents[name], int)[ids]
        return ids

    def to_json(self) -> str:
        return json.dumps(
            {"levels": self.levels, "classes": self.classes, "parents": self.parents}, indent=1, ensure_ascii=False
        )

    @classmethod
    def from_json(cls, text: str, name: str, way_out: str = "write it as a run's taxonomy.json is") -> Taxonomy:
        """Reads what to_json wrote.

        Raises:
            UserError: text is not a taxonomy; the message calls it `name`, and ends with `way_out`.
        """
        try:
            tree = parse_json(text)
            levels = tuple(tree["levels"])
            taxonomy = cls(
                levels,
                {level: tuple(map(str, tree["classes"][level])) for level in levels},
                {level: tuple(map(int, tree["parents"][level])) for level in levels},
            )
            taxonomy._check()
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(f"{name} is not a taxonomy ({first_line(error)}): {way_out}.") from error
        return taxonomy

    def _check(self) -> None:
        """Raises a ValueError if the classes and parents are not a tree whose names are paths."""
        for level in self.levels:
            if not self.classes[level] or len(set(self.classes[level])) < self.num_classes(level):
                raise ValueError(f"level {level} has no classes, or one of them twice")
        if self.parents[self.levels[0]]:
            raise ValueError(f"the first level, {self.levels[0]}, has parents")
        for above, level in itertools.pairwise(self.levels):
            classes, parents = self.classes[level], self.parents[level]
            if len(parents) != len(classes):
                raise ValueError(f"level {level} has another number of parents than of classes")
            for name, parent in zip(classes, parents, strict=True):
                if not 0 <= parent < self.num_classes(above):
                    raise ValueError(f"the parent of {name!r} is not a class of level {above}")
                if not name.startswith(self.classes[above][parent] + _SEPARATOR):
                    raise ValueError(f"{name!r} does not begin with its parent, {self.classes[above][parent]!r}")


def _ids_of(names: Sequence[str]) -> dict[str, int]:
    """Returns name of a class, as it is and composed -> its id."""
    return {composed(name): i for i, name in enumerate(names)} | {name: i for i, name in enumerate(names)}


def _known(path: Sequence[str]) -> Sequence[str]:
    """Returns the labels of a path up to the first empty one."""
    for i, label in enumerate(path):
        if not label:
            return path[:i]
    return path

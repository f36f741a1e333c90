"""Reads the file that data.taxonomy names: a run's taxonomy.json, or YAML that nests the classes.

Upper body: [longsleeve, shirt, t-shirt]      # two levels; with one level the file is a list,
Lower body: [pants, shorts, skirt]            # with more levels the lists are nested deeper
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fashion_jax.data.stored_names import stored_path
from fashion_jax.errors import UserError
from fashion_jax.json_text import check_depth
from fashion_jax.letters import composed
from fashion_jax.taxonomy import MAX_CLASSES, Taxonomy, class_labels

_MAX_YAML = 500_000  # characters; the YAML reader takes a quarter of a second for 100 KB


def read_taxonomy_file(name: str, levels: Sequence[str]) -> Taxonomy:
    """Reads the fixed classes from a file, for the levels of the config.

    Raises:
        UserError: the file cannot be read, holds no tree of classes, or has other levels.
    """
    try:
        text = stored_path(Path(os.path.expanduser(name))).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"data.taxonomy is {name!r}, which cannot be read ({error}): name a YAML file such as "
            "configs/clothing.yaml, or a run's taxonomy.json."
        ) from error
    if name.lower().endswith((".yaml", ".yml")):
        return Taxonomy.from_paths(levels, _yaml_paths(text, name, levels))
    taxonomy = Taxonomy.from_json(text, name)
    if list(taxonomy.levels) != list(levels):
        raise UserError(f"{name} has the levels {', '.join(taxonomy.levels)}, but data.levels has {', '.join(levels)}.")
    return taxonomy


def paths_by_name(taxonomy: Taxonomy) -> dict[str, list[tuple[str, ...]]]:
    """Returns the last label of the finest classes -> their paths: several if classes of different parents share it."""
    paths = defaultdict(list)
    for name in taxonomy.classes[taxonomy.levels[-1]]:
        path = class_labels(name)
        paths[composed(path[-1])].append(path)
    return dict(paths)


def _yaml_paths(text: str, name: str, levels: Sequence[str]) -> list[tuple[str, ...]]:
    import yaml

    if len(text) > _MAX_YAML:
        raise UserError(
            f"{name} has {len(text):,} characters, more than {_MAX_YAML:,} of YAML: write it as a run's taxonomy.json."
        )
    try:
        check_depth(text)
        root = yaml.compose(text, Loader=yaml.BaseLoader)
        if root is None:
            raise UserError(f"{name} is empty: write lines as 'Upper body: [shirt, t-shirt]'.")
        paths = []
        for path in _Tree(name, levels).paths(root, ()):
            paths.append(path)
            if len(paths) > MAX_CLASSES:  # a few lines of YAML with aliases can expand without end
                raise UserError(f"{name} holds more than {MAX_CLASSES:,} classes: name fewer.")
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{name} is not YAML ({reason}): write lines as 'Upper body: [shirt, t-shirt]'.") from error
    return paths


class _Tree:
    """Walks the nodes of a YAML file, reading all scalars as strings: no stays "no" and 1 stays "1"."""

    def __init__(self, name: str, levels: Sequence[str]):
        self._name, self._levels = name, levels

    def paths(self, node: Any, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """Yields the paths of the finest classes at and below a node, given the labels above it."""
        depth, is_last = len(above), len(above) == len(self._levels) - 1
        if is_last != (node.id == "sequence") or not node.value or node.id == "scalar":
            raise self._wrong(node, self._wanted(above))
        children = [(child, None) for child in node.value] if is_last else node.value
        seen: set[str] = set()
        for child, below in children:
            if child.id != "scalar" or not child.value.strip():
                raise self._wrong(child, f"a name of a class at the level {self._levels[depth]!r} should stand here")
            label = composed(child.value.strip())
            if label in seen:
                raise self._wrong(child, f"{label!r} stands twice{f' under {above[-1]!r}' if above else ''}")
            seen.add(label)
            if is_last:
                yield (*above, label)
            else:
                yield from self.paths(below, (*above, label))

    def _wanted(self, above: tuple[str, ...]) -> str:
        level, rest = self._levels[len(above)], self._levels[len(above) + 1 :]
        shape = f"lines such as 'CLASS: [...]', a class of {level!r} and what stands under it," if rest else "a list"
        of = "" if rest else f" of the classes of {level!r}, such as [shirt, t-shirt],"
        where = f"under {above[-1]!r}" if above else "at the top"
        return f"{shape}{of} should stand {where}, since data.levels has {', '.join(self._levels)}"

    def _wrong(self, node: Any, what: str) -> UserError:
        return UserError(f"{self._name}, line {node.start_mark.line + 1}: {what}.")

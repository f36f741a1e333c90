"""Warnings and notes about the data, before and after training, for the terminal and the report page."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from fashion_jax.letters import is_disguised, look
from fashion_jax.taxonomy import UNKNOWN, Taxonomy, class_name

FEW_IMAGES = 10  # training images; a class with fewer is hardly learned

_EMPTY_CELLS = ("nan", "none", "null", "<na>", "nat", "n/a", "na", "#n/a")  # as pandas, databases and Excel write them

_FEW_MISSING = 0.1  # of the images of a class; where fewer lack a finer label, the others tell what they are

_MAX_NAMED = 5
_MAX_LETTERS = 60  # characters of a name that are shown


def label_warnings(levels: Sequence[str], paths: Iterable[Sequence[str]]) -> list[str]:
    """Warns of class names that may be one class, and of levels that may not go from coarse to fine.

    Args:
        levels: names, coarse to fine.
        paths: a label per level, "" if not known; of the images of all splits.
    """
    children = _children(len(levels), paths)
    return [*_look_alikes(children), *_empty_cells(children), *_wrong_orders(levels, children)]


def unpredictable(taxonomy: Taxonomy, heads: Collection[str]) -> list[str]:
    """Warns of classes that a model can never predict: of a level without a head, and without a class below.

    Args:
        taxonomy: the classes.
        heads: the levels that have one; the finest level must.
    """
    warnings, can_be = [], np.ones(taxonomy.num_classes(taxonomy.levels[-1]), bool)
    for level, finer in reversed([*itertools.pairwise(taxonomy.levels)]):
        parents = np.asarray(taxonomy.parents[finer])
        has_child = np.bincount(parents[can_be], minlength=taxonomy.num_classes(level)) > 0
        can_be = has_child | (level in heads)
        if not can_be.all():
            names = [_name(taxonomy.classes[level][i]) for i in np.flatnonzero(~can_be)]
            have = f"{names[0]} has" if len(names) == 1 else "they have"
            warnings.append(
                f"{_listed(names)} can never be predicted: the level {level!r} has no head, and {have} no class at "
                f"{finer!r}"
            )
    return warnings


def unlabelled_below(taxonomy: Taxonomy, labels: Mapping[str, np.ndarray]) -> list[str]:
    """Warns of classes with a single class below them, which is predicted for all their images, labelled so or not.

    Args:
        taxonomy: the classes.
        labels: level -> labels of the training images, int [images], UNKNOWN if not known.
    """
    warnings = []
    for level, finer in itertools.pairwise(taxonomy.levels):
        parents = np.asarray(taxonomy.parents[finer])
        found = []
        for child in np.flatnonzero(np.bincount(parents)[parents] == 1):
            below = labels[finer][labels[level] == parents[child]]
            missing = int((below == UNKNOWN).sum())
            if missing > _FEW_MISSING * len(below):
                names = _name(taxonomy.classes[level][parents[child]]), _name(taxonomy.classes[finer][child])
                found.append(f"{missing:,} of {len(below):,} of {names[0]}, which all will be predicted as {names[1]}")
        if found:
            warnings.append(
                f"training images have no label at the level {finer!r} where there is one class only: "
                f"{_listed(found, '; ')}; label them, for example as one more class, or leave the level out"
            )
    return warnings


def count_notes(
    taxonomy: Taxonomy, train: Mapping[str, np.ndarray], validation: Mapping[str, np.ndarray], left_over: int
) -> list[str]:
    """Notes levels of one class, classes with few training or no validation images, and images an epoch leaves out.

    Args:
        taxonomy: the classes.
        train: level -> training images of each class, int [classes].
        validation: level -> validation images of each class, int [classes]; empty if not known.
        left_over: training images that do not fill a batch.
    """
    notes = [
        f"the level {level!r} has only the class {_name(names[0])}, which is predicted for every image"
        for level, names in taxonomy.classes.items()
        if len(names) == 1
    ]
    rare = [(name, int(n)) for name, n in _finest(taxonomy, train) if n < FEW_IMAGES]
    if rare:
        named = _listed([f"{_name(name)} ({n})" for name, n in sorted(rare, key=lambda pair: pair[1])])
        notes.append(f"{_classes(rare, 'has', 'have')} fewer than {FEW_IMAGES} training images: {named}")
    absent = [name for name, n in _finest(taxonomy, validation) if not n] if validation else []
    if unscored := [level for level in taxonomy.levels if validation and not validation[level].any()]:
        levels = " and ".join(map(repr, unscored))
        notes.append(f"no validation image has a label at the level {levels}, so that it has no scores there (–)")
    elif absent:
        notes.append(f"{_classes(absent, 'has', 'have')} no validation images: {_listed(list(map(_name, absent)))}")
    if left_over:
        images = "1 training image" if left_over == 1 else f"{left_over:,} training images"
        notes.append(f"each epoch leaves out {images} that do not fill a batch, different ones each time")
    return notes


def never_predicted(taxonomy: Taxonomy, log_probs: Mapping[str, np.ndarray], counts: Mapping[str, np.ndarray]) -> str:
    """Names the classes that are predicted for no image, the largest classes first; "" if there are none.

    Args:
        taxonomy: the classes.
        log_probs: level -> [images, classes].
        counts: level -> images of each class, int [classes].
    """
    predicted = {level: np.bincount(x.argmax(1), minlength=x.shape[1]) for level, x in log_probs.items()}
    images = dict(_finest(taxonomy, counts))
    never = sorted((name for name, n in _finest(taxonomy, predicted) if not n), key=lambda name: -images[name])
    if not never:
        return ""
    named = _listed([f"{_name(name)} ({images[name]:,} images)" for name in never])
    return f"{_classes(never, 'is', 'are')} never predicted: {named}"


def left_out_note(left_out: Mapping[str, Sequence[str]], where: str = "all named in data.json") -> str:
    """Says how many images were left out, why, with an example for each reason, and `where` the others are named.

    It is "" if there are none.
    """
    reasons = [f"{len(ids):,} because of “{reason}”, such as {ids[0]}" for reason, ids in left_out.items() if ids]
    return f"left out, {where}: {_listed(reasons, '; ')}" if reasons else ""


def _children(depth: int, paths: Iterable[Sequence[str]]) -> list[dict[tuple[str, ...], set[str]]]:
    """Returns for each level: path of a parent -> labels below it."""
    children: list[dict[tuple[str, ...], set[str]]] = [defaultdict(set) for _ in range(depth)]
    for path in paths:
        for i, label in enumerate(itertools.takewhile(bool, path)):
            children[i][tuple(path[:i])].add(label)
    return children


def _look_alikes(children: Sequence[Mapping[tuple[str, ...], set[str]]]) -> list[str]:
    """Returns a sentence on all classes of one parent that look the same to a reader, or are blank."""
    groups = []
    for level in children:
        for parent, labels in sorted(level.items()):
            alike = defaultdict(list)
            for label in sorted(labels):
                alike[look(label)].append(label)
            under = f" under {_name(class_name(parent))}" if parent else ""
            groups += [_listed(list(map(_name, x)), " and ") + under for x in alike.values() if len(x) > 1]
            groups += [f"{_name(x[0])}{under}, which is blank" for key, x in alike.items() if not key and len(x) == 1]
    if not groups:
        return []
    return [f"classes look alike: {_listed(groups, '; ')}; write those that are one class in one way"]


def _empty_cells(children: Sequence[Mapping[tuple[str, ...], set[str]]]) -> list[str]:
    """Returns a sentence if classes are called as programs write empty cells."""
    labels = sorted({x for level in children for names in level.values() for x in names if look(x) in _EMPTY_CELLS})
    if not labels:
        return []
    are = "is the name of a class" if len(labels) == 1 else "are names of classes"
    return [
        f"{_listed(list(map(_name, labels)), ' and ')} {are}: empty these cells if they mean that there is no label"
    ]


def _wrong_orders(levels: Sequence[str], children: Sequence[Mapping[tuple[str, ...], set[str]]]) -> list[str]:
    """Returns a sentence for each two adjacent levels that do not seem to go from coarse to fine."""
    warnings = []
    names = [set().union(*level.values()) for level in children]
    for i in range(1, len(levels)):
        parents: dict[str, int] = defaultdict(int)
        for labels in children[i].values():
            for label in labels:
                parents[label] += 1
        shared = [label for label, number in parents.items() if number > 1]
        if not names[i]:
            continue
        if len(names[i - 1]) > len(names[i]):
            found = f"has {len(names[i]):,} different names, fewer than the {len(names[i - 1]):,} of {levels[i - 1]!r}"
        elif 2 * len(shared) > len(names[i]):
            most = max(sorted(shared), key=parents.__getitem__)
            found = (
                f"has {len(shared):,} of its {len(names[i]):,} names under several classes of {levels[i - 1]!r}, such "
                f"as {_name(most)} under {parents[most]:,}, and each of them is a class of its own"
            )
        else:
            continue
        warnings.append(f"the level {levels[i]!r} {found}: check that data.levels goes from coarse to fine")
    return warnings


def _finest(taxonomy: Taxonomy, counts: Mapping[str, np.ndarray]) -> list[tuple[str, int]]:
    """Returns the classes without children and their counts: a class with few images has children with few."""
    found = []
    for i, level in enumerate(taxonomy.levels):
        below = taxonomy.levels[i + 1 : i + 2]
        with_children = set(taxonomy.parents[below[0]]) if below else set()
        pairs = zip(taxonomy.classes[level], counts[level].tolist(), strict=True)
        found += [pair for k, pair in enumerate(pairs) if k not in with_children]
    return found


def _classes(found: Sequence[object], one: str, many: str) -> str:
    return f"1 class {one}" if len(found) == 1 else f"{len(found):,} classes {many}"


def _name(name: str) -> str:
    """Quotes the name of a class, cut if it is long, with escapes for letters that look like others."""
    short = name if len(name) <= _MAX_LETTERS else f"{name[:_MAX_LETTERS]}…"
    return ascii(short) if is_disguised(short) else repr(short)


def _listed(texts: Sequence[str], between: str = ", ") -> str:
    """Joins the first few texts and says how many more there are."""
    named = between.join(texts[:_MAX_NAMED])
    return f"{named} and {len(texts) - _MAX_NAMED:,} more" if len(texts) > _MAX_NAMED else named

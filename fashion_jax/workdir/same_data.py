"""Checks that the classes and images of a start are those that its run has been trained on so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fashion_jax.atomic import read_text
from fashion_jax.data.dataset import Dataset
from fashion_jax.data.fingerprint import (
    COMPARED,
    ImageList,
    changed_contents,
    changed_labels,
    list_images,
)
from fashion_jax.errors import UserError
from fashion_jax.json_text import parse_json
from fashion_jax.taxonomy import UNKNOWN, Taxonomy
from fashion_jax.workdir.files import has_checkpoint, has_trained_nothing, read_taxonomy
from fashion_jax.workdir.paths import data_path, images_path, taxonomy_path
from fashion_jax.workdir.reading import reading
from fashion_jax.workdir.trained_on import read_listed

_WAY_OUT = "restore the data, or use another --workdir."


def check_same_data(workdir: Path, dataset: Dataset) -> list[str]:
    """Compares the data with that of the run so far, if it has trained anything.

    Returns:
        In words, which splits have gained or lost images.

    Raises:
        UserError: the classes differ, or images that are still there have other labels or files.
    """
    if taxonomy_path(workdir).exists() and not has_trained_nothing(workdir):
        _check_same_classes(read_taxonomy(workdir), dataset.taxonomy, workdir)
    if not has_checkpoint(workdir):
        return []
    before = _read_splits(data_path(workdir))
    differing = {
        field: [name for name in COMPARED if _differs(before[name], dataset.digests[name], field)]
        for field in ("ids_sha256", "labels_sha256", "files_sha256")
    }
    if any(differing.values()):
        _check_images(workdir, dataset, differing, is_known="labels_sha256" in before["train"])
    count, now = before["train"]["images"], len(dataset.splits["train"])
    numbers = f"{now:,} images instead of {count:,}" if now != count else "other images"
    told = {
        "train": f"The training split has {numbers}, in another order",
        "validation": "The validation split has other images",
    }
    return [told[name] for name in differing["ids_sha256"]]


def _differs(before: dict[str, Any], now: dict[str, str], field: str) -> bool:
    """Returns whether a split has another digest; earlier versions did not write all of them."""
    return field in before and before[field] != now[field]


def _check_images(workdir: Path, dataset: Dataset, differing: dict[str, list[str]], is_known: bool) -> None:
    """Checks that no remaining image has another label or file, by the earlier list of images."""
    now, path, listed = list_images(dataset.splits), images_path(workdir), read_listed(workdir)
    if listed is not None:
        before = listed.train.followed_by(listed.validation)
        _check_labels(before, now, dataset.taxonomy, workdir)
        _check_contents(before, now, workdir)
    elif differing["ids_sha256"] and is_known:
        raise UserError(
            f"The data has other images than the run in {workdir}, and {path} cannot be read, by which those that have "
            f"stayed are compared: restore it from a copy, or use another --workdir."
        )
    for field, what in (("labels_sha256", "labels"), ("files_sha256", "files")):
        if names := [name for name in differing[field] if name not in differing["ids_sha256"]]:
            raise UserError(
                f"Images of the {names[0]} split have other {what} than in the run in {workdir} so far: {_WAY_OUT}"
            )


def _check_labels(before: ImageList, now: ImageList, taxonomy: Taxonomy, workdir: Path) -> None:
    if changed := changed_labels(before, now):
        old, new = changed[0]
        labels = [_finest(images.labels[i], taxonomy) for images, i in ((before, old), (now, new))]
        raise UserError(
            f"{len(changed):,} images have other labels than in the run in {workdir} so far, such as {now.ids[new]!r}, "
            f"which was {labels[0]} and is {labels[1]}: {_WAY_OUT}"
        )


def _check_contents(before: ImageList, now: ImageList, workdir: Path) -> None:
    if changed := changed_contents(before, now):
        raise UserError(
            f"{len(changed):,} images have other files than in the run in {workdir} so far, such as "
            f"{now.ids[changed[0][1]]!r}: {_WAY_OUT}"
        )


def _finest(labels: Any, taxonomy: Taxonomy) -> str:
    """Names the finest known class of an image."""
    named = [taxonomy.classes[level][i] for level, i in zip(taxonomy.levels, labels, strict=True) if i != UNKNOWN]
    return repr(named[-1]) if named else "without a label"


def _read_splits(path: Path) -> dict[str, Any]:
    """Reads the splits in data.json."""
    with reading(path):
        splits = parse_json(read_text(path))["splits"]
        if any(not isinstance(splits[name]["ids_sha256"], str) for name in COMPARED):
            raise ValueError("its digests are no texts")
        int(splits["train"]["images"])
    return splits


def _check_same_classes(before: Taxonomy, now: Taxonomy, workdir: Path) -> None:
    if before == now:
        return
    way_out = "restore it, or use another --workdir."
    for level in now.levels:
        here, there = now.classes[level], before.classes.get(level, ())
        if other := sorted(set(here) ^ set(there)):
            sides = "the data, but not the run" if other[0] in here else "the run, but not the data"
            raise UserError(
                f"The data has other classes than the run in {workdir}: {len(here)} of {level} instead of "
                f"{len(there)}, and {other[0]!r} is in {sides}: {way_out}"
            )
    raise UserError(
        f"The data has other classes than the run in {workdir}: the levels {', '.join(now.levels)} instead of "
        f"{', '.join(before.levels)}, or another order or tree: {way_out}"
    )

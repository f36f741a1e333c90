"""Writes and reads the folder of an export: a model in one format, and beside it what is needed to use and check it.

Exports of other people are read, not obeyed: their files are JSON, arrays and graphs, every one is compared with its
digest before it is parsed, and nothing in them names a file elsewhere.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import shutil
import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fashion_jax.atomic import read_text, remove_temporaries, replacing_folder, unreadable, write_text
from fashion_jax.command_line.output_files import folder_of_flag
from fashion_jax.errors import UserError
from fashion_jax.json_text import parse_json
from fashion_jax.taxonomy import Taxonomy
from fashion_jax.workdir.paths import CONFIG, TAXONOMY

INDEX = "export.json"
TEST_VECTORS = "test_vectors.npz"
CARD = "card.md"
OLD_CARD = "card.md.old"  # the card of an earlier export in the same place, which a user had completed
MODELS = {  # format -> the file or folder of its model
    "stablehlo": "model.stablehlo",
    "onnx": "model.onnx",
    "savedmodel": "saved_model",
    "tflite": "model.tflite",
}

COMPARED_IMAGES = 1000  # on which an export is compared with its run

_BESIDE = (TAXONOMY, CONFIG, TEST_VECTORS, CARD)  # of every format
_MOST_BYTES = 4 << 30  # of a file
_MOST_TEXT = 64 << 20  # bytes of a JSON file
_MOST_ARRAYS = 1 << 30  # bytes of the arrays of TEST_VECTORS
_STALE = 86400.0  # seconds after which the temporary folder of a killed export is removed
_AGAIN = "export the run again"


@dataclasses.dataclass(frozen=True)
class Export:
    """The contents of export.json.

    Attributes:
        format: of the model, a key of MODELS.
        fashion_jax: the version that wrote it.
        int8: whether the weights and activations are 8-bit integers.
        canvas: (height, width) of the uint8 images that the model takes.
        resize: how an image is fitted to the canvas: data.resize.
        decode: how the levels of its probabilities agree over the tree.
        levels: coarse to fine.
        features: number of features of an image.
        step: of the checkpoint.
        batch_size: images at a time, as in the training.
        parameters: number of parameters of the model.
        flops_per_image: floating-point operations of a prediction.
        train_counts: level -> training images of each class, in the order of the ids.
        calibrated: whether the model calibrates its probabilities, by temperatures fitted to its own predictions.
        calibration_note: sentences on temperatures that were fitted to other predictions; empty if it has none such.
        files: name of each other file, with slashes -> its sha256 and its size in bytes.
    """

    format: str
    fashion_jax: str
    int8: bool
    canvas: tuple[int, int]
    resize: str
    decode: str
    levels: tuple[str, ...]
    features: int
    step: int
    batch_size: int
    parameters: int
    flops_per_image: float
    train_counts: Mapping[str, tuple[int, ...]]
    calibrated: bool = True
    calibration_note: str = ""
    files: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


def is_export(directory: Path) -> bool:
    """Returns whether a folder claims to be an export: whether it has an export.json."""
    return os.path.lexists(directory / INDEX)


@contextlib.contextmanager
def writing_export(directory: Path) -> Iterator[Path]:
    """Yields an empty folder that becomes the export if the block succeeds, in place of an earlier one.

    A card of the earlier one that a user has completed is kept as OLD_CARD.

    Raises:
        UserError: the folder cannot be written, or see check_replaceable.
        RunError: the disk is full.
    """
    check_replaceable(directory)
    directory = Path(os.path.realpath(directory))
    with folder_of_flag("--output", directory.parent, named=directory):
        remove_temporaries(directory.parent, directory.name, older_than=_STALE)
        with replacing_folder(directory, "name another --output") as folder:
            yield folder
            if kept := _card_to_keep(directory):
                shutil.copy2(kept, folder / OLD_CARD, follow_symlinks=False)


def check_replaceable(directory: Path) -> None:
    """Checks that a folder is new, empty, or an export and nothing else, before any work.

    Raises:
        UserError: something else is there, which is not replaced.
    """
    way_out = "name another --output"
    if not os.path.lexists(directory):
        return
    if not directory.is_dir():
        raise UserError(f"--output is {str(directory)!r}, which is no folder: {way_out}.")
    if not any(directory.iterdir()):
        return
    if not is_export(directory):
        raise UserError(f"--output is {str(directory)!r}, which exists and is no export: {way_out}.")
    ours = {INDEX, *read_index(directory, f"remove the folder, or {way_out}").files}
    if _card_to_keep(directory) == directory / OLD_CARD:  # otherwise one would take the place of the other
        ours.add(OLD_CARD)
    if others := sorted(_files_in(directory) - ours):
        raise UserError(
            f"--output is {str(directory)!r}, an export that would be replaced, but {others[0]} in it is no part of "
            f"one: move it away, or {way_out}."
        )


def _card_to_keep(directory: Path) -> Path | None:
    """Returns the card that a user has completed in a folder of an export, or the one kept from before; None if none.

    Raises:
        UserError: the card cannot be read.
    """
    if not is_export(directory):
        return None
    card, old = directory / CARD, directory / OLD_CARD
    written = read_index(directory).files.get(CARD, {})
    try:
        if card.is_symlink() or (card.is_file() and _sha256(card) != written.get("sha256")):
            return card
    except OSError as error:
        raise unreadable(card, error, "move it away, or name another --output") from error
    return old if old.is_file() else None


def _files_in(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if not path.is_dir()}


def write_test_vectors(directory: Path, images: np.ndarray, outputs: Mapping[str, np.ndarray]) -> None:
    """Writes canvases, and what the live model answers for them.

    Args:
        directory: of the export.
        images: uint8 [n, height, width, 3].
        outputs: name of each output of the model -> [n, ...].
    """
    arrays: dict[str, Any] = {"images": images, **outputs}
    with (directory / TEST_VECTORS).open("wb") as file:
        np.savez(file, **arrays)


def seal(directory: Path, export: Export) -> None:
    """Writes export.json, with the digests of the files that the folder has now."""
    found = sorted(_files_in(directory) - {INDEX})
    export = dataclasses.replace(export, files={name: _entry(directory / name) for name in found})
    write_text(directory / INDEX, json.dumps(dataclasses.asdict(export), indent=1, ensure_ascii=False))


def _entry(path: Path) -> dict[str, Any]:
    return {"sha256": _sha256(path), "bytes": path.stat().st_size}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_export(directory: Path) -> Export:
    """Reads export.json, and checks that every file but the card is there and has its digest.

    Users complete the card, and nothing parses it.

    Raises:
        UserError: the folder is no export, or one of its files is missing, damaged or too large.
    """
    export = read_index(directory)
    for name, entry in export.files.items():
        if name != CARD:
            _check_file(directory, name, entry)
    model = MODELS[export.format]
    inside = {f"{model}/{name}" for name in _files_in(directory / model)} if (directory / model).is_dir() else set()
    if others := sorted(inside - set(export.files)):
        raise _damaged(directory, f"{others[0]} is not named in {INDEX}")
    return export


def read_index(directory: Path, way_out: str = _AGAIN) -> Export:
    """Reads export.json, without looking at the other files.

    Args:
        directory: of the export.
        way_out: what the error advises.

    Raises:
        UserError: the folder is no export, or the file is damaged.
    """
    path = directory / INDEX
    try:
        _check_size(path, _MOST_TEXT)
        return _parsed(parse_json(read_text(path)))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise unreadable(path, error, way_out) from error


def _parsed(tree: dict[str, Any]) -> Export:
    """Returns the contents of export.json.

    Raises:
        ValueError, LookupError, TypeError: a field is missing or wrong.
    """
    export = Export(
        format=str(tree["format"]),
        fashion_jax=str(tree["fashion_jax"]),
        int8=bool(tree["int8"]),
        canvas=(int(tree["canvas"][0]), int(tree["canvas"][1])),
        resize=str(tree["resize"]),
        decode=str(tree["decode"]),
        levels=tuple(map(str, tree["levels"])),
        features=int(tree["features"]),
        step=int(tree["step"]),
        batch_size=int(tree["batch_size"]),
        parameters=int(tree["parameters"]),
        flops_per_image=float(tree["flops_per_image"]),
        train_counts={str(level): tuple(map(int, counts)) for level, counts in tree["train_counts"].items()},
        calibrated=bool(tree.get("calibrated", True)),  # exports of earlier versions do not say
        calibration_note=str(tree.get("calibration_note", "")),
        files={
            str(name): {"sha256": str(entry["sha256"]), "bytes": int(entry["bytes"])}
            for name, entry in tree["files"].items()
        },
    )
    _check(export)
    return export


def _check(export: Export) -> None:
    """Raises a ValueError if a field has a value that no export has."""
    if export.format not in MODELS:
        raise ValueError(f"its format is {export.format!r}, none of {', '.join(MODELS)}")
    if export.resize not in ("stretch", "crop", "letterbox") or export.decode != "conditional":
        raise ValueError("its resize or decode is none that this version knows")
    if not all(0 < size <= 1 << 14 for size in export.canvas) or not 0 < export.batch_size <= 1 << 20:
        raise ValueError("its canvas or batch_size is out of range")
    if not export.levels or list(export.train_counts) != list(export.levels):
        raise ValueError("its levels are not those of its train_counts")
    if not math.isfinite(export.flops_per_image):
        raise ValueError("its flops_per_image is no number")
    model = MODELS[export.format]
    models = [name for name in export.files if name == model or name.startswith(f"{model}/")]
    others = {*export.files} - {*models}
    is_inside = all(".." not in name.split("/") for name in models)
    if not models or not is_inside or TAXONOMY not in others or not others <= {*_BESIDE}:
        raise ValueError("its files are not those of an export")


def _check_file(directory: Path, name: str, entry: Mapping[str, Any]) -> None:
    path, expected = directory / name, int(entry["bytes"])
    try:
        status = os.stat(path)
    except OSError as error:
        raise _damaged(directory, f"{name} cannot be read ({os.strerror(error.errno or 0)})") from error
    if not stat.S_ISREG(status.st_mode) or status.st_size != expected:
        raise _damaged(directory, f"{name} is no file of {expected:,} bytes, as {INDEX} says")
    if expected > (_MOST_TEXT if name.endswith((".json", ".md")) else _MOST_BYTES):
        raise _damaged(directory, f"{name} is too large")
    try:
        if _sha256(path) != entry["sha256"]:
            raise _damaged(directory, f"{name} does not have the sha256 that {INDEX} says")
    except OSError as error:
        raise unreadable(path, error, _AGAIN) from error


def _damaged(directory: Path, what: str) -> UserError:
    return UserError(f"{directory} is a damaged export: {what}. Copy it again, or {_AGAIN}.")


def _check_size(path: Path, most: int) -> None:
    if (size := os.stat(path).st_size) > most:
        raise ValueError(f"it has {size:,} bytes, more than any export")


def read_export_taxonomy(directory: Path, export: Export) -> Taxonomy:
    """Reads the classes of an export that read_export has checked.

    Raises:
        UserError: the file is no taxonomy, or one of other levels.
    """
    path = directory / TAXONOMY
    taxonomy = Taxonomy.from_json(read_text(path), str(path), "export the run again")
    sizes = {level: len(counts) for level, counts in export.train_counts.items()}
    if sizes != {level: taxonomy.num_classes(level) for level in taxonomy.levels}:
        raise _damaged(directory, f"{TAXONOMY} and {INDEX} are of different classes")
    return taxonomy


def read_test_vectors(directory: Path) -> dict[str, np.ndarray]:
    """Reads the test vectors of an export that read_export has checked: images, and the outputs by name.

    Raises:
        UserError: the file holds no arrays, or too large ones.
    """
    path = directory / TEST_VECTORS
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _MOST_ARRAYS:
                raise ValueError("its arrays are too large")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, LookupError, zipfile.BadZipFile) as error:
        raise unreadable(path, error, _AGAIN) from error

"""Folders of images as people arrange them."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.faults.lab import Fault, Lab, Try, is_sentence, refused
from tests.faults.shop import LABELS, Look, shop_fields


def make_folder(folder: Path, splits: Sequence[str] = ("",), per_class: int = 16) -> Path:
    """Writes SPLIT/MAIN/SUB/N.png, with `per_class` images in each class."""
    rng = np.random.default_rng(0)
    for split in splits:
        for labels in LABELS:
            where = folder / split / "/".join(labels)
            where.mkdir(parents=True)
            for i in range(per_class):
                Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).save(where / f"{i}.png")
    return folder


def folder_fields(folder: Path, **more: object) -> dict[str, object]:
    fields = {"data.source": "folder", "data.path": folder, "num_epochs": 1}
    return fields | {field.replace("__", "."): value for field, value in more.items()}


_CLASSES = {"/".join(labels) for labels in LABELS}


def _same_classes(
    name: str, change: Callable[[Path], object], lab: Lab, splits: Sequence[str] = ("",)
) -> Iterator[Try]:
    """Checks that the four classes and no others are found, or that all is refused in a sentence."""
    folder = make_folder(lab.folder / "data", splits)
    change(folder)
    look = Look(lab, folder_fields(folder))
    found = {labels[-1] for labels in look.labels.values()}
    is_refused = look.status == 2 and is_sentence(look.said)
    yield Try(name, is_refused or found == _CLASSES, look.said or f"{len(look.labels)} images of {len(found)} classes")


def _run_inside(where: str, lab: Lab) -> Iterator[Try]:
    """Puts the work directory inside the data; its page and figures must never become a class."""
    folder = make_folder(lab.folder / "data")
    workdir = folder / where
    first = lab.train(workdir, folder_fields(folder))
    status, said = first.wait(), first.sentence()
    look = Look(lab, folder_fields(folder))
    again = lab.train(workdir, folder_fields(folder))
    statuses = [status, again.wait()]
    found = {labels[-1] for labels in look.labels.values()}
    is_right = found == _CLASSES and (statuses == [0, 0] or (statuses == [2, 2] and is_sentence(said)))
    yield Try(f"a run in {where}", is_right, f"{statuses}: {said or again.stdout().strip().splitlines()[-1]}")


def _usual_names(train: str, validation: str, lab: Lab) -> Iterator[Try]:
    """Checks that folders with the usual names of splits, in any case, are the splits, and that none is swapped."""
    folder = make_folder(lab.folder / "data", (train, validation), per_class=8)
    workdir = lab.folder / "run"
    command = lab.train(workdir, folder_fields(folder, batch_size=16))
    status, said = command.wait(), command.sentence()
    is_right = status == 2 and is_sentence(said) and f"validation={train}" not in said
    if status == 0:
        data = json.loads((workdir / "data.json").read_text())["splits"]
        is_right = {name: split["images"] for name, split in data.items()} == {"train": 32, "validation": 32}
    yield Try(f"{train} and {validation}", is_right, said or f"{status}: 32 and 32 images")


def _merged(lab: Lab) -> Iterator[Try]:
    """Checks that the merged class that data.json names is one of the taxonomy."""
    folder = make_folder(lab.folder / "data")
    for i in range(3):
        where = folder / "Apparel" / f"Rare{i}"
        where.mkdir()
        for k in range(3):
            (folder / "Apparel" / "Dress" / f"{3 * i + k}.png").rename(where / f"{k}.png")
    fields = folder_fields(folder, data__min_images_per_class=5, data__rare_classes="merge")
    look = Look(lab, fields)
    workdir = lab.folder / "run"
    command = lab.train(workdir, fields)
    status = command.wait()
    if status:
        yield Try("rare classes merged", status == 2 and is_sentence(command.sentence()), command.sentence())
        return
    merged = json.loads((workdir / "data.json").read_text()).get("merged", {})
    classes = json.loads((workdir / "taxonomy.json").read_text())["classes"]["sub"]
    is_right = all(name in classes for name in merged) and look.status == 0
    yield Try("rare classes merged", is_right, f"merged: {json.dumps(merged)}; classes: {', '.join(classes)}")


def _loop(folder: Path) -> None:
    (folder / "Apparel" / "Loop").symlink_to(folder)


def _hidden(folder: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "Apparel/._0.png", "Apparel/Dress/.hidden.png"):
        (folder / name).write_bytes(b"\0\0\0\1Bud1")
    (folder / "__MACOSX" / "Apparel" / "Dress").mkdir(parents=True)
    (folder / "__MACOSX" / "Apparel" / "Dress" / "._0.png").write_bytes(b"x")


def _deeper(folder: Path) -> None:
    (folder / "Apparel" / "Dress" / "old").mkdir()
    (folder / "Apparel" / "Dress" / "0.png").rename(folder / "Apparel" / "Dress" / "old" / "0.png")


def _unreadable(folder: Path) -> None:
    (folder / "Apparel" / "Secret").symlink_to("/root/nothing")
    os.mkfifo(folder / "Apparel" / "Dress" / "pipe.png")


FOLDERS: list[Fault] = [
    functools.partial(_run_inside, "run"),
    functools.partial(_run_inside, "Apparel/run"),
    functools.partial(_usual_names, "Train", "Validation"),
    functools.partial(_usual_names, "TRAIN", "val"),
    functools.partial(_usual_names, "training", "Test"),
    functools.partial(_usual_names, "train", "Valid"),
    functools.partial(_same_classes, "an empty class", lambda folder: (folder / "Apparel" / "Empty").mkdir()),
    functools.partial(_same_classes, "a loop of links", _loop),
    functools.partial(_same_classes, "files of macOS and Windows", _hidden),
    functools.partial(_same_classes, "a folder too deep", _deeper),
    functools.partial(_same_classes, "a pipe and a dead link", _unreadable),
    _merged,
]


def _no_data(name: str, fields: dict[str, object], words: Sequence[str], lab: Lab) -> Iterator[Try]:
    empty = lab.folder / "empty"
    empty.mkdir()
    fields = {key: str(value).replace("EMPTY", str(empty)) for key, value in fields.items()}
    yield refused(name, lab.train(lab.folder / "run", shop_fields(empty) | fields), words)


NO_DATA: list[Fault] = [
    functools.partial(_no_data, "no such folder", {"data.path": "EMPTY/nowhere"}, ["nowhere"]),
    functools.partial(_no_data, "no table", {"data.path": "EMPTY"}, ["empty"]),
    functools.partial(_no_data, "an empty folder", {"data.source": "folder", "data.path": "EMPTY"}, ["empty"]),
    functools.partial(_no_data, "no such set", {"data.source": "tfds", "data.path": "EMPTY"}, ["empty"]),
]

"""Writes the page as a folder for any web server: it classifies in the browser, with no server behind it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fashion_jax.atomic import replacing_folder
from fashion_jax.command_line.output_files import folder_of_flag
from fashion_jax.errors import UserError
from fashion_jax.serving.demo.limits import Limits
from fashion_jax.serving.demo.page import static_assets

_DESCRIPTION = "model.json"
_RUNTIME = "runtime"  # folder of the page

# File of the page -> file of the package onnxruntime-web. Some web servers do not know the suffix .mjs.
_RUNTIME_FILES = {"ort.js": "ort.wasm.bundle.min.mjs", "ort.wasm": "ort-wasm-simd-threaded.wasm"}


def find_runtime(package: Path) -> dict[str, Path]:
    """Returns name in the page -> file of onnxruntime-web, given the folder of its unpacked package.

    Raises:
        UserError: the folder lacks one.
    """
    for folder in (package / "dist", package):
        found = {name: folder / file for name, file in _RUNTIME_FILES.items()}
        if all(path.is_file() for path in found.values()):
            return found
    raise UserError(
        f"--runtime is {str(package)!r}, which lacks dist/{_RUNTIME_FILES['ort.js']} or "
        f"dist/{_RUNTIME_FILES['ort.wasm']}: give the folder of the npm package onnxruntime-web, as "
        "'npm pack onnxruntime-web@1.30' and 'tar xf' leave it."
    )


def check_static_folder(folder: Path) -> None:
    """Checks that a folder can take the page: it is missing, empty, or an earlier page, which is replaced.

    Raises:
        UserError: something else is there.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UserError(f"--static is {str(folder)!r}, which is no folder: name another.")
    others = {path.name for path in folder.iterdir()} - {*static_assets(), _DESCRIPTION, _RUNTIME, "model.onnx"}
    if others:
        raise UserError(
            f"--static is {str(folder)!r}, where {min(others)} is no part of an earlier page: name another folder."
        )


def write_static_page(
    folder: Path, runtime: Mapping[str, Path], model: Mapping[str, Any], write_model: Callable[[Path], None]
) -> None:
    """Writes the page; an earlier one in its place stays until all is written.

    Args:
        folder: see `check_static_folder`.
        runtime: see `find_runtime`.
        model: see `description.describe`.
        write_model: writes model.onnx into a folder.

    Raises:
        UserError, RunError: the folder cannot be written.
    """
    folder = Path(os.path.realpath(folder))
    limits = {"file_bytes": Limits().file_bytes, "request_bytes": Limits().request_bytes}
    with (
        folder_of_flag("--static", folder.parent, named=folder),
        replacing_folder(folder, "name another --static") as temporary,
    ):
        for name, asset in static_assets().items():
            (temporary / name).write_bytes(asset.content)
        (temporary / _DESCRIPTION).write_text(json.dumps({**model, "limits": limits}), encoding="utf-8")
        (temporary / _RUNTIME).mkdir()
        for name, path in runtime.items():
            shutil.copyfile(path, temporary / _RUNTIME / name)
        write_model(temporary)

"""Loads an export: the same engine for every format, which answers as the run that was exported. Imports no jax."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from fashion_jax.errors import UserError, first_line, how_to_install
from fashion_jax.serving.exports.folder import MODELS, Export, read_export, read_export_taxonomy
from fashion_jax.serving.exports.graph import FEATURES, PATH, probabilities_name
from fashion_jax.taxonomy import Taxonomy

Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]  # uint8 canvases -> name of each output -> [n, ...]

_MODULES = {  # format -> module of this package that reads and writes it
    "stablehlo": "stablehlo",
    "onnx": "onnx_file",
    "savedmodel": "savedmodel",
    "tflite": "tflite",
}
_LIBRARIES = {  # format -> library that runs it -> its extra; "" if this package always needs it
    "stablehlo": {"jax": ""},
    "onnx": {"onnxruntime": "onnx"},
    "savedmodel": {"tensorflow": ""},
    "tflite": {"ai_edge_litert": "tflite"},
}
_TO_WRITE = {"onnx": {"onnx": "onnx"}, "tflite": {"tensorflow": ""}}  # besides


class ExportEngine:
    """Computes the probabilities of images by an export.

    Attributes:
        export: the contents of its export.json.
        taxonomy: the classes.
        temperatures: empty, since the model itself calibrates.
        decode: how the model makes the levels agree.
    """

    temperatures: Mapping[str, float] = {}

    def __init__(self, export: Export, taxonomy: Taxonomy, run: Run):
        """Takes what export.json says, the classes, and the function that runs the model."""
        self.export, self.taxonomy, self._run = export, taxonomy, run
        self.decode: str | None = export.decode

    @property
    def canvas(self) -> tuple[int, int]:
        """The (height, width) of the images."""
        return self.export.canvas

    @property
    def resize(self) -> str:
        """How an image is fitted to the canvas."""
        return self.export.resize

    @property
    def step(self) -> int:
        """The training steps of the exported checkpoint."""
        return self.export.step

    @property
    def batch_size(self) -> int:
        """The number of images at a time, unless a caller says otherwise."""
        return self.export.batch_size

    def outputs(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the outputs of the model for uint8 [n, height, width, 3]: name -> [n, ...].

        Raises:
            UserError: the model has other outputs than export.json says.
        """
        found = self._run(images)
        shapes = {probabilities_name(x): (self.taxonomy.num_classes(x),) for x in self.taxonomy.levels}
        shapes |= {PATH: (len(self.taxonomy.levels),), FEATURES: (self.export.features,)}
        for name, shape in shapes.items():
            if name not in found or found[name].shape != (len(images), *shape):
                raise UserError(
                    f"The {self.export.format} model of this export has no output {name} of {shape[0]} values for each "
                    "image: export the run again."
                )
        return {name: np.asarray(found[name]) for name in shapes}

    def log_probs(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Returns level -> log-probabilities [n, classes] of uint8 [n, height, width, 3], calibrated and decoded."""
        outputs = self.outputs(images)
        with np.errstate(divide="ignore"):
            return {level: np.log(outputs[probabilities_name(level)]) for level in self.taxonomy.levels}

    def features(self, images: np.ndarray) -> np.ndarray:
        """Returns the features float32 [n, features] of uint8 [n, height, width, 3]."""
        return self.outputs(images)[FEATURES]


def load_engine(directory: Path, cache_dir: str = "") -> ExportEngine:
    """Loads an export. As of a run, what is compiled from now on is kept, if JAX runs the export.

    Args:
        directory: of the export; its files are checked before any is parsed.
        cache_dir: the cache to keep it in, as data.cache_dir, unless one is in use already; "" for the default.

    Raises:
        UserError: the folder is no export or is damaged, or the library that runs its format is not installed.
    """
    export = read_export(directory)
    check_installed(export.format)
    taxonomy = read_export_taxonomy(directory, export)
    if export.format == "stablehlo":
        from fashion_jax.devices.compilation_cache import enable_compilation_cache

        enable_compilation_cache(cache_dir)
    try:
        run = format_module(export.format).read(directory)
    except Exception as error:  # whatever a library makes of a file that is no model
        raise UserError(
            f"{directory / MODELS[export.format]} is no {export.format} model that can be loaded here "
            f"({first_line(error)}): export the run again."
        ) from error
    return ExportEngine(export, taxonomy, run)


def format_module(name: str):  # type: ignore[no-untyped-def]  # a module, by whose functions write and read
    """Returns the module that writes and reads a format, by its functions `write` and `read`."""
    return importlib.import_module(f"fashion_jax.serving.exports.{_MODULES[name]}")


def check_installed(name: str, *, to_write: bool = False) -> None:
    """Checks, without importing it, that the library is installed that runs a format, or also the one that writes it.

    Raises:
        UserError: one is not.
    """
    libraries = _LIBRARIES[name] | (_TO_WRITE.get(name, {}) if to_write else {})
    for library, extra in libraries.items():
        if importlib.util.find_spec(library) is None:
            what = "Writing" if to_write else "Loading"
            raise UserError(
                f"{what} an export as {name} needs {library}, which is not installed: {how_to_install(extra)}."
            )

"""Opens TFDS datasets without running code that is not part of TFDS.

The features.json of a dataset names the class of each feature, and TFDS imports the module of any class it does not
know. A dataset's name may have a namespace, whose code TFDS downloads. Both are refused before anything is imported.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fashion_jax.errors import UserError, first_line

_OWN = "tensorflow_datasets."

_NAMESPACE = re.compile(r"[\w\-]+:(?![\d*])")  # "kaggle:set", but not "set:1.0.0", which has a version

_lock = threading.RLock()


def builder_of_directory(path: Path) -> Any:
    """Returns the TFDS builder of a dataset on disk, read from its dataset_info.json and features.json.

    Raises:
        UserError: these files are damaged, or name a class that is not one of TFDS's features.
    """
    import tensorflow_datasets as tfds

    with _own_features(str(path)):
        try:
            return tfds.builder_from_directory(str(path))
        except (OSError, MemoryError, ImportError, UserError):
            raise
        except Exception as error:  # TFDS raises many kinds of errors for truncated or changed files
            raise damaged(path, error) from error


def builder_of_name(name: str, data_dir: Path | None) -> Any:
    """Returns the TFDS builder of a dataset by its name; downloads the dataset if it is not on disk.

    Raises:
        UserError: TFDS has no such dataset, cannot make it, or would have to run code that is not its own.
    """
    import tensorflow_datasets as tfds

    _check_name(name)
    options = {"data_dir": str(data_dir)} if data_dir else {}
    with _own_features(name):
        try:
            builder = tfds.builder(name, **options)
            if not os.path.isdir(builder.data_dir):
                builder = tfds.builder(name, file_format="array_record", **options)
                builder.download_and_prepare()
            return builder
        except UserError:
            raise
        except tfds.core.DatasetNotFoundError as error:
            raise UserError(
                f"data.tfds is {name!r}, which is no set of TFDS {tfds.__version__}: name one of its sets."
            ) from error
        except Exception as error:  # downloading and making a dataset raises many kinds of errors
            raise UserError(
                f"The TFDS set {name!r} is not in {str(data_dir or '~/tensorflow_datasets')!r} and cannot be made "
                f"there ({type(error).__name__}: {first_line(error)}): set data.path to a folder that has it."
            ) from error


def features_of_name(name: str) -> Any:
    """Returns the features of a TFDS dataset by its name, without downloading it.

    Raises:
        UserError: the name asks for code that is not part of TFDS.
    """
    import tensorflow_datasets as tfds

    _check_name(name)
    with _own_features(name):
        return tfds.builder(name).info.features


def _check_name(name: str) -> None:
    """Refuses a name with a namespace, such as huggingface:, whose code TFDS would download and run."""
    if found := _NAMESPACE.match(name):
        raise UserError(
            f"data.tfds is {name!r}, but TFDS would fetch and run code from {found[0]!r}: name one of TFDS's own sets, "
            "or make the set with that code yourself and name its folder in data.path."
        )


def damaged(folder: Path, error: Exception) -> UserError:
    """Returns the error for a dataset whose files TFDS cannot read."""
    return UserError(
        f"The TFDS set in {str(folder)!r} is damaged ({type(error).__name__}: {first_line(error)}): copy it anew."
    )


@contextlib.contextmanager
def _own_features(title: str) -> Iterator[None]:
    """While open, makes TFDS accept only its own feature classes and import no module to find one."""
    import tensorflow_datasets as tfds

    base = tfds.features.FeatureConnector

    def class_of(cls: type, name: str) -> type:
        if name not in {f"{c.__module__}.{c.__name__}" for c in _subclasses(base) if c.__module__.startswith(_OWN)}:
            raise UserError(
                f"The TFDS set {title!r} has a feature of the class {str(name)!r}, which is not one of TFDS's own "
                "and is not run: make the set anew with features of tfds.features."
            )
        return original.__func__(cls, name)

    with _lock:
        original = base.__dict__["cls_from_name"]  # the only place where TFDS looks up a class by name
        base.cls_from_name = classmethod(class_of)
        try:
            yield
        finally:
            base.cls_from_name = original


def _subclasses(base: type) -> Iterator[type]:
    below: type
    for below in base.__subclasses__():
        yield below
        yield from _subclasses(below)

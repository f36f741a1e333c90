"""Opening sets of TFDS without running anybody's code but TFDS's own.

A set's features.json names the class of each feature, and TFDS imports the module of any name that it does not know. A
set's name may have a namespace, whose code TFDS fetches from elsewhere. Both are refused before anything is imported.
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
    """The TFDS builder of a set on the disk, by its dataset_info.json and features.json.

    Raises:
        UserError: these are damaged, or name a class that is not one of TFDS's features.
    """
    import tensorflow_datasets as tfds

    with _own_features(str(path)):
        try:
            return tfds.builder_from_directory(str(path))
        except (OSError, MemoryError, ImportError, UserError):
            raise
        except Exception as error:  # whatever TFDS raises of files that are cut off or changed
            raise damaged(path, error) from error


def builder_of_name(name: str, data_dir: Path | None) -> Any:
    """The TFDS builder of a set by its name; the set is downloaded where it is not on the disk.

    Raises:
        UserError: TFDS has no such set, cannot make it, or would have to run code that is not its own.
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
        except Exception as error:  # whatever a download or the making of a set raises
            raise UserError(
                f"The TFDS set {name!r} is not in {str(data_dir or '~/tensorflow_datasets')!r} and cannot be made "
                f"there ({type(error).__name__}: {first_line(error)}): set data.path to a folder that has it."
            ) from error


def features_of_name(name: str) -> Any:
    """The features of a set of TFDS by its name; nothing is downloaded.

    Raises:
        UserError: the name asks for code that is not TFDS's own.
    """
    import tensorflow_datasets as tfds

    _check_name(name)
    with _own_features(name):
        return tfds.builder(name).info.features


def _check_name(name: str) -> None:
    """Refuses a namespace, such as huggingface: or that of a community, whose code TFDS would fetch and run."""
    if found := _NAMESPACE.match(name):
        raise UserError(
            f"data.tfds is {name!r}, but TFDS would fetch and run code from {found[0]!r}: name one of TFDS's own sets, "
            "or make the set with that code yourself and name its folder in data.path."
        )


def damaged(folder: Path, error: Exception) -> UserError:
    """The error of a set whose files TFDS cannot read."""
    return UserError(
        f"The TFDS set in {str(folder)!r} is damaged ({type(error).__name__}: {first_line(error)}): copy it anew."
    )


@contextlib.contextmanager
def _own_features(title: str) -> Iterator[None]:
    """While this is open, TFDS makes features of its own classes only, and imports no module to find a class."""
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
        original = base.__dict__["cls_from_name"]  # the one place where TFDS finds the class of a name
        base.cls_from_name = classmethod(class_of)
        try:
            yield
        finally:
            base.cls_from_name = original


def _subclasses(base: type) -> Iterator[type]:
    for below in base.__subclasses__():
        yield below
        yield from _subclasses(below)

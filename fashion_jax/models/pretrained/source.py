"""Opens a source of weights: a file, the folder of a timm repository, or a repository of the Hugging Face Hub."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fashion_jax.atomic import read_text
from fashion_jax.config.architectures import TRUNKS
from fashion_jax.config.fields import MEAN, STD, wrong_normalization
from fashion_jax.errors import UserError, first_line
from fashion_jax.json_text import parse_json
from fashion_jax.models.pretrained import hub
from fashion_jax.models.pretrained.matching import Matched, find_architecture, match
from fashion_jax.models.pretrained.safetensors_file import read_safetensors
from fashion_jax.models.pretrained.tensors import Unsuitable
from fashion_jax.models.pretrained.torch_file import read_torch

CONFIG = "config.json"  # timm's, in the folder of a repository
FILES = ("model.safetensors", "pytorch_model.bin")  # the weights in such a folder; the first one there is read
SOURCES = "a .safetensors or .pth file, the folder of a timm repository, or hf://OWNER/NAME"
# By the end of a file's name; .tar is of the .pth.tar of many trainings, which is no archive of tar.
_READERS = {".safetensors": read_safetensors} | dict.fromkeys((".pth", ".pt", ".bin", ".tar", ".ckpt"), read_torch)
# Arguments of timm's models that leave the trunk as it is.
_HARMLESS = {"num_classes", "global_pool", "drop_rate", "drop_path_rate", "img_size", "pretrained"}


class PixelStatistics(NamedTuple):
    """Mean and standard deviation of pixels from 0 to 1: of red, green and blue."""

    mean: list[float]
    std: list[float]


IMAGENET = PixelStatistics([*MEAN], [*STD])


class Weights(NamedTuple):
    """The weights of a source.

    Attributes:
        architecture: one of TRUNKS.
        matched: the arrays.
        normalization: of the pixels that the weights were trained with; ImageNet's if the source does not say.
        says_normalization: whether it does.
    """

    architecture: str
    matched: Matched
    normalization: PixelStatistics
    says_normalization: bool


def is_weights(source: str) -> bool:
    """Returns whether a source is a file, a folder or a repository of weights, and not the work directory of a run."""
    path = Path(source).expanduser()
    if source.startswith(hub.PREFIX) or path.suffix in _READERS or os.path.isfile(path):
        return True
    config = _config(path, {})
    if isinstance(config.get("model"), dict):  # a run's, beside which weights may lie that were written from it
        return False
    return any(os.path.exists(path / name) for name in FILES) or "architecture" in config


def open_weights(source: str, field: str, architecture: str | None = None) -> Weights:
    """Opens a source of weights and checks the names and shapes of its arrays; their values are read later.

    Args:
        source: as a user names it.
        field: what the user sets to it, for messages.
        architecture: one of TRUNKS that the source must hold; None for any.

    Raises:
        UserError: the source cannot be read, or holds another architecture.
    """
    with naming(source, field):
        path = Path(source).expanduser()
        if source.startswith(hub.PREFIX):
            path = hub.download(source, CONFIG, FILES, lambda folder: _check_config(_config(folder), architecture))
        if not path.exists():
            raise Unsuitable(f"which does not exist: name {SOURCES}.")
        config: dict[str, Any] = {}
        if path.is_dir():
            config, path = _config(path), _file(path)
        if path.suffix not in _READERS:
            raise Unsuitable(
                f"which is no file of weights by its name, whose end is none of {', '.join(_READERS)}: name {SOURCES}."
            )
        _check_config(config, architecture)
        tensors = _READERS[path.suffix](path)
        found = architecture or config.get("architecture") or find_architecture(tensors)
        normalization = _normalization(config)
        return Weights(found, match(tensors, found), normalization or IMAGENET, normalization is not None)


@contextlib.contextmanager
def naming(source: str, field: str) -> Iterator[None]:
    """Completes the error of a block with the field and the source that it is about.

    Raises:
        UserError: the block has raised Unsuitable.
    """
    try:
        yield
    except Unsuitable as error:
        raise UserError(f"{field} is {source!r}, {error}") from error


def _file(folder: Path) -> Path:
    for name in FILES:
        if (folder / name).exists():
            return folder / name
    raise Unsuitable(f"a folder without {' or '.join(FILES)}: name {SOURCES}.")


def _config(folder: Path, default: dict[str, Any] | None = None) -> dict[str, Any]:
    """Reads the config.json of a timm repository; returns the default, if there is one, where it cannot be read."""
    try:
        config = parse_json(read_text(folder / CONFIG))
        if not isinstance(config, dict):
            raise ValueError("it is no object")
        return config
    except (OSError, ValueError) as error:
        if default is not None:
            return default
        raise Unsuitable(
            f"whose {CONFIG} cannot be read ({first_line(error)}): restore it from the repository, or name the file "
            "of weights alone."
        ) from error


def _object_of(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Returns an object of the config of a repository; an empty one if it has none."""
    found = config.get(name) or {}
    if not isinstance(found, dict):
        raise Unsuitable(f"whose {CONFIG} has {found!r} as {name}, which must be an object: correct it.")
    return found


def _check_config(config: dict[str, Any], architecture: str | None) -> None:
    """Checks that the config of a repository is of an architecture of this project, and of the wanted one."""
    if not config:
        return
    wanted, name = architecture or " or ".join(TRUNKS), config.get("architecture")
    if name is None:
        raise Unsuitable(
            f"whose {CONFIG} names no architecture of timm, as those of transformers' models do not: name a "
            f"repository of timm with weights of {wanted}, or a file."
        )
    if name not in TRUNKS:
        raise Unsuitable(f"whose {CONFIG} names the architecture {name!r}: name weights of {wanted}.")
    if architecture and name != architecture:
        raise Unsuitable(f"which holds {name}, not {architecture}: name weights of {architecture}.")
    arguments = _object_of(config, "model_args")
    if changed := sorted({*arguments} - _HARMLESS):
        raise Unsuitable(
            f"whose {CONFIG} changes the {name} by model_args.{changed[0]}: name weights of {name} as timm builds it "
            "by default."
        )


def _normalization(config: dict[str, Any]) -> PixelStatistics | None:
    """Returns the normalisation of a repository's pretrained_cfg, which older ones have at the top of config.json.

    None if the config has none.
    """
    pretrained = _object_of(config, "pretrained_cfg") or config
    found = {name: pretrained[name] for name in ("mean", "std") if name in pretrained}
    if not found:
        return None
    if wrong := wrong_normalization(found):
        raise Unsuitable(
            f"whose {CONFIG} normalizes pixels in a way that cannot be used ({wrong}): correct its pretrained_cfg."
        )
    return PixelStatistics(*([float(x) for x in found[name]] for name in ("mean", "std")))

"""Describes pretrained weights, and compares them with PyTorch: python -m fashion_jax.models.pretrained SOURCE."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fashion_jax.atomic import write_bytes
from fashion_jax.command_line import Parser, run_command
from fashion_jax.command_line.output_files import check_output
from fashion_jax.config.architectures import TRUNKS
from fashion_jax.config.combinations import head_names, normalization, trunk_names, trunk_paths
from fashion_jax.config.fields import MEAN, STD
from fashion_jax.config.loading import load_run_config
from fashion_jax.errors import RunError, UserError
from fashion_jax.models.pretrained.matching import left_out_words, read_leaf
from fashion_jax.models.pretrained.names import Leaf, hidden_leaves, trunk_leaves
from fashion_jax.models.pretrained.source import SOURCES, is_weights, naming, open_weights
from fashion_jax.workdir.paths import config_path

_TOLERANCE = 1e-4  # of the largest feature
_SHAPE = (2, 224, 224, 3)  # of the images that are compared

Arrays = dict[Leaf, np.ndarray]  # in the layout of this project


class Trunk(NamedTuple):
    """A trunk of a source.

    Attributes:
        architecture: one of TRUNKS.
        arrays: of the trunk.
        hidden: of the two hidden layers of VGG's classifier, if the source has them.
        normalization: mean and std of its pixels.
        left_out: in words, what of the source is not used.
    """

    architecture: str
    arrays: Arrays
    hidden: Arrays
    normalization: Mapping[str, Any]
    left_out: str = ""


def main(arguments: list[str] | None = None) -> int:
    """Describes the weights that the arguments name; returns the exit status."""
    return run_command(_describe, arguments)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Returns the flags.

    Raises:
        UserError: a flag is unknown or lacks its value.
    """
    parser = Parser(
        prog="python -m fashion_jax.models.pretrained",
        description="Describes the weights of a trunk, and compares its features with PyTorch's if it is installed.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a .safetensors or .pth file, the folder of a timm repository, hf://OWNER/NAME[@REVISION], or the "
        "--workdir of a run",
    )
    parser.add_argument("--trunk", metavar="NAME", help="the trunk of a hybrid run: resnet34 or vgg16")
    parser.add_argument(
        "--to-torch",
        metavar="FILE",
        type=Path,
        help="write the trunk to a .safetensors file, under torchvision's names",
    )
    parser.add_argument("--verbose", action="store_true", help="show where an error comes from")
    return parser.parse_args(arguments)


def _describe(arguments: list[str]) -> None:
    flags = parse(arguments)
    if flags.to_torch and flags.to_torch.suffix != ".safetensors":
        raise UserError(f"--to-torch is {str(flags.to_torch)!r}, but must be the name of a .safetensors file.")
    check_output("--to-torch", flags.to_torch)
    trunk = _trunk(flags.source, flags.trunk)
    values = sum(x.size for x in trunk.arrays.values())
    parts = [f"{len(trunk.arrays)} of the trunk, {values:,} values"]
    parts += [f"{len(trunk.hidden)} of the hidden layers of its classifier"] if trunk.hidden else []
    print(f"architecture: {trunk.architecture}")
    print("; ".join(filter(None, [f"arrays: {' and '.join(parts)}", trunk.left_out])))
    mean, std = (", ".join(f"{x:.6g}" for x in trunk.normalization[name]) for name in ("mean", "std"))
    print(f"normalization: mean {mean}; std {std}")
    if flags.to_torch:
        write_bytes(flags.to_torch, _to_torch(trunk))
        print(f"written to {flags.to_torch}, under torchvision's names{_normalization_words(trunk)}")
    _compare(trunk)


def _trunk(source: str, name: str | None) -> Trunk:
    """Returns the trunk of a source; of a hybrid run, the one with this name.

    Raises:
        UserError: there is no such source, or it cannot be used.
    """
    if is_weights(source):
        if name:
            raise UserError(f"--trunk is {name!r}, but {source!r} holds one trunk only: leave it out.")
        return _of_weights(source)
    folder = Path(source).expanduser()
    if not config_path(folder).is_file():
        raise UserError(f"SOURCE is {source!r}, where there are neither weights nor a run: name {SOURCES}, or a run.")
    return _of_run(folder, name)


def _normalization_words(trunk: Trunk) -> str:
    """Returns how a run has to normalise the pixels of the written trunk, which has no place for that."""
    mean, std = ([float(f"{x:.6g}") for x in trunk.normalization[name]] for name in ("mean", "std"))
    if (mean, std) == ([*MEAN], [*STD]):
        return ""
    table = {trunk.architecture: {"mean": mean, "std": std}}
    return f'; its pixels are not normalised as ImageNet\'s, so begin with it by --config.model.normalization="{table}"'


def _of_weights(source: str) -> Trunk:
    weights = open_weights(source, "SOURCE")
    matched, normalization = weights.matched, weights.normalization._asdict()
    with naming(source, "SOURCE"):
        arrays, hidden = ({leaf: read_leaf(leaf, x) for leaf, x in part} for part in (matched.trunk, matched.hidden))
    return Trunk(weights.architecture, arrays, hidden, normalization, left_out_words(matched.left_out))


def _of_run(workdir: Path, name: str | None) -> Trunk:
    """Returns a trunk of a run's best checkpoint, and the hidden layers of its finest head of the kind "classifier"."""
    config = load_run_config(config_path(workdir))
    trunks = [trunk for trunk in trunk_names(config.model.name) if name in (None, trunk)]
    if len(trunks) != 1 or trunks[0] not in TRUNKS:
        raise UserError(
            f"--trunk is {name!r}, but the model in {workdir} is made of "
            f"{' and '.join(trunk_names(config.model.name))}: name one."
        )
    from flax.traverse_util import flatten_dict

    from fashion_jax.workdir.trained import load_trained

    state = load_trained(workdir).state
    found = {("params", *path): x for path, x in flatten_dict(state.params).items()} | flatten_dict(state.model_state)
    root = trunk_paths(config.model.name)[trunks[0]]
    arrays = {leaf: np.asarray(found[leaf.collection, *root, *leaf.path]) for leaf in trunk_leaves(trunks[0])}
    levels = [level for level, head in head_names(config).items() if head == "classifier"]
    hidden = hidden_leaves(trunks[0]) if levels and config.model.name == trunks[0] else []
    return Trunk(
        architecture=trunks[0],
        arrays=arrays,
        hidden={leaf: np.asarray(found[leaf.collection, f"heads_{levels[-1]}", *leaf.path]) for leaf in hidden},
        normalization=normalization(config.model.normalization, trunks[0]),
    )


def _state_dict(trunk: Trunk) -> dict[str, np.ndarray]:
    """Returns the arrays under the names and in the layout of torchvision."""
    arrays = trunk.arrays | trunk.hidden
    return {leaf.name: np.ascontiguousarray(leaf.to_torch(x)) for leaf, x in arrays.items()}


def _to_torch(trunk: Trunk) -> bytes:
    from safetensors.numpy import save

    return save(_state_dict(trunk), {"format": "pt"})


def _compare(trunk: Trunk) -> None:
    """Prints the largest difference of features from PyTorch's.

    Raises:
        RunError: it is too large.
    """
    if lacking := [name for name in ("torch", "torchvision") if importlib.util.find_spec(name) is None]:
        print(f"features are not compared with PyTorch's: {' and '.join(lacking)} cannot be imported")
        return
    from torchvision import models

    if not hasattr(models, trunk.architecture):
        print(f"features are not compared with PyTorch's: torchvision has no {trunk.architecture}")
        return
    pixels = np.random.default_rng(0).uniform(0, 255, _SHAPE).astype(np.float32)
    difference = max(
        float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        for ours, theirs in zip(_features(trunk, pixels), _torch_features(trunk, pixels), strict=True)
    )
    print(f"largest difference from PyTorch's features: {difference:.1e} of the largest feature")
    if not difference <= _TOLERANCE:
        raise RunError(
            f"The features of {trunk.architecture} differ by {difference:.1e} of the largest one from PyTorch's, over "
            f"{_TOLERANCE}: report it, with the versions of jax and torch."
        )


def _features(trunk: Trunk, pixels: np.ndarray) -> list[np.ndarray]:
    """Returns the features of a trunk and, if it has them, those of the hidden layers of its classifier."""
    import jax
    from flax.traverse_util import unflatten_dict

    from fashion_jax.models.classifier import create_trunk

    module = create_trunk(trunk.architecture, trunk.normalization)
    variables = unflatten_dict({(leaf.collection, *leaf.path): x for leaf, x in trunk.arrays.items()})
    with jax.default_matmul_precision("highest"):  # otherwise GPUs and TPUs compute in less than float32
        features = [np.asarray(jax.jit(lambda x: module.apply(variables, x, train=False))(pixels))]
    if trunk.hidden:
        first, first_bias, second, second_bias = trunk.hidden.values()
        hidden = np.maximum(features[0] @ first + first_bias, 0)
        features.append(np.maximum(hidden @ second + second_bias, 0))
    return features


def _torch_features(trunk: Trunk, pixels: np.ndarray) -> list[np.ndarray]:
    """Returns what `_features` returns, computed by torchvision's network."""
    import torch
    from torchvision import models

    model = getattr(models, trunk.architecture)(weights=None).eval()
    state = {name: torch.from_numpy(x.astype(np.float32)) for name, x in _state_dict(trunk).items()}
    model.load_state_dict(state, strict=False)
    mean, std = (np.asarray(trunk.normalization[name], np.float32) for name in ("mean", "std"))
    images = torch.from_numpy((pixels / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()
    with torch.inference_mode():
        if trunk.architecture.startswith("resnet"):
            model.fc = torch.nn.Identity()
            return [model(images).numpy()]
        maps = model.avgpool(model.features(images))
        features = [maps.permute(0, 2, 3, 1).flatten(1).numpy()]
        return features + ([model.classifier[:5](maps.flatten(1)).numpy()] if trunk.hidden else [])


if __name__ == "__main__":
    sys.exit(main())

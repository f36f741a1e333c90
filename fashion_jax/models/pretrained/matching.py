"""Matches the arrays of a file of weights with those of a trunk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from fashion_jax.config.architectures import TRUNKS, VGG_POOLED, VGGS
from fashion_jax.models.pretrained.names import Leaf, hidden_leaves, trunk_leaves
from fashion_jax.models.pretrained.tensors import Tensor, Tensors, Unsuitable

# Layers behind the trunk, by their beginnings: of torchvision's ResNets, torchvision's VGGs, and timm's VGGs (two).
_CLASSIFIER = ("fc.", "classifier.", "pre_logits.", "head.")
# timm's VGGs have convolutions as hidden layers: its name of a layer -> torchvision's, and the size of the kernel.
_HIDDEN = {"pre_logits.fc1": ("classifier.0", VGG_POOLED), "pre_logits.fc2": ("classifier.3", 1)}


class Matched(NamedTuple):
    """The arrays of a file that belong to a trunk.

    Attributes:
        trunk: pairs of an array of the trunk and its values.
        hidden: the same of the two hidden layers of VGG's classifier; empty if the file has none of their shapes.
        left_out: the names of the other arrays of the file's classifier.
        prefix: what the names of all these arrays begin with in the file, such as "backbone."; arrays without it are
            not looked at.
    """

    trunk: list[tuple[Leaf, Tensor]]
    hidden: list[tuple[Leaf, Tensor]]
    left_out: list[str]
    prefix: str


def match(tensors: Tensors, architecture: str) -> Matched:
    """Matches the arrays of a file with those of a trunk.

    Args:
        tensors: name in torchvision or timm, possibly behind a prefix that all arrays of the trunk have -> array.
        architecture: one of TRUNKS.

    Raises:
        Unsuitable: names the arrays that are missing, that are not the trunk's, or that have another shape; or there
            are several such prefixes.
    """
    prefix, tensors = _without_prefix(tensors)
    tensors = _with_torchvision_names(tensors, architecture)
    if wrong := _differences(tensors, architecture):
        others = [name for name in TRUNKS if not _differences(_with_torchvision_names(tensors, name), name)]
        if others:
            raise Unsuitable(f"which holds {others[0]}, not {architecture}: name weights of {architecture}.")
        raise Unsuitable(f"which is no {architecture} ({'; '.join(wrong)}): name weights of {architecture}.")
    hidden = hidden_leaves(architecture) if _has_hidden(tensors, architecture) else []
    used = {leaf.name for leaf in hidden}
    return Matched(
        trunk=[(leaf, tensors[leaf.name]) for leaf in trunk_leaves(architecture)],
        hidden=[(leaf, tensors[leaf.name]) for leaf in hidden],
        left_out=[name for name in tensors if name.startswith(_CLASSIFIER) and name not in used],
        prefix=prefix,
    )


def find_architecture(tensors: Tensors) -> str:
    """Returns the first of TRUNKS that the arrays of a file belong to.

    Raises:
        Unsuitable: there is none; the message tells what distinguishes the most similar one.
    """
    _, tensors = _without_prefix(tensors)
    wrong = {name: _differences(_with_torchvision_names(tensors, name), name) for name in TRUNKS}
    for name, differences in wrong.items():
        if not differences:
            return name
    known = {name: len({leaf.name for leaf in trunk_leaves(name)} & tensors.keys()) for name in TRUNKS}
    closest = max(known, key=lambda name: known[name])
    raise Unsuitable(
        f"which holds none of {', '.join(TRUNKS)} (for {closest}: {'; '.join(wrong[closest])}): name weights of "
        "one of them."
    )


def _without_prefix(tensors: Tensors) -> tuple[str, Tensors]:
    """Returns what the arrays of a trunk have before their names, and the arrays that have it, without it.

    Training with several GPUs puts "module." there, Lightning "model.", self-supervised training "backbone." or
    "encoder_q.", torch.compile "_orig_mod.". Only names of whole trunks count: layer1.0.conv1.weight has no prefix.

    Raises:
        Unsuitable: there are several, such as those of an encoder and its average.
    """
    prefixes = set()
    for names in ([leaf.name for leaf in trunk_leaves(name)] for name in TRUNKS):
        possible = {name.removesuffix(names[0]) for name in tensors if name.endswith(names[0])}
        prefixes |= {prefix for prefix in possible if all(prefix + name in tensors for name in names)}
    if "" in prefixes or not prefixes:
        return "", tensors
    if len(prefixes) > 1:
        raise Unsuitable(
            f"which holds several trunks, under {' and '.join(sorted(prefixes))}: save one of them without what is "
            "before its names, by safetensors.torch.save_file."
        )
    (prefix,) = prefixes
    return prefix, {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}


def _with_torchvision_names(tensors: Tensors, architecture: str) -> dict[str, Tensor]:
    """Returns the arrays under torchvision's names, without the counts of batches that BatchNorm keeps."""
    found = {name: x for name, x in tensors.items() if not name.endswith(".num_batches_tracked")}
    if architecture not in VGGS:
        return found
    for layer, (name, size) in _HIDDEN.items():
        if (x := found.pop(f"{layer}.weight", None)) is not None:
            is_kernel = len(x.shape) == 4 and x.shape[2:] == (size, size)
            found[f"{name}.weight"] = x.reshaped((x.shape[0], x.shape[1] * size**2)) if is_kernel else x
        if (x := found.pop(f"{layer}.bias", None)) is not None:
            found[f"{name}.bias"] = x
    return found


def _differences(tensors: Tensors, architecture: str) -> list[str]:
    """Returns in words how arrays under torchvision's names differ from a trunk, by kind."""
    expected = {leaf.name: leaf.shape for leaf in trunk_leaves(architecture)}
    found = {name: x.shape for name, x in tensors.items() if not name.startswith(_CLASSIFIER)}
    wrong = []
    if missing := [name for name in expected if name not in found]:
        wrong.append(f"{_some(missing)} missing")
    if surplus := [name for name in found if name not in expected]:
        wrong.append(f"{_some(surplus)} too many")
    if others := [name for name in expected if found.get(name, expected[name]) != expected[name]]:
        shape = f"{others[0]} is {[*found[others[0]]]} instead of {[*expected[others[0]]]}"
        wrong.append(f"{_some(others)} of another shape: {shape}")
    return wrong


def _has_hidden(tensors: Tensors, architecture: str) -> bool:
    """Returns whether arrays under torchvision's names hold the hidden layers of a VGG's classifier."""
    hidden = hidden_leaves(architecture)
    return bool(hidden) and all(leaf.name in tensors and tensors[leaf.name].shape == leaf.shape for leaf in hidden)


def _some(names: Sequence[str]) -> str:
    """Names the first of some arrays, and the number of the others."""
    others = _others(len(names) - 1)
    return f"{names[0]} and {others} are" if len(names) > 1 else f"{names[0]} is"


def _others(count: int) -> str:
    return f"{count} others" if count > 1 else "1 other"


def left_out_words(names: Iterable[str]) -> str:
    """Says which layers of a file are not used; empty if all are."""
    layers = sorted({name.rpartition(".")[0] for name in names})
    if not layers:
        return ""
    if len(layers) == 1:
        return f"the layer {layers[0]} of its classifier is left out"
    return f"the layers {', '.join(layers)} of its classifier are left out"


def read_leaf(leaf: Leaf, tensor: Tensor) -> np.ndarray:
    """Reads the values of an array in the layout of this project.

    Raises:
        Unsuitable: they cannot be read, or are not all finite.
    """
    values = tensor.read()
    if not np.isfinite(values).all():
        raise Unsuitable(f"whose {leaf.name} has values that are not finite: download it again, or name another.")
    return leaf.to_flax(values)

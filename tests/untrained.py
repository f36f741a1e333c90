"""Runs that were never trained, with random parameters and statistics, and what they answer."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax import Array
from ml_collections import ConfigDict

from configs import default
from fashion_jax.config.architectures import RESNETS, VGGS, ResNetSizes
from fashion_jax.devices.mesh import create_mesh, fetch
from fashion_jax.scoring.temperature import apply_temperatures
from fashion_jax.scoring.tree_decoding import decode, predicted_classes
from fashion_jax.step.program import create_program
from fashion_jax.step.train_state import TrainState
from fashion_jax.step.train_step import embed_step, eval_step
from fashion_jax.taxonomy import Taxonomy
from fashion_jax.workdir.trained import Trained

# Tops has no children, nor has Apparel/Hats, and the classes of a level do not follow the order of their parents.
TAXONOMY = Taxonomy(
    ("main", "sub", "type"),
    {
        "main": ("Apparel", "Tops", "Shoes"),
        "sub": ("Shoes/Boots", "Apparel/Hats", "Apparel/Coats", "Shoes/Clogs", "Apparel/Belts"),
        "type": ("Apparel/Coats/Long", "Shoes/Boots/High", "Apparel/Coats/Short", "Shoes/Clogs/x", "Apparel/Belts/x"),
    },
    {"main": (), "sub": (2, 0, 0, 2, 0), "type": (2, 0, 2, 3, 4)},
)
TEMPERATURES = {"main": 1.7, "sub": 0.6, "type": 2.5}

# A name of each case -> the fields of its config that are not the defaults, with "." for sections.
CASES = {
    "basic blocks, canvas, mirror images, post hoc": {
        "model.name": "resnet18",
        "image_size": [16, 10],  # the last maps are 2 x 2
        "data.canvas_size": [21, 13],
        "eval_flip": True,
        "rare_classes.post_hoc": {"main": 0.5, "sub": 1.0},
    },
    "bottlenecks, conditions": {"model.name": "resnet50", "image_size": [10, 16], "model.condition_on_parent": True},
    "VGG with BatchNorm, levels without a head": {
        "model.name": "vgg16_bn",
        "image_size": [36, 44],
        "model.heads": {"type": "sub"},
    },
    "gated hybrid, a level without a head": {
        "model.name": "hybrid",
        "model.fusion": "gated",
        "model.heads": {"main": "main", "type": "linear"},
        "model.normalization": {"vgg16": {"mean": [0.4, 0.5, 0.6], "std": [0.3, 0.2, 0.1]}},
    },
}
LARGE_CASES = {
    "VGG, its own classifier, one level": {
        "model.name": "vgg16",
        "model.heads": {"main": "classifier"},
        "data.levels": {"main": "main"},
    },
    "concatenated hybrid, mirror images": {"model.name": "hybrid", "eval_flip": True},
}


def shrink_all_trunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives every trunk two stages of few layers."""
    for name, sizes in RESNETS.items():
        monkeypatch.setitem(RESNETS, name, ResNetSizes((1, 1), sizes.has_bottlenecks))
    for name in VGGS:
        monkeypatch.setitem(VGGS, name, ((8, 1), (16, 2)))


def make_config(fields: dict) -> ConfigDict:
    """Returns the defaults with some fields changed, for images of 32 px unless they say otherwise."""
    config = default.get_config()
    config.image_size, config.augment = 32, "none"
    config.data.levels = {level: level for level in TAXONOMY.levels}
    for field, value in fields.items():
        *sections, name = field.split(".")
        section = config
        for part in sections:
            section = section[part]
        section[name] = value
    return config


def make_trained(config: ConfigDict, seed: int = 0) -> Trained:
    """Returns a run of the classes of TAXONOMY at the config's levels, with random parameters and statistics."""
    levels = tuple(config.data.levels)
    taxonomy = Taxonomy(
        levels, *({level: part[level] for level in levels} for part in (TAXONOMY.classes, TAXONOMY.parents))
    )
    counts = {level: 1 + np.arange(taxonomy.num_classes(level)) for level in levels}
    program = create_program(config, taxonomy, create_mesh(jax.devices()[:1]), counts=counts)
    rng, like = np.random.default_rng(seed), program.abstract_state
    params = jax.tree.map_with_path(lambda path, x: _random(rng, path[-1].key, x), like.params)
    model_state = jax.tree.map_with_path(lambda path, x: _random(rng, path[-1].key, x), like.model_state)
    others = dict.fromkeys(("epoch", "seen", "opt_state", "metrics", "guard"))
    state = TrainState(step=0, params=params, model_state=model_state, **others)
    return Trained(Path("untrained"), program, 0, state, program.eval_step)


def _random(rng: np.random.Generator, name: str, like: jax.ShapeDtypeStruct) -> np.ndarray:
    """Returns random values of a parameter or statistic, such that a deep network neither explodes nor vanishes."""
    if name == "kernel":
        values = rng.standard_normal(like.shape, np.float32) * (2 / np.prod(like.shape[:-1])) ** 0.5
    elif name == "var":
        values = rng.uniform(0.5, 2, like.shape)
    elif name == "scale":  # some are negative
        values = rng.uniform(-0.5, 1.5, like.shape)
    else:
        values = rng.normal(0, 0.2, like.shape)
    return values.astype(like.dtype)


def random_canvases(trained: Trained, count: int) -> np.ndarray:
    """Returns images of a few large, noisy areas, uint8 [count, height, width, 3]."""
    rng, (height, width) = np.random.default_rng(1), trained.canvas
    areas = rng.integers(0, 226, (count, 4, 4, 3)).repeat(-(-height // 4), 1).repeat(-(-width // 4), 2)
    return (areas[:, :height, :width] + rng.integers(0, 30, (count, height, width, 3))).astype(np.uint8)


def live_answers(trained: Trained, temperatures: dict[str, float], images: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the outputs of an export as the run itself computes them."""

    def compute(params: Any, model_state: Any, batch: dict[str, np.ndarray]) -> tuple[Any, Array]:
        return tuple(step(params, model_state, batch, parts=trained.program) for step in (eval_step, embed_step))

    log_probs, features = fetch(jax.jit(compute)(*trained.state.eval_variables, {"image": images}))
    decoded = decode(apply_temperatures(log_probs, temperatures), trained.taxonomy, "conditional")
    classes = predicted_classes(decoded, trained.taxonomy, "conditional")
    answers = {f"{level}_probabilities": np.exp(x) for level, x in decoded.items()}
    return answers | {"path": np.stack([*classes.values()], axis=1), "features": features}

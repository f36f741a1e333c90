"""Training steps of small batches, for the tests of several modules."""

import dataclasses

import numpy as np

from fashion_jax.devices.mesh import create_mesh
from fashion_jax.step.program import create_program
from fashion_jax.taxonomy import Taxonomy

TAXONOMY = Taxonomy.from_paths(("main", "sub"), [("a", "x"), ("a", "y"), ("b", "x"), ("b", "z"), ("b", "w")])


def random_batch(size: int = 8) -> dict:
    rng = np.random.default_rng(0)
    sub = rng.integers(0, 5, size).astype(np.int32)
    main = TAXONOMY.ancestors("main", of="sub")[sub].astype(np.int32)
    images = rng.integers(0, 256, (size, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)
    return {"image": images, "labels": {"main": main, "sub": sub}}


def build(config, devices=None, steps_per_epoch=100, taxonomy=TAXONOMY, model=None):
    mesh = create_mesh(devices)
    program = create_program(config, taxonomy, mesh, num_images=steps_per_epoch * config.batch_size)
    if model is not None:
        program = dataclasses.replace(program, model=model)
    return mesh, program.model, program.create_state(), program.train_step

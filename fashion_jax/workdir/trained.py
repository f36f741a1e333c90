"""Loads a trained run to predict with it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fashion_jax.command_line.formats import printable
from fashion_jax.config.combinations import best_metric
from fashion_jax.config.loading import flatten, image_shape, load_run_config
from fashion_jax.data.batches.pipeline import canvas_shape
from fashion_jax.devices.compilation_cache import enable_compilation_cache
from fashion_jax.devices.compiler import flops
from fashion_jax.devices.mesh import create_mesh, eval_batch_size, round_up
from fashion_jax.scoring.metrics import epoch_scores
from fashion_jax.step.prediction import EvalFn, predict_split
from fashion_jax.step.program import Program, create_program
from fashion_jax.step.train_state import TrainState
from fashion_jax.taxonomy import Taxonomy
from fashion_jax.workdir.checkpoints.store import Checkpoints
from fashion_jax.workdir.files import check_has_checkpoint, read_taxonomy, read_train_counts
from fashion_jax.workdir.metrics_file import read_lines
from fashion_jax.workdir.paths import checkpoints_path, config_path, metrics_path
from fashion_jax.workdir.run_identity import read_identity


@dataclasses.dataclass(frozen=True)
class Trained:
    """A checkpoint of a run, with everything needed to predict.

    Attributes:
        workdir: of the run.
        program: the run's model and eval_step, on all devices of this process.
        step: of the checkpoint.
        state: the parts of the checkpoint needed to predict: params and model_state.
        eval_fn: the jitted eval_step of the program, or the function that it was compiled to.
    """

    workdir: Path
    program: Program
    step: int
    state: TrainState
    eval_fn: EvalFn

    @property
    def config(self) -> ConfigDict:
        return self.program.config

    @property
    def taxonomy(self) -> Taxonomy:
        return self.program.taxonomy

    @property
    def mesh(self) -> Mesh:
        return self.program.mesh

    @property
    def canvas(self) -> tuple[int, int]:
        """Returns (height, width) of the decoded images."""
        return canvas_shape(self.config, image_shape(self.config))

    def log_probs(self, batches: Iterator[dict[str, Any]], count: int) -> dict[str, np.ndarray]:
        """Returns level -> log-probabilities [count, classes] of the images of batches, the last of which is padded."""
        return predict_split(self.state, batches, count, self.eval_fn, self.mesh)

    def compiled(self, batch_size: int) -> Trained:
        """Returns the same run with its eval_step compiled for batches of so many canvases.

        A command calls it before it measures its speed, which then does not include the time of the compiler.
        """
        batch = {"image": jax.ShapeDtypeStruct((batch_size, *self.canvas, 3), np.uint8)}
        lowered = self.program.eval_step.lower(self.state.params, self.state.model_state, batch)
        return dataclasses.replace(self, eval_fn=lowered.compile())

    @property
    def num_parameters(self) -> int:
        return sum(x.size for x in jax.tree.leaves(self.state.params))

    def flops_per_image(self) -> float:
        """Returns the floating-point operations of a prediction."""
        count = self.batch_size()
        batch = {"image": jax.ShapeDtypeStruct((count, *image_shape(self.config), 3), np.uint8)}
        return flops(self.program.eval_step.trace(self.state.params, self.state.model_state, batch)) / count

    def batch_size(self, wanted: int | None = None) -> int:
        """Returns the wanted batch size, rounded up to a multiple of the devices; by default `eval_batch_size`."""
        devices = self.mesh.size
        return (
            round_up(wanted, devices)
            if wanted
            else eval_batch_size(self.config.batch_size, devices, self.config.accumulate)
        )


def load_trained(workdir: Path, checkpoint: str = "best", overrides: Iterable[tuple[str, str]] = ()) -> Trained:
    """Restores a run's best or latest checkpoint onto all devices; a damaged one is reported, and the next one taken.

    From now on, what is compiled is kept in the cache that the overrides name, or in the usual one.

    Args:
        workdir: of the run; a training may still be going on in it.
        checkpoint: best (by the config's checkpoint.best) or latest.
        overrides: pairs of a field that load_run_config lets change, and its value as text.

    Raises:
        UserError: workdir holds no run, or no checkpoint.
        RunError: none of its checkpoints can be used.
    """
    config = load_run_config(config_path(workdir), overrides)
    enable_compilation_cache(config.data.cache_dir)
    taxonomy = read_taxonomy(workdir)
    if config.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    mesh = create_mesh(jax.local_devices())  # each process predicts by itself
    counts = read_train_counts(workdir, taxonomy) if config.rare_classes.post_hoc else None
    program = create_program(config, taxonomy, mesh, counts=counts)
    like = program.abstract_state
    used = like.average or {"params": like.params, "model_state": like.model_state}
    used = {name: tree for name, tree in used.items() if tree}
    parts = {"average": used} if like.average else used
    step, arrays = restore_parts(workdir, checkpoint, parts, taxonomy)
    # Predicting needs neither the other arrays nor the step as one.
    training_only: dict[str, Any] = dict.fromkeys(("epoch", "seen", "opt_state", "metrics", "guard"))
    training_only["step"] = step
    arrays = arrays.get("average", arrays)
    state = TrainState(params=arrays["params"], model_state=arrays.get("model_state", {}), **training_only)
    return Trained(workdir, program, step, state, program.eval_step)


def restore_parts(
    workdir: Path, checkpoint: str, like: dict[str, Any], taxonomy: Taxonomy | None = None
) -> tuple[int, Any]:
    """Restores those arrays of a run's best or latest checkpoint that `like` names; returns the step and the arrays.

    Args:
        workdir: of the run; a training may still be going on in it.
        checkpoint: best (by the config's checkpoint.best) or latest; a damaged one is reported, and the next one taken.
        like: fields of a TrainState, each whole or in part, as abstract arrays.
        taxonomy: of the run, if its classes matter.

    Raises:
        UserError: there is no checkpoint, or its arrays have other shapes, or the run's files are not those it was
            saved with.
        RunError: none can be used.
    """
    check_has_checkpoint(workdir)
    config = load_run_config(config_path(workdir))  # without the overrides of a command
    identity = read_identity(workdir, flatten(config), taxonomy)
    folder, keep = checkpoints_path(workdir), config.checkpoint.keep
    checkpoints = Checkpoints(folder, keep, read_only=True, say=_warn, identity=identity)
    try:
        lines = read_lines(metrics_path(workdir), checkpoints.latest_step or 0)
        checkpoints.set_scores(epoch_scores(lines, best_metric(config)))
        restore = checkpoints.restore_latest if checkpoint == "latest" else checkpoints.restore_best
        restored = restore(like)
        assert restored is not None  # check_has_checkpoint has found a step
        return restored
    finally:
        checkpoints.close()


def _warn(text: str) -> None:
    if jax.process_index() == 0:
        print(printable(text), file=sys.stderr)

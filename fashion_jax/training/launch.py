"""Starts a training in this process: what the command and `fashion_jax.train` have in common.

JAX is imported late, so that a bad config or path is reported without waiting for it.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from fashion_jax.command_line import quiet_tensorflow, remote
from fashion_jax.config.combinations import best_metric, check_new_run
from fashion_jax.config.loading import check_config
from fashion_jax.errors import UserError

if TYPE_CHECKING:
    from fashion_jax.serving.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A run that has been trained to its end.

    Attributes:
        workdir: its work directory; the page is report/index.html there.
        history: the lines of metrics.jsonl, one per epoch.
        metrics: the line of the best epoch, whose checkpoint `load` takes: for example
            metrics["validation/sub/accuracy"].
    """

    workdir: Path
    history: list[dict[str, Any]]
    metrics: dict[str, Any]

    def load(self, **options: Any) -> Classifier:
        """Loads the run to classify images with; the options are those of `fashion_jax.load`."""
        from fashion_jax.serving.loading import load

        return load(self.workdir, **options)


def train(config: ConfigDict, workdir: str | os.PathLike[str]) -> TrainedRun:
    """Trains a run to its end; called again with the same work directory, it resumes, or finds the run complete.

    It is the same program as the command `fashion-jax train`. It handles no signals: Ctrl-C raises KeyboardInterrupt,
    and the next call resumes from the last checkpoint: the end of an epoch, or a multiple of checkpoint.every_steps.

    Args:
        config: see `fashion_jax.get_config`.
        workdir: a new or empty directory, or that of an earlier start of the same run.

    Raises:
        UserError: config, data or workdir are wrong; nothing expensive has been done.
        RunError: the run cannot go on.

    Example:
        >>> import fashion_jax as fj
        >>> config = fj.get_config("smoke", num_epochs=1, **{"data.catalogue.num_images": 200})
        >>> run = fj.train(config, "runs/small")  # doctest: +SKIP
        >>> run.metrics["validation/main/accuracy"]  # doctest: +SKIP
        0.425
        >>> run.load().predict("photo.jpg")[0].classes  # doctest: +SKIP
        {'main': 'Apparel', 'sub': 'Apparel/Topwear'}
    """
    began = time.monotonic()
    if not isinstance(config, ConfigDict):
        raise TypeError(f"config is of type {type(config).__name__}: make one, such as fashion_jax.get_config('mtl').")
    folder = Path(os.path.expanduser(workdir))
    check_config(config)
    check(config, folder)
    set_compiler_flags(deterministic=config.deterministic)
    quiet_tensorflow()
    lines = launch(config, folder, began)
    return TrainedRun(folder, lines, _best(lines, best_metric(config)))


def check(config: ConfigDict, workdir: Path) -> None:
    """Checks what a checked config names.

    Raises:
        UserError: a path or a source of weights is wrong, or a field of a new run has no effect.
    """
    from fashion_jax.data.dataset import check_paths
    from fashion_jax.data.fields import data_fields
    from fashion_jax.data.records.prepared_use import check_use
    from fashion_jax.workdir.files import has_checkpoint

    if store := remote(str(workdir)):
        raise UserError(f"workdir is {str(workdir)!r}, {store}.")
    check_paths(data_fields(config))
    if not has_checkpoint(workdir):  # runs that earlier versions began go on
        check_use(data_fields(config), config.data.resize)
        check_new_run(config)
    if (model := config.model).init_from or model.init_heads_from:
        from fashion_jax.training.init_checks import check_initial_weights

        check_initial_weights(config, workdir)


def set_compiler_flags(*, deterministic: bool) -> None:
    """Sets the flags that make XLA deterministic, if the config asks for it; XLA reads them when JAX starts."""
    from fashion_jax.devices.compiler import deterministic_flags

    if deterministic:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {deterministic_flags()}".strip()


def default_workdir(config: str) -> Path:
    """Returns the run that a config.json belongs to, given its path, or runs/CONFIGNAME for another config."""
    from fashion_jax.workdir.paths import config_path, data_path

    path = Path(config)
    is_of_a_run = path == config_path(path.parent) and data_path(path.parent).is_file()
    return path.parent if is_of_a_run else Path("runs") / path.stem


def launch(config: ConfigDict, workdir: Path, began: float) -> list[dict[str, Any]]:
    """Trains after `check` and `set_compiler_flags`, on all devices; returns the lines of metrics.jsonl.

    The program began at a time of the monotonic clock, from which time_limit counts.
    """
    import jax

    from fashion_jax.devices.compilation_cache import enable_compilation_cache

    jax.config.update("jax_enable_x64", config.dtype == "float64")
    enable_compilation_cache(config.data.cache_dir)
    from fashion_jax.training.train import train_and_evaluate

    return train_and_evaluate(config, workdir, began=began)


def _best(lines: list[dict[str, Any]], metric: str) -> dict[str, Any]:
    """Returns the line of the best score, the first in a tie; the last line if no score is finite."""
    from fashion_jax.scoring.metrics import score

    scored = [line for line in lines if math.isfinite(score(line, metric))]
    return max(scored, key=lambda line: score(line, metric)) if scored else lines[-1]

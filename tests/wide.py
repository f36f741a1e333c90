"""A trained run with thousands of classes, made without any training: only the end of the run is left to do."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from configs import default
from fashion_jax.data.dataset import Dataset, Split
from fashion_jax.taxonomy import Taxonomy
from fashion_jax.terminal import Terminal
from fashion_jax.training import run_end

EPOCHS = 5


def make_run(
    workdir: Path, images: int, classes: tuple[int, ...], *, name_length: int = 0, epochs: int = EPOCHS
) -> tuple[SimpleNamespace, dict[str, np.ndarray]]:
    """A run as write_results takes it, and the log-probabilities of its best checkpoint.

    Args:
        workdir: where the run's files are put, as a training leaves them.
        images: of the validation split; half are right at the finest level, a few have no known label.
        classes: of each level, coarse to fine.
        name_length: characters of a class's label; short ones where 0.
        epochs: lines of metrics.jsonl.
    """
    levels = tuple(f"level{depth}" for depth in range(len(classes)))
    sizes = [*zip(levels, classes, strict=True)]
    paths = [
        tuple(f"{level} {k * size // classes[-1]}".ljust(name_length, "x") for level, size in sizes)
        for k in range(classes[-1])
    ]
    taxonomy = Taxonomy.from_paths(levels, paths)
    rng = np.random.default_rng(0)
    drawn = {"train": np.arange(3 * classes[-1]) % classes[-1], "validation": rng.integers(0, classes[-1], images)}
    workdir.mkdir(parents=True, exist_ok=True)
    files = [str(workdir / f"{i}.jpg") for i in range(10)]
    for file in files:
        Image.effect_noise((90, 60), 40).convert("RGB").save(file)
    splits = {
        name: Split([f"{name}/{i}.jpg" for i in range(len(k))], (files * len(k))[: len(k)], _labels(k, taxonomy))
        for name, k in drawn.items()
    }
    for labels in splits["validation"].labels.values():
        labels[::100] = -1
    dataset = Dataset(taxonomy, splits, {})
    config = default.get_config()
    config.data.levels, config.num_epochs = {level: level for level in levels}, epochs
    _write_files(workdir, dataset, config, epochs)
    run = SimpleNamespace(
        config=config,
        workdir=workdir,
        dataset=dataset,
        schedule=SimpleNamespace(num_steps=10 * epochs),
        checkpoints=Mock(best_step=10 * epochs),
        events=None,
        terminal=Terminal(io.StringIO()),
        metrics_file=SimpleNamespace(lines=[]),
    )
    return run, {level: _log_probs(drawn["validation"], taxonomy, level, rng) for level in levels}


def end_run(run: SimpleNamespace, log_probs: dict[str, np.ndarray]) -> None:
    """Does what a training does after its last step, except for predicting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_end, "predict_validation", lambda *_: log_probs)
        run_end.write_results(run, None)


def _labels(finest: np.ndarray, taxonomy: Taxonomy) -> dict[str, np.ndarray]:
    last = taxonomy.levels[-1]
    return {level: taxonomy.ancestors(level, last)[finest].astype(np.int32) for level in taxonomy.levels}


def _log_probs(finest: np.ndarray, taxonomy: Taxonomy, level: str, rng: np.random.Generator) -> np.ndarray:
    """float32 log-softmax of noise, in which half of the images have their class far in front."""
    labels = taxonomy.ancestors(level, taxonomy.levels[-1])[finest]
    logits = rng.standard_normal((len(labels), taxonomy.num_classes(level)), np.float32)
    logits[np.arange(len(labels)), labels] += np.where(np.arange(len(labels)) % 2, 12, 2).astype(np.float32)
    for block in np.array_split(logits, len(logits) // 100 + 1):
        block -= np.log(np.exp(block).sum(1, keepdims=True))
    return logits


def _write_files(workdir: Path, dataset: Dataset, config, epochs: int) -> None:
    environment = {"devices": ["cpu"], "commit": "", "packages": {}, "processes": 1, "python": "3", "platform": "x"}
    (workdir / "environment.json").write_text(json.dumps(environment))
    (workdir / "data.json").write_text(json.dumps(dataset.summary(config.batch_size)))
    names = [
        f"{split}/{level}/{metric}"
        for split in ("train", "validation")
        for level in dataset.taxonomy.levels
        for metric in ("loss", "accuracy", "macro_f1", "auroc")
    ]
    timing = {"train_seconds": 1.0, "validation_seconds": 1.0, "images_per_second": 99.0, "data_wait_fraction": 0.1}
    rng = np.random.default_rng(1)
    with (workdir / "metrics.jsonl").open("w", encoding="utf-8") as file:
        for epoch in range(1, epochs + 1):
            values = dict(zip(names, rng.random(len(names)).tolist(), strict=True))
            file.write(json.dumps({"epoch": epoch, "step": 10 * epoch, "timing": timing} | values) + "\n")

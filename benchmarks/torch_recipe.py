"""Trains the recipe in PyTorch on the trainer's pixels and order: python -m benchmarks.torch_recipe --config FILE.

It is compared with a run of fashion_jax on the same config. Model, initialisation, dropout, flips and SGD are
PyTorch's; the decoded images, their order in each epoch and the metrics are the trainer's.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch._dynamo  # SGD would import it later, and it crashes once TensorFlow is loaded
from ml_collections import ConfigDict
from torch import Tensor, nn

from benchmarks.command import create_parser, origin, parse
from benchmarks.torch_twin import TwinClassifier, create_twin
from benchmarks.twin import check_plain
from fashion_jax.command_line import run_command
from fashion_jax.command_line.output_files import write_json
from fashion_jax.config.combinations import head_names, loss_weights
from fashion_jax.config.fields import MEAN, STD
from fashion_jax.config.loading import image_shape, load_config
from fashion_jax.data.batches.pipeline import eval_batches, open_images, train_batches
from fashion_jax.data.dataset import Split, load_dataset
from fashion_jax.errors import UserError
from fashion_jax.scoring.metrics import split_metrics
from fashion_jax.step.learning_rate import learning_rates


def main(arguments: list[str] | None = None) -> int:
    """Trains as the arguments say; returns the exit status."""
    return run_command(_train, arguments)


def _train(arguments: list[str]) -> None:
    parser = create_parser("torch_recipe", "", "Trains the recipe in PyTorch.", "configs/product_images.py")
    flags, overrides = parse(parser, arguments)
    config = load_config(flags.config, overrides)
    if config.augment not in ("none", "flip") or config.data.canvas_size:
        raise UserError("augment must be none or flip here, and data.canvas_size 0: set them so.")
    check_plain(config)
    lines = []
    for line in train(config):
        lines.append(line)
        print("  ".join(f"{name} {value:.4f}" for name, value in line.items()), flush=True)
        if flags.json:
            result = {"benchmark": "torch_recipe", "config": config.to_dict(), **origin()}
            write_json(flags.json, result | {"torch": torch.__version__, "epochs": lines})


def train(config: ConfigDict) -> Iterator[dict[str, Any]]:
    """Trains a checked config; yields after each epoch its validation metrics, as in metrics.jsonl, and its seconds."""
    torch.manual_seed(config.seed)
    dataset = load_dataset(config)
    heads = {level: (head, dataset.taxonomy.num_classes(level)) for level, head in head_names(config).items()}
    model = create_twin(config.model.name, heads).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(), config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )
    images = {name: open_images(split, config, image_shape(config)) for name, split in dataset.splits.items()}
    steps_per_epoch = len(dataset.splits["train"]) // config.batch_size
    batches = train_batches(dataset.splits["train"], images["train"], config)
    for epoch, rate in enumerate(learning_rates(config, len(dataset.splits["train"])).values, 1):
        began = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        model.train()
        for _ in range(steps_per_epoch):
            _step(model, optimizer, next(batches), flip=config.augment == "flip", weights=config.loss_weights)
        log_probs = _predict(model, dataset.splits["validation"], images["validation"], config)
        metrics = split_metrics(dataset.splits["validation"].labels, log_probs, loss_weights(config))
        metrics = {f"validation/{name}": value for name, value in metrics.items()}
        yield {"epoch": epoch, **metrics, "seconds": time.monotonic() - began}


def _step(
    model: nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, Any], *, flip: bool, weights: dict[str, float]
) -> None:
    pixels = _normalized(batch["image"])
    if flip:
        flipped = torch.rand(len(pixels), 1, 1, 1) < 0.5
        pixels = torch.where(flipped, pixels.flip(3), pixels)
    optimizer.zero_grad()
    logits = model(pixels)
    loss = sum(
        weights.get(level, 1.0)
        * nn.functional.cross_entropy(x, torch.from_numpy(batch["labels"][level]).long(), ignore_index=-1)
        for level, x in logits.items()
    )
    loss.backward()
    optimizer.step()


def _predict(model: TwinClassifier, split: Split, images: Any, config: ConfigDict) -> dict[str, np.ndarray]:
    """Returns level -> log-probabilities [images, classes] of the levels that have a head."""
    model.eval()
    with torch.inference_mode():
        batches = eval_batches(split, images, config.batch_size)
        results = [_log_probs(model, _normalized(batch["image"]), config.eval_flip) for batch in batches]
    return {level: torch.cat([result[level] for result in results])[: len(split)].numpy() for level in results[0]}


def _log_probs(model: TwinClassifier, pixels: Tensor, flip: bool) -> dict[str, Tensor]:
    """Returns level -> log-probabilities [batch, classes]; `flip` averages probabilities with the mirror image's."""
    views = [pixels, pixels.flip(3)] if flip else [pixels]
    logits = [model(view) for view in views]
    return {
        level: torch.stack([x[level].log_softmax(1) for x in logits]).logsumexp(0) - math.log(len(views))
        for level in logits[0]
    }


def _normalized(pixels: np.ndarray) -> Tensor:
    """Converts uint8 [batch, height, width, 3] to normalised [batch, 3, height, width], stored as channels_last."""
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


if __name__ == "__main__":
    sys.exit(main())

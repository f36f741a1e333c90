"""Runs one contender of benchmarks.input_pipeline in a process: python -m benchmarks.input_contenders NAME ….

For each line on its standard input, a contender goes over all images once and answers with a line of JSON.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH_SIZE = 64
DATALOADER_WORKERS = (1, 2, 3)
_MANY_EPOCHS = 10_000  # more than any benchmark asks for

_BUFFERED = 16  # batches, more than a pipeline holds ready while it is not its turn

Epoch = Callable[[], int]  # goes over the images once; returns how many they were
Contender = tuple[Callable[[], Any], Epoch]  # untimed preparation of an epoch, and the epoch


def main() -> None:
    name, folder, canvas, cache = sys.argv[1:]
    make_ready, epoch = create_contender(name, Path(folder), int(canvas), cache)
    for _ in sys.stdin:
        make_ready()
        began = time.perf_counter()
        count = epoch()
        seconds = time.perf_counter() - began
        print(json.dumps({"images": count, "seconds": seconds, "peak_mib": _peak_mib()}), flush=True)


def create_contender(name: str, folder: Path, canvas: int, cache: str) -> Contender:
    """Creates `decoding`, `pipeline`, or `dataloader-N` with N worker processes, for images in folder's subfolders."""
    if name == "pipeline":
        return _pipeline(_files(folder), canvas, cache)
    if name == "decoding":
        return _nothing, _decoding(_files(folder))
    return _nothing, _dataloader(folder, canvas, int(name.removeprefix("dataloader-")))


def _nothing() -> None:
    """Does nothing before an epoch; for contenders that start anew with each."""


def _files(folder: Path) -> list[str]:
    return sorted(map(str, folder.glob("*/*.jp*g")))


def _decoding(files: list[str]) -> Epoch:
    """Decodes JPEGs to pixels at full size on all processors, and does nothing else."""
    from fashion_jax.data.tensorflow_cpu import import_tensorflow
    from fashion_jax.devices.host import usable_processors

    tf = import_tensorflow()

    def decode(file):
        return tf.io.decode_jpeg(tf.io.read_file(file), channels=3)[0, 0]  # takes one pixel, so that nothing is copied

    dataset = tf.data.Dataset.from_tensor_slices(files).map(decode, usable_processors(), deterministic=True)
    dataset = dataset.batch(BATCH_SIZE, drop_remainder=True).prefetch(2)
    return lambda: sum(len(batch) for batch in dataset)


def _pipeline(files: list[str], canvas: int, cache: str) -> Contender:
    """Reads the trainer's batches, uint8 [64, canvas, canvas, 3], in a new order each epoch.

    Batches continue from epoch to epoch, as in training; those prepared during the others' turns are not timed.
    """
    import numpy as np

    from configs.default import get_config
    from fashion_jax.data.batches.pipeline import open_images, train_batches
    from fashion_jax.data.dataset import Split

    config = get_config()
    config.batch_size, config.augment, config.data.cache = BATCH_SIZE, "none", cache
    config.num_epochs = _MANY_EPOCHS
    split = Split([*files], [*files], {"sub": np.zeros(len(files), np.int32)})
    images = open_images(split, config, (canvas, canvas))
    steps = len(files) // BATCH_SIZE
    batches = train_batches(split, images, config)

    def take(count: int) -> int:
        return sum(len(batch["image"]) for batch in itertools.islice(batches, count))

    return lambda: take(_BUFFERED), lambda: take(steps)


def _dataloader(folder: Path, canvas: int, workers: int) -> Epoch:
    """Reads batches by torchvision's ImageFolder and PyTorch's DataLoader, as uint8 [64, 3, canvas, canvas]."""
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    transform = transforms.Compose([transforms.Resize((canvas, canvas)), transforms.PILToTensor()])
    loader = DataLoader(
        ImageFolder(str(folder), transform),
        BATCH_SIZE,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        persistent_workers=workers > 0,
    )
    return lambda: sum(len(images) for images, _ in loader)


def _peak_mib() -> float:
    """Returns this process's peak memory, plus the current memory of a DataLoader's workers, in MiB."""
    import psutil

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    workers = psutil.Process(os.getpid()).children(recursive=True)
    return (peak + sum(worker.memory_info().rss for worker in workers)) / 2**20


if __name__ == "__main__":
    main()

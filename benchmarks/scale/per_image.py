"""Measures what each image costs a process besides its pixels: python -m benchmarks.scale.per_image IMAGES FILES.

It makes a table of so many images, without files, and takes it through what a start does with it; then it makes a few
JPEG files and records, and reads them. It prints JSON. Seconds are CPU seconds, so that other load hardly counts.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.input_pipeline import write_photographs
from benchmarks.scale.model import IMAGE_SIZE
from fashion_jax.config.loading import load_config
from fashion_jax.data.batches.order import ShuffledIndices
from fashion_jax.data.dataset import Split
from fashion_jax.data.decoding.file_check import check_files
from fashion_jax.data.fields import DataFields, data_fields
from fashion_jax.data.fingerprint import list_images, read_images, split_digests, write_images
from fashion_jax.data.records.record_files import TfRecords
from fashion_jax.data.records.record_images import ImageFormat, RecordImages, RecordNames
from fashion_jax.data.sources.table import Table, read_table
from fashion_jax.data.splits import assign_splits, check_splits
from fashion_jax.data.strings import Files, Strings

_SIZES = ((400, 533), (1000, 1333))  # of the photographs, whose decoding benchmarks.input_pipeline measures
_BATCH, _ORDERED = 64, 4096  # images of a batch of records, and of a slice of the order of an epoch
_RECORDS, _EPOCHS = 512, 4
_WARM_UP = 1000  # images of a first table, with which everything is imported


def main(arguments: list[str]) -> int:
    """Measures and prints; returns the exit status."""
    images, files = map(int, arguments)
    with tempfile.TemporaryDirectory() as folder:
        measure_table(Path(folder), min(images, _WARM_UP))
        result = {"images": images, "files": files, **measure_table(Path(folder), images)}
        result |= {"order_seconds": measure_order(images)} | measure_files(Path(folder), files)
        print(json.dumps(result | measure_records(Path(folder))))
    return 0


def measure_table(folder: Path, count: int) -> dict[str, Any]:
    """Returns bytes and seconds per image, of a table with two levels, as a start of a run handles it."""
    folder = folder / f"table of {count}"
    folder.mkdir(exist_ok=True)
    write_csv(folder / "styles.csv", count)
    fields = data_fields(load_config("configs/default.py", [("data.source", "csv"), ("data.path", str(folder))]))
    before, seconds = _peak(), {}
    table, seconds["table"] = _timed(lambda: _table(fields, folder))
    contents = np.random.default_rng(0).integers(1, 1 << 63, count, np.uint64)
    splits, seconds["splits"] = _timed(lambda: _splits(fields, folder, table, contents))
    train = splits["train"]
    _, seconds["digests"] = _timed(lambda: [split_digests(x.ids, x.labels, x.content_digests) for x in splits.values()])
    path = folder / "images.parquet"
    _, seconds["write_list"] = _timed(lambda: write_images(path, list_images(splits), "digest"))
    _, seconds["read_list"] = _timed(lambda: read_images(path, len(fields.levels)))
    peak = _peak() - before
    parts = {
        "ids": train.ids.nbytes,
        "files": train.files.names.nbytes,
        "labels": sum(labels.nbytes for labels in train.labels.values()),
        "contents": train.content_digests.nbytes,
    }
    return {
        "kept_bytes": {name: size / len(train) for name, size in parts.items()},
        "peak_bytes": peak / count,
        "images_parquet_bytes": path.stat().st_size / count,
        "seconds": {name: x / count for name, x in seconds.items()},
    }


def measure_order(count: int) -> float:
    """Returns the seconds per image of the order of an epoch of so many images, from some slices of it."""
    order = ShuffledIndices(0, 0, count)
    _ = order[:_ORDERED]  # imports TensorFlow
    starts = np.linspace(0, count, 64, endpoint=False, dtype=int)
    slices, seconds = _timed(lambda: [order[start : start + _ORDERED] for start in starts])
    return seconds / sum(map(len, slices))


def write_csv(path: Path, count: int) -> None:
    """Writes a table of images with ids of ten digits, 4 main and 40 sub classes."""
    with path.open("w", encoding="utf-8") as file:
        file.write("id,masterCategory,subCategory\n")
        file.writelines(f"{10**9 + i},main {i % 4},sub {i % 40}\n" for i in range(count))


def _table(fields: DataFields, folder: Path) -> Table:
    table, left_out = read_table(fields, folder)
    assert not left_out
    return table


def _splits(fields: DataFields, folder: Path, table: Table, contents: np.ndarray) -> dict[str, Split]:
    from fashion_jax.taxonomy import Taxonomy

    check_splits(fields, table, folder)
    assigned, _ = assign_splits(fields, table, folder, np.ones(len(table), bool))
    labels = Taxonomy.from_paths(list(fields.levels), table.paths.distinct).label_ids(table.paths.distinct)
    return {
        name: Split(
            table.ids.select(rows),
            table.files.select(rows),
            {level: ids[table.paths.codes[rows]] for level, ids in labels.items()},
            contents[rows],
        )
        for name, rows in assigned.items()
    }


def measure_files(folder: Path, count: int) -> dict[str, Any]:
    """Returns the mean bytes of made photographs, and the seconds that the check of files takes for each."""
    found: dict[str, Any] = {}
    for width, height in _SIZES:
        made = folder / f"{width}x{height}"
        write_photographs(made, count, (width, height))
        files = Files(str(made), Strings(path.name for path in made.iterdir()))
        checked, seconds = _timed(lambda files=files: check_files(files, folder / "cache"))
        assert checked.digests.all()
        size = sum(path.stat().st_size for path in made.iterdir()) / count
        found[made.name] = {"bytes": size, "check_seconds": seconds / count}
    return {"photographs": found}


def measure_records(folder: Path) -> dict[str, Any]:
    """Returns bytes and reading seconds of an image as fashion_jax.prepare stores it, from files in the page cache."""
    from fashion_jax.data.tensorflow_cpu import import_tensorflow

    tf = import_tensorflow()
    path, pixels = folder / "images.tfrecord", np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[pixels.tobytes()]))
    record = tf.train.Example(features=tf.train.Features(feature={"image": feature})).SerializeToString()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for _ in range(_RECORDS):
            writer.write(record)
    names = RecordNames(
        TfRecords([(str(path), _RECORDS)]), np.arange(_RECORDS), ImageFormat("image", pixels.shape), "made"
    )
    images = RecordImages(names, pixels.shape[:2], "stretch")

    def read(epochs: int) -> int:
        orders = [np.random.default_rng(epoch).permutation(_RECORDS) for epoch in range(epochs)]
        batches = np.concatenate(orders).reshape(-1, _BATCH)
        return sum(len(batch) for batch in images.batches(lambda: iter(batches)))

    read(1)  # what is done only once is not counted
    count, seconds = _timed(lambda: read(_EPOCHS))
    return {"records": {"bytes": path.stat().st_size / _RECORDS, "read_seconds": seconds / count}}


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Returns what the call returns, and its CPU seconds in all threads."""
    began = time.process_time()
    return call(), time.process_time() - began


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

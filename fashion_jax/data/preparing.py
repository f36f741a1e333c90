"""Writes a prepared directory: shards of records, each for a fixed part of a split, and their metadata."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fashion_jax.atomic import remove_temporaries, replacing, unwritable, write_bytes
from fashion_jax.command_line.output_files import folder_of_flag
from fashion_jax.config.combinations import check_folds
from fashion_jax.config.loading import config_to_json, read_config
from fashion_jax.data.batches.image_stores import Images
from fashion_jax.data.batches.pipeline import canvas_shape, stream_images
from fashion_jax.data.dataset import Dataset, Split, check_fractions, load_dataset
from fashion_jax.data.decoding.decode import DECODER
from fashion_jax.data.fields import data_fields
from fashion_jax.data.records.prepared_index import (
    CONFIG,
    CONTENTS,
    ID,
    IMAGE,
    INDEX,
    LEFT_OUT,
    NAME,
    PLAN,
    TAXONOMY,
    index_file,
    is_prepared,
    read_json,
    source_fields,
)
from fashion_jax.data.records.prepared_use import check_use
from fashion_jax.data.tensorflow_cpu import import_tensorflow
from fashion_jax.errors import UserError
from fashion_jax.taxonomy import Taxonomy

_SHARD_BYTES = 32 << 20  # of pixels, at least

_MAX_SHARDS = 900  # of all splits; training keeps the files open, of which a process may often have 1,024

_BATCH = 64  # images decoded at a time

_OPTIONS = "group_size:1,zstd:3"  # each record by itself, so that any can be read alone


@dataclasses.dataclass(frozen=True)
class Shard:
    """A part of a split that becomes one file; small, so that it can be sent to any worker.

    Attributes:
        config: the whole config, as JSON.
        folder: the prepared directory.
        split: name of the split.
        number: index of the shard in its split, from 0.
        count: number of shards of the split.
        start: index of the first image.
        stop: index after the last image.
        shape: (height, width) of the network's input.
    """

    config: str
    folder: str
    split: str
    number: int
    count: int
    start: int
    stop: int
    shape: tuple[int, int]

    @property
    def num_images(self) -> int:
        return self.stop - self.start

    @property
    def file(self) -> Path:
        return Path(self.folder, f"{NAME}-{self.split}.array_record-{self.number:05d}-of-{self.count:05d}")

    @property
    def index(self) -> Path:
        return index_file(Path(self.folder), self.split, self.number, self.count)

    @property
    def is_done(self) -> bool:
        """Whether the shard is written: its index gets its final name last."""
        return self.index.is_file()


def check_output(config: ConfigDict, folder: Path, shape: tuple[int, int], images_per_shard: int) -> None:
    """Checks what `plan_shards` would refuse whatever the images are, before any is read; takes its arguments.

    Raises:
        UserError: the folder holds something else, cannot be written, or was begun with another config; or the source
            is a prepared set that cannot give what the config asks for, or its splits are not what a training accepts.
    """
    _check_features(config.data.levels)
    if folder.exists():
        plan = _plan(source_fields(config.seed, config.data.to_dict()), canvas_shape(config, shape))
        with folder_of_flag("--output", folder):
            _check_begun(folder, plan | ({"images_per_shard": images_per_shard} if images_per_shard else {}))
    if not is_prepared(folder):
        check_use(data_fields(config), config.data.resize)
        check_folds(config.data.folds, config.data.splits)
        check_fractions(data_fields(config))


def plan_shards(
    config: ConfigDict, dataset: Dataset, folder: Path, shape: tuple[int, int], images_per_shard: int
) -> list[Shard]:
    """Plans the shards of a prepared directory and creates the directory, or resumes one that an earlier call began.

    Args:
        config: the config of `dataset`.
        dataset: the images to write.
        folder: a new or empty directory, or one of an earlier call.
        shape: (height, width) of the network's input.
        images_per_shard: 0 means as many as in the shards that an earlier call planned; for a new directory as many as
            have 32 MiB of pixels, or more if there would be more than 900 shards.

    Raises:
        UserError: the folder holds something else, or cannot be written.
    """
    _check_features(config.data.levels)
    _check_names(dataset.taxonomy)
    _dataset.cache_clear()  # what an earlier call in this process has read may have changed
    canvas = canvas_shape(config, shape)
    plan = _plan(source_fields(config.seed, config.data.to_dict()), canvas)
    each = images_per_shard or _begun_with(folder) or _images_per_shard(dataset, canvas)
    _open_folder(folder, plan | {"images_per_shard": each, "images": _images(dataset)})
    shards = []
    for name, split in dataset.splits.items():
        starts = range(0, len(split), each)
        for number, start in enumerate(starts):
            stop = min(start + each, len(split))
            place = (name, number, len(starts), start, stop)
            shards.append(Shard(config_to_json(config), str(folder), *place, (shape[0], shape[1])))
    return shards


def _plan(source: dict[str, Any], canvas: tuple[int, int]) -> dict[str, Any]:
    """Returns what the file PLAN says of a prepared directory, without its images and how many are in a shard."""
    return {"source": source, "decoder": DECODER, "canvas": list(canvas)}


def _begun_with(folder: Path) -> int:
    """Returns the images in each shard of a directory that an earlier call has planned, 0 for a new one."""
    return read_json(folder / PLAN).get("images_per_shard", 0) if is_prepared(folder) else 0


def _images_per_shard(dataset: Dataset, canvas: tuple[int, int]) -> int:
    """Returns how many images make the smallest shards that are neither too small nor too many."""
    images = sum(map(len, dataset.splits.values()))
    return max(_SHARD_BYTES // (canvas[0] * canvas[1] * 3), -(-images // _MAX_SHARDS))


def _check_features(levels: Iterable[str]) -> None:
    if taken := {ID, IMAGE, CONTENTS} & set(levels):
        raise UserError(
            f"data.levels has {sorted(taken)[0]!r}, which a prepared dataset uses for another feature: rename it."
        )


def _check_names(taxonomy: Taxonomy) -> None:
    """Refuses names that TFDS, which writes one on each line and strips them, would read as others."""
    for level in taxonomy.levels:
        for name in taxonomy.classes[level]:
            if name.splitlines() != [name.strip()]:
                raise UserError(
                    f"The class {name!r} has a line break, or a space at an end, which a TFDS set cannot hold: rename "
                    "it in the data."
                )


def _images(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Returns split -> the number of its images, a digest of their ids and labels, and one of their files' contents."""
    images = {}
    for name, split in dataset.splits.items():
        assert split.content_digests is not None  # load_dataset gives every split digests
        contents = hashlib.sha256(np.ascontiguousarray(split.content_digests, "<u8").tobytes()).hexdigest()
        images[name] = {"count": len(split), "digest": _digest(split), "contents": contents}
    return images


def _changed(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Says what has changed between the images of two plans; "" if nothing has.

    Earlier versions stored no digests of the files' contents, which are then not compared.
    """
    listed = [{name: (split["count"], split["digest"]) for name, split in images.items()} for images in (before, now)]
    if listed[0] != listed[1]:
        return "the source has changed"
    for name, split in now.items():
        if before[name].get("contents", split["contents"]) != split["contents"]:
            return f"image files of the split {name!r} have changed"
    return ""


def _digest(split: Split) -> str:
    """Returns a digest of the ids and labels of a split."""
    digest = hashlib.sha256()
    for image_id in split.ids:
        digest.update(image_id.encode("utf-8", "surrogateescape") + b"\0")
    for level, labels in split.labels.items():
        digest.update(level.encode() + np.ascontiguousarray(labels, np.int32).tobytes())
    return digest.hexdigest()


def _open_folder(folder: Path, plan: dict[str, Any]) -> None:
    with folder_of_flag("--output", folder):
        _check_begun(folder, plan)
        if not (folder / PLAN).exists():
            write_bytes(folder / PLAN, json.dumps(plan, indent=1, ensure_ascii=False).encode())
        try:
            (folder / INDEX).mkdir(exist_ok=True)
        except OSError as error:
            raise unwritable(folder / INDEX, error) from error


def _check_begun(folder: Path, plan: dict[str, Any]) -> None:
    """Raises a UserError if a folder that is there is not empty and was not begun by this plan, or a part of it."""
    if not (folder / PLAN).exists():
        if next(folder.iterdir(), None):
            raise UserError(f"--output is {str(folder)!r}, which holds other files: name a new directory.")
        return
    before = read_json(folder / PLAN)
    for name, value in json.loads(json.dumps(plan)).items():
        what = f"{name} is {_difference(before.get(name), value)}" if before.get(name) != value else ""
        if name == "images":
            what = _changed(before.get(name, {}), value)
        if what:
            raise UserError(
                f"--output is {str(folder)!r}, which was begun with other data ({what}): name a new directory."
            )


def _difference(before: Any, now: Any) -> str:
    """Describes the innermost field in which the two values differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        fields = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if any(isinstance(now.get(name), dict) for name in fields[:1]):
            return f"{fields[0]}: {_difference(before.get(fields[0]), now[fields[0]])}"
        return f"{fields[0]}: {before.get(fields[0])!r} there and {now.get(fields[0])!r} here"
    return f"{before!r} there and {now!r} here"


def write_shard(shard: Shard) -> int:
    """Writes a shard and its index, unless they exist, and returns the number of its images.

    Both files are written under a temporary name first.

    Raises:
        UserError: the data has changed since the shards were planned, or an image cannot be read and decoded.
    """
    if shard.is_done:
        return shard.num_images
    from array_record.python.array_record_module import ArrayRecordWriter

    split = _dataset(shard.config, shard.folder).splits[shard.split].part(slice(shard.start, shard.stop))
    config = read_config(shard.config, "--config")
    images = stream_images(split, canvas_shape(config, shard.shape), config.data.resize)
    with replacing(shard.file) as temporary:
        writer = ArrayRecordWriter(str(temporary), _OPTIONS)
        try:
            for record in _records(split, images):
                writer.write(record)
        finally:
            writer.close()
    _write_index(shard.index, split)
    return len(split)


@functools.lru_cache(maxsize=1)
def _dataset(config: str, folder: str) -> Dataset:
    """Loads the dataset, once in each process that writes shards of a folder, and compares it with the plan there.

    Raises:
        UserError: the data has changed since the shards were planned.
    """
    dataset = load_dataset(read_config(config, "--config"))
    if what := _changed(read_json(Path(folder, PLAN))["images"], _images(dataset)):
        raise UserError(
            f"The data has changed since {folder!r} was begun, or is another where its workers read it ({what}): "
            "restore it and run the same again, or name a new directory in --output."
        )
    return dataset


def _records(split: Split, images: Images) -> Iterator[bytes]:
    """Yields a serialized tf.train.Example for each image."""
    tf = import_tensorflow()
    start = 0

    def batches() -> Iterator[np.ndarray]:
        for start in range(0, len(split), _BATCH):
            yield np.minimum(np.arange(start, start + _BATCH), len(split) - 1)

    for pixels in images.batches(batches):
        for image in pixels[: len(split) - start]:
            feature = {IMAGE: _bytes(tf, image.tobytes()), ID: _bytes(tf, _encoded(split.ids[start]))}
            for level, labels in split.labels.items():
                feature[level] = tf.train.Feature(int64_list=tf.train.Int64List(value=[int(labels[start])]))
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            yield example.SerializeToString(deterministic=True)
            start += 1


def _bytes(tf: Any, value: bytes) -> Any:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _encoded(image_id: str) -> bytes:
    return image_id.encode("utf-8", "surrogateescape")


def _write_index(path: Path, split: Split) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {ID: pa.array(map(_encoded, split.ids), pa.binary())}
    columns |= {level: pa.array(labels.astype(np.int64)) for level, labels in split.labels.items()}
    columns[CONTENTS] = pa.array(split.content_digests)
    with replacing(path) as temporary, temporary.open("wb") as file:
        pq.write_table(pa.table(columns), file)


def describe(config: str, dataset: Dataset, folder: Path, shards: list[Shard], canvas: tuple[int, int]) -> None:
    """Writes the config (as JSON), the classes, the images left out, and what makes the shards a TFDS directory."""
    import tensorflow_datasets as tfds

    remove_temporaries(folder)
    for left in [*folder.glob(f".{NAME}-*"), *(folder / INDEX).glob(".*")]:
        left.unlink(missing_ok=True)  # left behind by a process that was killed
    write_bytes(folder / CONFIG, config.encode())
    write_bytes(folder / TAXONOMY, dataset.taxonomy.to_json().encode())
    write_bytes(
        folder / LEFT_OUT, json.dumps(dataset.left_out, indent=1, ensure_ascii=False).encode("utf-8", "replace")
    )
    splits = []
    for name in dataset.splits:
        parts = [shard for shard in shards if shard.split == name]
        splits.append(
            tfds.core.SplitInfo(
                name=name,
                shard_lengths=[shard.num_images for shard in parts],
                num_bytes=sum(shard.file.stat().st_size for shard in parts),
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=str(folder),
        features=_features(dataset.taxonomy, canvas),
        split_infos=splits,
        check_data=False,
        description="Images with their labels by level, made by fashion_jax.prepare.",
    )


def _features(taxonomy: Taxonomy, canvas: tuple[int, int]) -> dict[str, Any]:
    import tensorflow_datasets as tfds

    features = {IMAGE: tfds.features.Tensor(shape=(*canvas, 3), dtype=np.uint8, encoding="bytes")}
    features[ID] = tfds.features.Text()
    for level in taxonomy.levels:
        features[level] = tfds.features.ClassLabel(names=list(taxonomy.classes[level]))
    return features

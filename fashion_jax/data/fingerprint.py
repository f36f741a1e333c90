"""Fingerprints of a run's images (ids, labels, file contents), by which the next start notices changed data."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fashion_jax.atomic import replacing
from fashion_jax.data.strings import Strings, digest_of_ids
from fashion_jax.json_text import parse_json

COMPARED = ("train", "validation")  # splits; the others take no part in training
_DIGEST, _COUNTS = b"digest", b"counts"  # keys of the metadata of a list


@dataclasses.dataclass(frozen=True)
class ImageList:
    """The images of a run and the values that are compared at the next start.

    Attributes:
        ids: the user's names of the images.
        labels: int32 [images, levels], -1 if not known.
        contents: uint64 [images], digests of the files.
    """

    ids: Strings
    labels: np.ndarray
    contents: np.ndarray

    def select(self, rows: np.ndarray) -> ImageList:
        """Returns the images of rows, int [n]."""
        return ImageList(self.ids.select(rows), self.labels[rows], self.contents[rows])

    def followed_by(self, other: ImageList) -> ImageList:
        """Returns these images, and then the others."""
        return ImageList(
            Strings.join([self.ids, other.ids]),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.contents, other.contents]),
        )


def split_digests(ids: Sequence[str], labels: Mapping[str, np.ndarray], contents: np.ndarray | None) -> dict[str, str]:
    """Returns digests of the ids, the labels and the contents of a split's images, in their order."""
    digest = hashlib.sha256()
    for level, values in labels.items():
        digest.update(level.encode() + b"\0" + np.ascontiguousarray(values, np.int32).tobytes())
    digests = {"ids_sha256": digest_of_ids(ids), "labels_sha256": digest.hexdigest()}
    if contents is not None:
        digests["files_sha256"] = hashlib.sha256(contents.tobytes()).hexdigest()
    return digests


def combined(digests: Mapping[str, Mapping[str, str]]) -> str:
    """Returns one digest of the digests of the splits that are compared."""
    return hashlib.sha256(json.dumps([digests[name] for name in COMPARED], sort_keys=True).encode()).hexdigest()


def list_images(splits: Mapping[str, Any]) -> ImageList:
    """Lists the images of the splits that are compared (each a dataset.Split with content digests)."""
    chosen = [splits[name] for name in COMPARED]
    return ImageList(
        Strings.join([split.ids for split in chosen]),
        np.concatenate([np.stack([*split.labels.values()], axis=1) for split in chosen]),
        np.concatenate([split.content_digests for split in chosen]),
    )


def write_images(path: Path, images: ImageList, digest: str, counts: Sequence[int]) -> None:
    """Writes a list of images with a digest of the data that it was made of, and the images of each compared split."""
    labels = pa.FixedSizeListArray.from_arrays(pa.array(images.labels.reshape(-1)), images.labels.shape[1])
    columns = {"id": images.ids.to_bytes(), "labels": labels, "contents": images.contents}
    table = pa.table(columns, metadata={_DIGEST: digest.encode(), _COUNTS: json.dumps(list(counts)).encode()})
    with replacing(path) as temporary, temporary.open("wb") as file:  # pyarrow opens no path that is not UTF-8
        pq.write_table(table, file, compression="zstd")


def read_images(path: Path, num_levels: int) -> ImageList | None:
    """Reads the list that write_images wrote; returns None if it cannot be read."""
    with contextlib.suppress(OSError, KeyError, ValueError, pa.ArrowException), path.open("rb") as file:
        table = pq.read_table(file)
        ids, labels, contents = (table[name].combine_chunks() for name in ("id", "labels", "contents"))
        values = labels.flatten().to_numpy().reshape(-1, num_levels)
        return ImageList(Strings.of_bytes(ids.cast(pa.large_binary())), values, contents.to_numpy())
    return None


def count_common(images: ImageList, split: Any) -> int:
    """Counts the images of a dataset.Split that a list has too: the same file, whatever its id.

    If the split has no content digests, images of the same id are counted.
    """
    if split.content_digests is not None:
        return int(np.isin(split.content_digests, images.contents).sum())
    listed, found = np.split(Strings.join([images.ids, split.ids]).codes(), [len(images.ids)])
    return int(np.isin(found, listed).sum())


def read_digest(path: Path) -> str:
    """Returns the digest that was written with a list; "" if there is none."""
    return _metadata(path).get(_DIGEST, b"").decode()


def read_counts(path: Path) -> list[int]:
    """Returns the number of images of each compared split, which a list begins with; empty if it was not written."""
    return [int(count) for count in parse_json(_metadata(path).get(_COUNTS, b"[]").decode())]


def _metadata(path: Path) -> dict[bytes, bytes]:
    with contextlib.suppress(OSError, pa.ArrowException), path.open("rb") as file:
        return pq.read_schema(file).metadata or {}
    return {}


def changed_labels(before: ImageList, now: ImageList) -> list[tuple[int, int]]:
    """Returns pairs of indices, before and now, of images with the same id and different labels."""
    return _changed(before.ids, now.ids, before.labels.T, now.labels.T)


def changed_contents(before: ImageList, now: ImageList) -> list[tuple[int, int]]:
    """Returns pairs of indices, before and now, of images with the same id and a different file."""
    return _changed(before.ids, now.ids, [before.contents], [now.contents])


def _changed(
    ids_before: Strings, ids_now: Strings, before: Iterable[np.ndarray], now: Iterable[np.ndarray]
) -> list[tuple[int, int]]:
    """Returns pairs of indices, before and now, of images with the same id and different values in any column.

    An id may stand for several images. It counts as unchanged if images were only added to it, or only removed.
    """
    count = len(ids_before)
    ids = Strings.join([ids_before, ids_now]).codes()
    values = _dense([ids, *(np.concatenate(columns) for columns in zip(before, now, strict=True))])
    (old_ids, new_ids), (old, new) = (np.split(codes, [count]) for codes in (ids, values))
    gone = np.flatnonzero(~np.isin(old, new) & np.isin(old_ids, new_ids))
    come = np.flatnonzero(~np.isin(new, old) & np.isin(new_ids, old_ids[gone]))
    first = dict(zip(old_ids[gone[::-1]].tolist(), gone[::-1].tolist(), strict=True))
    return [(first[code], i) for i, code in zip(come.tolist(), new_ids[come].tolist(), strict=True)]


def _dense(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Numbers the distinct rows: returns int64 [rows], in which equal rows have equal numbers."""
    codes = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        values = _codes(column)
        codes = _codes(codes * (values.max(initial=0) + 1) + values)
    return codes


def _codes(values: np.ndarray) -> np.ndarray:
    """Returns int64 [rows]: equal values have equal numbers, counted from 0."""
    return pa.array(values).dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)

"""The files that fashion_jax.prepare adds to a TFDS directory: labels by level, ids, and the images left out."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fashion_jax.atomic import read_text
from fashion_jax.errors import UserError
from fashion_jax.json_text import parse_json

NAME = "prepared"  # the dataset's name in TFDS

IMAGE, ID = "image", "id"  # features

CONTENTS = "image/contents"  # column of the index: digests of the files that the images were decoded from

INDEX = "index"  # the folder of ids and labels, a file per shard

PLAN = "prepare.json"  # describes the source of the directory; written first

LEFT_OUT = "left_out.json"

CONFIG, TAXONOMY = "config.json", "taxonomy.json"  # as in the work directory of a run

INFO = "dataset_info.json"  # every TFDS directory has it; written last

_UNBOUND = ("path", "cache", "cache_dir", "max_bad_fraction")  # fields of data that do not change what is prepared


def is_prepared(folder: Path) -> bool:
    return (folder / PLAN).is_file()


def is_complete(folder: Path) -> bool:
    """Returns whether a folder has all that makes it a TFDS directory; TFDS leaves half of a file on a full disk."""
    try:
        parse_json(read_text(folder / INFO))
    except (OSError, ValueError):
        return False
    return True


def source_fields(seed: int, data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields that a prepared directory depends on, as they are after a round trip through JSON.

    Args:
        seed: the field.
        data: the section of the config.
    """
    fields = {name: value for name, value in data.items() if name not in _UNBOUND}
    return json.loads(json.dumps({"seed": seed, "data": fields}))


def read_json(path: Path) -> Any:
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): prepare the directory anew.") from error


def made_splits(folder: Path) -> Any:
    """Returns the data.splits that a prepared directory was made with."""
    return read_json(folder / PLAN)["source"]["data"]["splits"]


def made_from(splits: Any, folder: Path) -> bool:
    """Returns whether data.splits asks for the splits that a prepared directory was made with."""
    return made_splits(folder) == json.loads(json.dumps(splits))


def index_file(folder: Path, split: str, shard: int, num_shards: int) -> Path:
    return folder / INDEX / f"{split}-{shard:05d}-of-{num_shards:05d}.parquet"


def read_index(folder: Path, split: str, features: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns feature -> its value in every record of a split: int64 class ids, or ids as bytes.

    Raises:
        UserError: the index is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted((folder / INDEX).glob(f"{split}-?????-of-?????.parquet"))
    try:
        table = pa.concat_tables(
            [pq.read_table(io.BytesIO(file.read_bytes()), columns=list(features)) for file in files]
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"The index in {folder / INDEX} cannot be read ({error}): prepare the directory anew."
        ) from error
    return {name: table[name].to_numpy() for name in features}

"""What a directory made by fashion_jax.prepare holds besides the TFDS set: labels by level, ids, what was left out.

And the lock of whoever prepares it, empty where nobody does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fashion_jax.errors import UserError

NAME = "prepared"  # of the TFDS set

IMAGE, ID = "image", "id"  # features

CONTENTS = "image/contents"  # column of the index: digests of the files that the images were made of

INDEX = "index"  # the folder of ids and labels, a file per shard

PLAN = "prepare.json"  # what the directory is made from, written first

LEFT_OUT = "left_out.json"

_UNBOUND = ("path", "cache", "cache_dir", "max_bad_fraction")  # fields of data that do not change what is prepared


def is_prepared(folder: Path) -> bool:
    return (folder / PLAN).is_file()


def source_fields(config: ConfigDict) -> dict[str, Any]:
    """The fields that a prepared directory is bound to, as JSON has them."""
    data = {name: value for name, value in config.data.to_dict().items() if name not in _UNBOUND}
    return json.loads(json.dumps({"seed": config.seed, "data": data}))


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): prepare the directory anew.") from error


def made_from(config: ConfigDict, folder: Path) -> bool:
    """Whether a config asks for the splits that a prepared directory was made with."""
    return read_json(folder / PLAN)["source"]["data"]["splits"] == source_fields(config)["data"]["splits"]


def index_file(folder: Path, split: str, shard: int, num_shards: int) -> Path:
    return folder / INDEX / f"{split}-{shard:05d}-of-{num_shards:05d}.parquet"


def read_index(folder: Path, split: str, features: Sequence[str]) -> dict[str, np.ndarray]:
    """Feature -> its value in every record of a split: int64 class ids, or ids as bytes.

    Raises:
        UserError: the index is not there or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted((folder / INDEX).glob(f"{split}-?????-of-?????.parquet"))
    try:
        table = pa.concat_tables([pq.read_table(file, columns=list(features)) for file in files])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"The index in {folder / INDEX} cannot be read ({error}): prepare the directory anew."
        ) from error
    return {name: table[name].to_numpy() for name in features}

"""Prints as JSON what load_dataset returns for the data of a config: python -m tests.faults.look [FLAGS]."""

import contextlib
import io
import json
import sys

from fashion_jax.command_line import parse_overrides, run_command
from fashion_jax.config.loading import check_config, load_config
from fashion_jax.data.dataset import check_paths, load_dataset
from fashion_jax.data.fields import data_fields


def look(arguments: list[str]) -> None:
    config = load_config("configs/smoke.py", parse_overrides(arguments))
    check_paths(data_fields(config))
    check_config(config)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        dataset = load_dataset(config)
    labels = {}
    for split in dataset.splits.values():
        for i, name in enumerate(split.ids):
            found = [(split.labels[level][i], dataset.taxonomy.classes[level]) for level in dataset.taxonomy.levels]
            labels[name] = [names[k] if k >= 0 else None for k, names in found]
    summary = dataset.summary(config.batch_size)
    left_out = {key: value for key, value in summary.items() if key != "splits"}
    print(json.dumps({"labels": labels, "left_out": left_out, "warnings": said.getvalue()}))


if __name__ == "__main__":
    sys.exit(run_command(look, None))

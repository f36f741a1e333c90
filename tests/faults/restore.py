"""Bits flipped in a run's newest checkpoint, 30 times, and restored in this process: a line FLIP|… for each."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

from fashion_jax import train
from fashion_jax.checkpoint import Checkpoints
from fashion_jax.config import load_run_config
from fashion_jax.data.dataset import load_dataset
from fashion_jax.digests import digests_of
from fashion_jax.place import Place
from fashion_jax.run_identity import identify
from fashion_jax.sharding import create_mesh, fetch
from fashion_jax.writers import Terminal
from tests.faults.lab import flip


def main() -> None:
    """20 places drawn from all bytes, and one in each of 10 files; says whether what came back is what was saved."""
    whole, work = map(Path, sys.argv[1:])
    config = load_run_config(whole)
    dataset = load_dataset(config)
    identity = identify(whole, config, dataset)
    run = train._create_run(config, Place(whole), dataset, create_mesh(), Terminal(), identity)
    good = {s: digests_of(fetch(run.checkpoints.restore(s, run.abstract_state))) for s in run.checkpoints.steps()}
    newest, rng = max(good), random.Random(0)
    files = sorted(p for p in (whole / "checkpoints" / str(newest)).rglob("*") if p.is_file() and p.stat().st_size)
    for attempt in range(30):
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(whole / "checkpoints", work / "checkpoints")
        by_size = rng.choices(files, [p.stat().st_size for p in files])[0]
        name = (by_size if attempt < 20 else files[attempt % len(files)]).relative_to(whole)
        flip(work / name, rng.randrange(10**9), rng.randrange(8))
        said: list[str] = []
        step, state = Checkpoints(work / "checkpoints", 2, say=said.append).restore_latest(run.abstract_state)
        print("FLIP", digests_of(fetch(state)) == good[step], newest - step, name.name, *said, sep="|", flush=True)

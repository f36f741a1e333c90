"""The parts that several processes share: each has some, in whole batches, and one table is made of all."""

import numpy as np
import pytest

from fashion_jax.data.sources.inputs import Input
from fashion_jax.errors import UserError
from fashion_jax.serving.answers import Answer
from fashion_jax.serving.parts import PART_SIZE, Part, add_counts, write_parts
from fashion_jax.serving.prediction_table import PredictionTable
from fashion_jax.serving.shared_parts import (
    join_parts,
    pace_of_all,
    parts_beside,
    plan_parts,
    share_of,
    shared_part_size,
    wait_for_parts,
)
from fashion_jax.serving.sharing import ProcessIndex
from fashion_jax.serving.table_files import write_table
from fashion_jax.serving.tally import Tally
from tests.clock import Clock

LABELS = {"main": ["A", "B"]}
SETTINGS = {"part_size": 10, "step": 7, "costs": None}


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("count", [0, 1, 7, 40])
def test_each_part_is_in_one_share(count, processes):
    parts = [Part(number, 0, 1, "") for number in range(count)]
    shares = [share_of(parts, ProcessIndex(index, processes)) for index in range(processes)]
    assert [part for share in shares for part in share] == parts
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("count", "processes", "batch_size"), [(1, 4, 32), (331, 2, 16), (5000, 4, 64), (10**7, 8, 96)]
)
def test_parts_are_whole_batches_for_all_processes(count, processes, batch_size):
    size = shared_part_size(count, processes, batch_size)
    assert size % batch_size == 0 and 0 < size <= PART_SIZE
    assert -(-count // size) >= min(processes, -(-count // batch_size))


def answer(item: Input) -> Answer:
    number = int(item.name)
    if number % 7 == 3:
        return Answer(item.name, error="this is no\nimage")
    probability = 1 / (number + 3)
    return Answer(
        item.name,
        classes={"main": "B"},
        probabilities={"main": probability},
        answer="B" if number % 2 else "unsure",
        top={"main": [("B", probability), ("A", 0.1)]},
        all_probabilities={"main": np.array([0.1, probability], np.float32)},
        embedding=np.array([probability, -0.0, 1e-30], np.float32),
        contradicts=number % 5 == 0,
    )


def tally(inputs=()) -> Tally:
    found = Tally(LABELS, 10)
    for item in inputs:
        found.add(answer(item))
    return found


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl", "p.parquet"])
def test_the_table_of_the_parts_is_that_of_all_rows(tmp_path, name):
    inputs = [Input(str(i), str(i)) for i in range(47)]
    is_flat = name == "p.csv"
    table = PredictionTable(LABELS, True, 2, not is_flat, not is_flat, is_flat)
    path, folder = tmp_path / name, parts_beside(tmp_path / name)
    folder.mkdir()
    path.symlink_to("3f9a")  # whose name says no format
    for index in range(3):  # each as if it had planned before the others have written
        plan = plan_parts(inputs, folder, SETTINGS, ProcessIndex())
        mine = share_of(plan.parts, ProcessIndex(index, 3))
        write_parts(folder, mine, inputs, lambda _, items: map(answer, items), table, plan.settings)
    plan = plan_parts(inputs, folder, SETTINGS, ProcessIndex())
    assert not plan.mine
    wait_for_parts(folder, plan.parts)
    found = tally()
    add_counts(found, folder, plan.parts)
    assert found.to_json() == tally(inputs).to_json() and found.first_failed.path == "3"
    join_parts(path, folder, plan.parts, table)
    write_table(tmp_path / f"one-{name}", table.columns, map(table.row, map(answer, inputs)), table.metadata)
    assert path.read_bytes() == (tmp_path / f"one-{name}").read_bytes() and not folder.exists()
    assert path.is_symlink()


@pytest.mark.parametrize(
    ("levels", "fields", "name"),
    [
        (["kind", "kind_top"], {"top_k": 2}, "kind_top"),
        (["kind", "kind_top_1"], {"top_k": 2, "is_flat": True}, "kind_top_1"),
        (["embedding"], {"embeddings": True}, "embedding"),
    ],
)
def test_levels_called_as_a_column_are_told(levels, fields, name):
    labels = {level: ["A"] for level in levels}
    assert PredictionTable(labels).columns
    with pytest.raises(UserError, match=f"would have two columns '{name}'"):
        PredictionTable(labels, **fields)


def test_the_pace_is_told_once_there_is_one():
    clock = Clock()
    found = Tally(LABELS, 1, clock)
    assert pace_of_all(found) == ""
    found.add(Answer("a"))
    assert "Predicting took" in pace_of_all(found)
    clock.now += 2
    for name in ("b", "c"):
        found.add(Answer(name))
    assert pace_of_all(found) == "1 images/s"

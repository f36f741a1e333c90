"""Jobs of many parts: killed, shared and run again they leave each row once, and no folder mixes two of them."""

import argparse
import itertools
import json
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from fashion_jax.data.sources.inputs import Input
from fashion_jax.data.sources.walk import JOB
from fashion_jax.errors import UserError
from fashion_jax.serving import predictor
from fashion_jax.serving.answers import Answer
from fashion_jax.serving.parts import (
    PART,
    PART_SIZE,
    Part,
    Shard,
    check_settings,
    find_parts,
    missing_parts,
    part_size_in,
    write_parts,
)
from fashion_jax.serving.prediction_table import PredictionTable

WHOLE = Shard()
TABLE = PredictionTable({"main": ["A", "B"]})
SETTINGS = {"step": 7, "temperatures": {"main": 1.1}, "costs": None}


class Killed(Exception):
    """Stands for the end of the process."""


def named(*names) -> list[Input]:
    return [Input(str(name), str(name)) for name in names]


class Job:
    """A process that writes the parts of a folder, and may be killed; counts what it predicts."""

    def __init__(self, folder, size=10, **settings):
        folder.mkdir(exist_ok=True)
        self.folder, self.size, self.settings, self.predicted = folder, size, SETTINGS | settings, []

    def run(self, inputs, shard=WHOLE, killed_after=None) -> list[Part]:
        """Returns the parts that are missing at the end."""
        size = part_size_in(self.folder, self.size)
        parts = find_parts(inputs, self.folder, size)
        digest = check_settings(self.folder, {"part_size": size, **self.settings})
        mine = [part for part in parts if shard.has(part.number) and not part.is_done]
        left = itertools.count(killed_after, -1) if killed_after is not None else itertools.repeat(1)

        def answered(part, some):
            for item in some:
                if not next(left):
                    raise Killed
                self.predicted.append(item.name)
                yield Answer(item.name, classes={"main": "A"}, probabilities={"main": 0.5})

        write_parts(self.folder, mine, inputs, answered, TABLE, digest)
        return missing_parts(self.folder, parts)

    @property
    def rows(self) -> list[str]:
        return pq.read_table(self.folder)["path"].to_pylist()


def test_a_killed_job_goes_on_where_it_was(tmp_path):
    inputs = named(*range(47))
    job = Job(tmp_path / "out")
    for after in (3, 25, 14):
        with pytest.raises(Killed):
            job.run(inputs, killed_after=after)
    assert job.run(inputs) == []
    assert job.rows == [item.name for item in inputs]
    assert len(job.predicted) == 47 + 3 + 5 + 4, "only the parts that were cut off are done again"
    before = {path.name: path.stat().st_mtime_ns for path in job.folder.iterdir()}
    assert job.run(inputs) == [] and len(job.predicted) == 59
    assert {path.name: path.stat().st_mtime_ns for path in job.folder.iterdir()} == before
    assert sorted(before) == [JOB, *(f"part-00000{i}.parquet" for i in range(5))]


def test_shards_share_the_parts(tmp_path):
    inputs = named(*range(47))
    first, second, third = (Job(tmp_path / "out") for _ in range(3))
    missing = first.run(inputs, Shard(1, 3))
    assert [part.number for part in missing] == [1, 2, 4] and len(first.predicted) == 20
    with pytest.raises(Killed):
        third.run(inputs, Shard(3, 3), killed_after=5)
    assert [part.number for part in second.run(inputs, Shard(2, 3))] == [2]
    assert third.run(inputs) == [], "without a shard it does what is missing"
    assert first.rows == [item.name for item in inputs]
    alone = Job(tmp_path / "alone")
    alone.run(inputs)
    assert pq.read_table(alone.folder).equals(pq.read_table(first.folder))
    assert not list(first.folder.glob(".*"))


def test_a_part_says_what_it_holds(tmp_path):
    job = Job(tmp_path / "out")
    job.run(named(*range(12)))
    told = [json.loads(pq.read_schema(path).metadata[PART]) for path in sorted(job.folder.glob("part*"))]
    assert [(part["first"], part["count"]) for part in told] == [(0, 10), (10, 2)]
    assert told[0]["digest"] != told[1]["digest"] and told[0]["settings"] == told[1]["settings"]
    classes = json.loads(pq.read_table(job.folder).schema.metadata[b"fashion_jax.classes"])
    assert classes == {"main": ["A", "B"]}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (range(1, 48), "part-000000.parquet"),
        ([*range(15), "new", *range(15, 47)], "part-000001.parquet"),
        (range(45), "part-000004.parquet"),
        (range(40), "part-000004.parquet"),
        (range(31), "part-000003.parquet"),
    ],
)
def test_other_inputs_are_refused_before_anything_is_predicted(tmp_path, changed, words):
    job = Job(tmp_path / "out")
    job.run(named(*range(47)))
    with pytest.raises(UserError, match=words):
        job.run(named(*changed))
    assert len(job.predicted) == 47


def test_inputs_may_be_added_at_the_end(tmp_path):
    job = Job(tmp_path / "out")
    job.run(named(*range(47)))
    folder, more = job.folder, named(*range(60))
    grown = [part for part in find_parts(more, folder, 10) if not part.is_done]
    assert [(part.number, part.grows_from) for part in grown] == [(4, 7), (5, 0)]
    assert job.run(more) == [] and job.rows == [item.name for item in more]
    assert job.predicted[47:] == [str(i) for i in range(40, 60)]


def test_inputs_that_change_while_they_are_predicted_leave_no_part(tmp_path):
    class Changing(list):
        def __iter__(self):
            names = list(super().__iter__())
            self.pop(3)
            return iter(names)

    job = Job(tmp_path / "out")
    with pytest.raises(UserError, match="inputs 0 to 9 have changed"):
        job.run(Changing(named(*range(12))))
    assert [path.name for path in job.folder.iterdir()] == [JOB]


def test_two_models_or_settings_are_not_mixed(tmp_path):
    job = Job(tmp_path / "out")
    with pytest.raises(Killed):
        job.run(named(*range(12)), killed_after=11)
    for settings, words in (({"step": 8}, "step 7, not 8"), ({"costs": "tree"}, "costs nothing, not tree")):
        with pytest.raises(UserError, match=words):
            Job(tmp_path / "out", **settings).run(named(*range(12)))
    with pytest.raises(UserError, match=r"--part-size is 5, but .* parts of 10 rows"):
        Job(tmp_path / "out", 5).run(named(*range(12)))
    assert part_size_in(job.folder, None) == 10 and job.run(named(*range(12))) == []
    (job.folder / JOB).write_text(json.dumps({"part_size": 10, **SETTINGS, "step": 8}))
    with pytest.raises(UserError, match=r"part-000000\.parquet has predictions with other settings"):
        Job(tmp_path / "out", step=8).run(named(*range(12)))
    (job.folder / JOB).write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        job.run(named(*range(12)))


def settings_of(folder, overrides=(), step=7, temperature=1.1, decode="conditional", **flags):
    """Returns the settings of a job by the flags of predict and the model that it has loaded."""
    usual = {"costs": "", "min_probability": None, "precision": None, "top_k": 0}
    usual |= {"all_probabilities": False, "embeddings": False}
    engine = SimpleNamespace(step=step, temperatures={"main": temperature})
    classifier = SimpleNamespace(engine=engine, decider=SimpleNamespace(how=decode))
    return predictor.settings(argparse.Namespace(workdir=folder / "run", **usual | flags), overrides, classifier, 10)


@pytest.mark.parametrize(
    "change",
    [
        {"step": 8},
        {"temperature": 1.2},
        {"decode": "joint"},
        {"overrides": [("eval_flip", "true")]},
        {"costs": "tree"},
        {"min_probability": 0.5},
        {"precision": 0.9},
        {"top_k": 2},
        {"all_probabilities": True},
        {"embeddings": True},
    ],
    ids=str,
)
def test_rows_of_another_model_or_flag_do_not_come_into_a_folder(tmp_path, change):
    check_settings(tmp_path, settings_of(tmp_path))
    check_settings(tmp_path, settings_of(tmp_path, overrides=[("data.cache_dir", "elsewhere")]))
    with pytest.raises(UserError, match="has predictions with"):
        check_settings(tmp_path, settings_of(tmp_path, **change))


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(UserError, match=r"photo\.jpg"):
        part_size_in(tmp_path, None)
    assert part_size_in(tmp_path / "new", None) == PART_SIZE
    assert part_size_in(tmp_path / "new", 3) == 3


def test_a_damaged_part_is_done_again(tmp_path):
    job = Job(tmp_path / "out")
    job.run(named(*range(25)))
    (job.folder / "part-000001.parquet").write_bytes(b"")
    assert job.run(named(*range(25))) == [] and len(job.predicted) == 35 and len(job.rows) == 25

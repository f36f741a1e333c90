"""Two processes on loopback, run by the command, agree with one in float64: a small net, 5 steps (long: ResNet-34).

The long tests run four processes, every source of data and every cache mode too.
"""

import csv
import itertools
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from fashion_jax.config.loading import load_config
from fashion_jax.data.catalogue.generator import catalogue_folder
from fashion_jax.prepare import prepare
from fashion_jax.training.train import train_and_evaluate
from tests.conftest import ROOT
from tests.loopback import start_all


def overrides(name: str, cache_dir: str) -> dict[str, object]:
    return {
        "model.name": name,
        "dtype": "float64",
        "image_size": 32,
        "batch_size": 32,
        "num_epochs": 1,
        "data.catalogue.num_images": 200,
        "data.cache_dir": cache_dir,
    }


def start_run(workdir: Path, fields: dict[str, object], before: str = "", count: int = 2) -> list[subprocess.Popen]:
    """Starts the command in `count` processes with four devices together, after the lines `before`."""
    return start_all(workdir, fields, count=count, before=before, devices=4 // count, flags=("--verbose",))


def ends(processes: list[subprocess.Popen], status: int = 0) -> list[str]:
    """Waits for processes, which must end with a status; returns what they have printed."""
    outputs = [process.communicate(timeout=1800)[0] for process in processes]
    assert [process.returncode for process in processes] == [status] * len(processes), outputs
    return outputs


def assert_same_run(one: Path, other: Path) -> None:
    """Compares the metrics and predictions of two runs in float64, and what they say of the data byte by byte."""
    lines, others = (
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (one, other)
    )
    assert len(lines) == len(others)
    for line, same in zip(lines, others, strict=True):
        assert line.keys() == same.keys()
        for name in line.keys() - {"timing"}:
            assert same[name] == pytest.approx(line[name], rel=1e-8), name
    for column in ("main_probabilities", "sub_probabilities"):
        a, b = (
            np.array(pq.read_table(run / "predictions" / "validation.parquet")[column].to_pylist())
            for run in (one, other)
        )
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-14)  # 1e-44 is exp(-101): of it, 1e-8 is 1e-10 of the logit
    for name in ("data.json", "images.parquet", "taxonomy.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


# The devices of the two processes in turn, as on a slice of TPUs.
INTERLEAVED = """
import jax, numpy as np
make_mesh = jax.make_mesh
jax.make_mesh = lambda *arguments, devices, **options: make_mesh(
    *arguments, devices=[devices[i] for i in (0, 2, 1, 3)], **options
)
"""


PATIENTLY = """
from fashion_jax.devices import processes
processes._SILENCE, processes._SHUTDOWN = 600.0, 600  # seconds; a busy machine may be silent for the usual 30
"""


WITHOUT_PAGE = """
from fashion_jax.training import run_end
run_end._write_report = lambda run, directory, *results: (directory / "index.html").touch()
"""


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("resnet10", ""),
        pytest.param("resnet10", INTERLEAVED, marks=pytest.mark.long),
        pytest.param("resnet34", "", marks=pytest.mark.long),
    ],
    ids=["resnet10", "resnet10 interleaved", "resnet34"],
)
def test_two_processes_train_as_one(tmp_path, catalogue_cache, no_report, name, before):
    fields = overrides(name, catalogue_cache)
    processes = start_run(tmp_path / "two", fields, before + PATIENTLY + WITHOUT_PAGE)
    config = load_config(str(ROOT / "configs" / "smoke.py"), [(k, str(v)) for k, v in fields.items()])
    with jax.enable_x64(True):
        (line,) = train_and_evaluate(config, tmp_path / "one", devices=jax.devices()[:1])
    assert line["step"] == 5
    ends(processes)
    assert_same_run(tmp_path / "one", tmp_path / "two")


@pytest.mark.long
def test_the_page_may_take_longer_than_jax_waits_for_the_last_process(tmp_path, catalogue_cache):
    slow = "import time; from fashion_jax.training import run_end as end; end._write_report = lambda *_: time.sleep(45)"
    ends(start_run(tmp_path / "run", overrides("resnet10", catalogue_cache) | {"dtype": "float32"}, slow))
    assert (tmp_path / "run" / "report").is_dir()


SIGNAL_AT_SAVES = """
import os
from fashion_jax.workdir.checkpoints import store as checkpoint

def signalling(save):
    def send_and_save(self, step, state):
        if step in {steps} and int(os.environ["JAX_PROCESS_ID"]) in {processes}:
            os.kill(os.getpid(), {number})
        save(self, step, state)
    return send_and_save

checkpoint.Checkpoints.save = signalling(checkpoint.Checkpoints.save)
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "processes", "steps"),
    [
        (signal.SIGTERM, (1,), (8,)),
        (signal.SIGUSR1, (0,), (8,)),
        (signal.SIGUSR1, (0, 1), (8, 9, 10)),  # Slurm's --signal, to every task, and not once only
    ],
)
def test_a_signal_near_saves_stops_both_processes_after_the_same_step(
    tmp_path, catalogue_cache, number, processes, steps
):
    """Every step is saved; the signals come in the second epoch, where polls and steps have different numbers."""
    fields = {"dtype": "float32", "num_epochs": 200, "checkpoint.every_steps": 1}
    before = SIGNAL_AT_SAVES.format(steps=steps, processes=processes, number=int(number))
    outputs = ends(start_run(tmp_path / "run", overrides("resnet10", catalogue_cache) | fields, before), 75)
    stopped = {re.search(r"Stopped by SIG\w+ after step (\d+), which is saved", output)[1] for output in outputs}
    assert len(stopped) == 1, outputs
    saved = [int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert max(saved) == int(*stopped) and not [path for path in (tmp_path / "run").glob("report*")]


NUM_IMAGES = 203
SOURCES = ("csv", "folder", "prepared")
CACHES = ("none", "host", "device")
UNUSABLE = {5: b"", 17: b"no image", 40: None, 101: b"\xff\xd8\xff cut off"}  # row -> content; 40 is removed


@pytest.fixture(scope="module")
def sources(tmp_path_factory, catalogue_cache) -> dict[str, dict[str, object]]:
    """Returns source -> config fields of the same images as a table, as folders and as records, some of them broken.

    Neither the training nor the validation images fill batches, or divide evenly among processes.
    """
    root = tmp_path_factory.mktemp("sources")
    shutil.copytree(catalogue_folder(catalogue_cache, NUM_IMAGES, seed=0), root / "csv")
    with (root / "csv" / "styles.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for i, content in UNUSABLE.items():
        path = root / "csv" / "images" / f"{rows[i]['id']}.jpg"
        path.unlink() if content is None else path.write_bytes(content)
    for row in rows:
        folder = root / "folder" / row["masterCategory"] / row["subCategory"]
        folder.mkdir(parents=True, exist_ok=True)
        image = root / "csv" / "images" / f"{row['id']}.jpg"
        if image.exists():
            shutil.copy(image, folder)
    common = {
        **{"model.name": "resnet10", "dtype": "float64", "image_size": 32, "batch_size": 24, "num_epochs": 2},
        "data.max_bad_fraction": 0.05,
    }
    fields = {
        "csv": common | {"data.source": "csv", "data.path": str(root / "csv")},
        "folder": common | {"data.source": "folder", "data.path": str(root / "folder")},
        "prepared": common | {"data.source": "tfds", "data.path": str(root / "prepared")},
    }
    pytest.importorskip("apache_beam", reason="Apache Beam, the extra prepare, is not installed")
    prepare(config_of(fields["csv"] | {"data.cache_dir": str(root / "cache")}), root / "prepared", (32, 32), 50)
    return fields


def config_of(fields: dict[str, object]) -> Any:
    return load_config(str(ROOT / "configs" / "smoke.py"), [(name, str(value)) for name, value in fields.items()])


# Makes the command train several runs after one another, and note which images each process checks and decodes.
SEVERAL_RUNS = """
import json, os
from pathlib import Path

from fashion_jax.config.loading import load_config
from fashion_jax.data.batches import streamed_images
from fashion_jax.data.decoding import file_check
from fashion_jax.data.records.record_files import ArrayRecords
from fashion_jax.data.records.record_images import RecordNames
from fashion_jax.training import launch, run_end

checked, decoded, index = [], [], os.environ["JAX_PROCESS_ID"]

def noting(notes, function):
    return lambda file: notes.append(file) or function(file)

def read(self, rows, function=ArrayRecords.read):
    decoded.extend(map(int, rows))
    return function(self, rows)

def picture(self, i, function=RecordNames.picture):  # shown to the user, and not fed to the network
    before = len(decoded)
    shown = function(self, i)
    del decoded[before:]
    return shown

def launch_several(config, root, began, launch_one=launch.launch):
    for name, fields in json.loads((root / "runs.json").read_text()).items():
        checked.clear(), decoded.clear()
        launch_one(load_config("configs/smoke.py", list(fields.items())), root / name, began)
        (root / f"{name} {index}.json").write_text(json.dumps({"checked": checked, "decoded": decoded}))

file_check.contents = noting(checked, file_check.contents)
streamed_images.contents = noting(decoded, streamed_images.contents)
ArrayRecords.read, RecordNames.picture = read, picture
run_end._write_report = lambda run, directory, *results: (directory / "index.html").touch()
launch.launch = launch_several
"""


def train_several(root: Path, runs: dict[str, dict[str, object]], count: int) -> Callable[[str], list[dict[str, list]]]:
    """Trains runs (name -> fields) in `count` processes; returns what tells the images that each process has read."""
    root.mkdir()
    texts = {run: {name: str(value) for name, value in fields.items()} for run, fields in runs.items()}
    (root / "runs.json").write_text(json.dumps(texts))
    ends(start_run(root, {}, SEVERAL_RUNS, count))
    return lambda run: [json.loads((root / f"{run} {i}.json").read_text()) for i in range(count)]


@pytest.fixture(scope="module")
def one_process(tmp_path_factory, sources) -> tuple[Path, Callable]:
    """Returns the folder of a run of each source in one process, and what it has read."""
    root = tmp_path_factory.mktemp("one") / "runs"
    cache = {"data.cache": "none", "data.cache_dir": str(root) + ".cache"}
    return root, train_several(root, {source: fields | cache for source, fields in sources.items()}, count=1)


@pytest.mark.long
@pytest.mark.parametrize("count", [2, 4])
def test_processes_train_as_one_from_every_source_and_cache_and_read_their_shares(
    tmp_path, sources, one_process, count
):
    one, read_by_one = one_process
    runs = {
        f"{source} {cache}": sources[source] | {"data.cache": cache, "data.cache_dir": str(tmp_path / "cache")}
        for source, cache in itertools.product(SOURCES, CACHES)
    }
    read = train_several(tmp_path / "runs", runs, count)
    for source, cache in itertools.product(SOURCES, CACHES):
        assert_same_run(one / source, tmp_path / "runs" / f"{source} {cache}")
        (alone,) = read_by_one(source)
        processes = read(f"{source} {cache}")
        decoded = [process["decoded"] for process in processes]
        if cache == "none":
            assert sorted(itertools.chain(*decoded)) == sorted(alone["decoded"]), "each image by one process only"
            assert len({len(images) for images in decoded}) == 1
            checked = [process["checked"] for process in processes]  # later runs know the good files
            assert sorted(itertools.chain(*checked)) == sorted(alone["checked"]), "each file by one process only"
            assert max(map(len, checked)) - min(map(len, checked)) <= len(UNUSABLE)
            continue
        assert all(len(images) == len(set(images)) for images in decoded), "each image once per process"
        assert set().union(*decoded) >= set(alone["decoded"])
        if cache == "host":
            assert set().union(*decoded) == set(alone["decoded"]), "only what is used"
        else:
            assert max(map(len, decoded)) <= NUM_IMAGES // count + 8


@pytest.mark.long
@pytest.mark.parametrize("name", ["resnet10", "resnet34"])
def test_a_run_that_four_processes_begin_one_goes_on_and_two_end_is_that_of_one(tmp_path, sources, name):
    fields = sources["csv"] | {"model.name": name, "num_epochs": 3, "checkpoint.every_steps": 1}
    fields |= {"data.cache_dir": str(tmp_path / "cache")}
    train_several(tmp_path / "whole", {"run": fields}, count=1)
    for count, step in ((4, 4), (1, 11)):  # within the first epoch, and within the second
        stop = SIGNAL_AT_SAVES.format(steps=(step,), processes=(0,), number=int(signal.SIGTERM))
        ends(start_run(tmp_path / "parts", fields, stop, count), 75)
        saved = [int(path.name) for path in (tmp_path / "parts" / "checkpoints").iterdir()]
        assert step <= max(saved) < step + 4
    ends(start_run(tmp_path / "parts", fields))
    assert_same_run(tmp_path / "whole" / "run", tmp_path / "parts")

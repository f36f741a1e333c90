"""benchmarks.accelerator does both parts on a CPU at tiny sizes, without the libraries that GPU machines lack."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accelerator import __main__ as accelerator
from benchmarks.accelerator.gpu_tests import read_results
from benchmarks.accelerator.items import CHECK, PARTS, SPEED, Item, find
from benchmarks.accelerator.kernels import Kernel, slowest
from benchmarks.accelerator.precision import bounds_on, relative_error
from benchmarks.accelerator.supervisor import run_items
from fashion_jax.errors import UserError
from tests.conftest import ROOT

ABSENT = ("tensorflow", "clu", "tensorflow_datasets", "simplejpeg", "cv2", "PIL", "psutil", "sklearn", "pyarrow")


def without(folder: Path, *absent: str) -> str:
    """Returns a PYTHONPATH with which importing some packages fails."""
    packages = folder / "absent"
    packages.mkdir()
    for name in absent:
        (packages / f"{name}.py").write_text(f"raise ModuleNotFoundError('{name} is not installed', name='{name}')\n")
    return os.pathsep.join(filter(None, [str(packages), os.environ.get("PYTHONPATH")]))


def do(folder: Path, *arguments: str, absent: tuple[str, ...] = ABSENT, devices: int = 1) -> dict:
    """Runs the command where importing some packages fails; returns what it writes."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": without(folder, *absent),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    path = folder / "accelerator.json"
    command = [sys.executable, "-m", "benchmarks.accelerator", "--sizes=tiny", "--seconds=3000", "--json", str(path)]
    done = subprocess.run([*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def checked(tmp_path_factory) -> dict:
    return do(tmp_path_factory.mktemp("check"), "--part=check", devices=2)


@pytest.fixture(scope="module")
def timed(tmp_path_factory) -> dict:
    return do(tmp_path_factory.mktemp("speed"), "--part=speed", absent=(*ABSENT, "orbax", "torch"))


def entries(result: dict) -> Iterator[tuple[str, dict]]:
    for part in result["parts"].values():
        yield from part["items"].items()


def test_items_are_chosen_from_the_parts_that_have_them():
    chosen = accelerator._chosen(list(PARTS), ["donation", "batch_norm"])
    assert {part: [item.name for item in items] for part, items in chosen.items()} == {
        "check": ["donation", "batch_norm_pooled_first"]
    }
    with pytest.raises(UserError, match="--items has deterministc, which names no item"):
        accelerator._chosen(["check"], ["batch_norm", "deterministc"])


def test_nothing_is_imported_that_gpu_machines_lack(tmp_path):
    environment = {**os.environ, "PYTHONPATH": without(tmp_path, *ABSENT, "orbax", "torch")}
    command = [sys.executable, "-c", "import benchmarks.accelerator.__main__, benchmarks.accelerator.worker"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_items_of_both_parts_are_done_without_the_libraries_that_gpu_machines_lack(tmp_path):
    """The long tests do all items of both parts."""
    names = ["donation", "batch_norm_pooled_first", "device_cache"]
    found = dict(entries(do(tmp_path, "--items", *names, absent=(*ABSENT, "orbax", "torch"))))
    assert list(found) == names
    assert {name: entry["status"] for name, entry in found.items()} == dict(
        zip(names, ["passed", "passed", "done"], strict=True)
    )


@pytest.mark.long
def test_the_check_part_is_complete(checked):
    assert checked["environment"]["packages"]["jax"] and checked["sizes"] == "tiny"
    assert list(dict(entries(checked))) == [item.name for item in CHECK]
    statuses = {name: entry["status"] for name, entry in entries(checked)}
    assert statuses.pop("gpu_tests") == "skipped"
    assert set(statuses.values()) == {"passed"}
    assert all(entry["seconds"] >= 0 for _, entry in entries(checked))


def test_float32_products_of_a_tpu_are_as_exact_as_bfloat16():
    """It has no TF32."""
    on_tpu, on_gpu = bounds_on("tpu"), bounds_on("gpu")
    assert on_tpu["tf32"] == on_gpu["bfloat16"] and on_tpu | {"tf32": on_gpu["tf32"]} == on_gpu


@pytest.mark.long
@pytest.mark.parametrize("name", ["precision_resnet34", "precision_vgg16"])
def test_errors_are_stated_for_each_precision_with_their_bounds(checked, name):
    entry = checked["parts"]["check"]["items"][name]
    assert list(entry["relative_errors"]) == list(entry["bounds"]) == ["float32", "tf32", "bfloat16"]
    for precision, errors in entry["relative_errors"].items():
        assert errors.keys() == {"loss", "gradient", "batch_stats", "log_probs"}
        assert all(0 < error <= entry["bounds"][precision][kind] for kind, error in errors.items())
    assert entry["relative_errors"]["bfloat16"]["gradient"] > 10 * entry["relative_errors"]["float32"]["gradient"]


@pytest.mark.long
def test_the_other_checks_state_what_they_have_seen(checked):
    items = checked["parts"]["check"]["items"]
    assert items["donation"]["aliased_bytes"] >= items["donation"]["state_bytes"] > 0
    assert items["deterministic"]["repeats"] is True
    assert items["checkpoint"]["is_the_same_on"] == {"2": True, "1": True}
    assert list(items["augmentation"]["relative_errors"]) == ["none", "flip", "light", "medium", "trivial", "strong"]
    assert "There is no GPU" in items["gpu_tests"]["why"]


@pytest.mark.long
def test_the_speed_part_is_complete(timed):
    assert list(dict(entries(timed))) == [item.name for item in SPEED]
    for name, entry in entries(timed):
        expected = "skipped" if name.startswith("torch_compile") else "done"
        assert entry["status"] == expected, entry
        assert expected == "done" or "PyTorch" in entry["why"]


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("case", ["resnet34_224px", "resnet34_64px", "vgg16_224px", "hybrid_128px"])
def test_every_network_is_timed_in_both_types(timed, case, dtype):
    entry = timed["parts"]["speed"]["items"][f"{case}_{dtype}"]
    assert entry["dtype"] == dtype and entry["peak_flops"] is None and entry["peak_is"]
    for mode in ("step", "inference"):
        numbers = entry[mode]
        assert numbers["images_per_second"] == pytest.approx(entry["batch_size"] / numbers["step_seconds"]["median"])
        assert numbers["compile_seconds"] > 0 and numbers["flops_per_image"] > 0 and numbers["mfu"] is None
        assert numbers["memory"]["temp_bytes"] > 0 and "device_peak_bytes" in numbers["memory"]
        assert entry[f"torch_{mode}"]["skipped"]
    assert ("profile" in entry) == (dtype == "bfloat16")
    if dtype == "bfloat16":
        rows = entry["profile"]["slowest"]
        assert len(rows) == 5 and all(row["name"] and row["seconds"] > 0 for row in rows)


@pytest.mark.long
def test_dispatches_and_the_cache_on_the_devices_are_timed(timed):
    items = timed["parts"]["speed"]["items"]
    dispatched, cached = items["steps_per_dispatch"], items["device_cache"]
    assert dispatched["step_seconds"].keys() == dispatched["compile_seconds"].keys() == {"1", "8"}
    assert dispatched["ratio"] > 0
    assert cached["step_only"] > 0 and cached["end_to_end"] > 0 and 0 <= cached["data_wait_share"] <= 1


def test_an_item_that_takes_too_long_is_stopped_and_the_next_is_done(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    slow = Item("donation", 0.001, find("donation").run)
    chosen = (slow, find("batch_norm_pooled_first"))
    written, found = [], {item.name: {"status": "skipped"} for item in chosen}
    described = run_items(chosen, "tiny", 3000, found, lambda: written.append(json.dumps(found)))
    assert found["donation"]["status"] == "skipped" and "stopped after" in found["donation"]["why"]
    assert found["batch_norm_pooled_first"]["status"] == "passed"
    assert any("has begun" in text for text in written)
    assert described["environment"]["devices"]


def test_what_there_is_no_time_for_is_skipped(tmp_path, capsys):
    path = tmp_path / "result.json"
    assert accelerator.main(["--part=check", "--sizes=tiny", "--seconds=1", "--json", str(path)]) == 0
    found = dict(entries(json.loads(path.read_text())))
    assert list(found) == [item.name for item in CHECK]
    assert all("No time was left" in entry["why"] for entry in found.values())
    assert capsys.readouterr().out.count("skipped") == 0  # nothing has begun


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--part=speed", "--items=donation"], "--items has donation"),
        (["--part=fast"], "'fast'"),
        (["--seconds=0"], "--seconds is 0"),
    ],
)
def test_wrong_usage_is_told(arguments, said, capsys):
    assert accelerator.main(arguments) == 2
    assert said in capsys.readouterr().err


def test_names_of_items_are_unique():
    names = [item.name for items in PARTS.values() for item in items]
    assert len(names) == len(set(names))


def test_kernels_are_added_up_by_name():
    found = slowest([Kernel("a", 2e9), Kernel("b", 3e9), Kernel("a", 2e9), *(Kernel(str(i), 1e8) for i in range(10))])
    assert found["seconds"] == pytest.approx(8) and found["kernels"] == 13
    assert found["slowest"][0] == {"name": "a", "seconds": 4, "share": pytest.approx(0.5), "count": 2}
    assert [row["name"] for row in found["slowest"]] == ["a", "b", "0", "1", "2"]


def test_results_of_pytest_are_counted():
    text = (
        '<testsuites><testsuite><testcase name="a"/><testcase name="b"><failure message="no"/></testcase>'
        '<testcase name="c"><skipped/></testcase><testcase name="d"><error message="bad"/></testcase></testsuite>'
        "</testsuites>"
    )
    assert read_results(text) == ({"passed": 1, "failed": 2, "skipped": 1}, {"b": "no", "d": "bad"})


def test_relative_errors_are_of_all_numbers_together():
    wanted = {"a": np.array([3.0, 0.0]), "b": np.array([4.0])}
    assert relative_error({"a": np.array([3.0, 0.5]), "b": np.array([4.0])}, wanted) == pytest.approx(0.1)
    assert math.isnan(relative_error({"a": np.array([3.0, np.nan]), "b": np.array([4.0])}, wanted))

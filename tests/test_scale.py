"""The model behind docs/scale.md, by cases computed by hand, and the page's tables against the committed result."""

import dataclasses
import json
import math

import numpy as np
import pytest

from benchmarks.scale import __main__ as scale
from benchmarks.scale.goodput import daly_interval, expected_goodput, failures, simulated_goodput, young_interval
from benchmarks.scale.machines import MACHINES
from benchmarks.scale.model import Kind, Step, cached_images, create_step, demand, network_seconds, step_seconds
from benchmarks.scale.model import scaling as scaling_of
from benchmarks.scale.report import draw, tables
from benchmarks.tpu import Chip
from tests.conftest import ROOT

CHIP = Chip(flops=100.0, memory_bandwidth=10.0, memory_bytes=1 << 30, link_bandwidth=1000.0, dims=1)
# slices of 4 chips, hosts of 2 chips with 8 cores, 300 bytes of memory, a network of 50 bytes/s
MACHINE = dataclasses.replace(
    MACHINES["v5e"],
    chip=CHIP,
    slice_chips=4,
    host_chips=2,
    host_cores=8,
    host_memory=300.0,
    host_network=50.0,
    hop_seconds=0.25,
)
STEP = Step(image_seconds=0.5, fixed_seconds=2.0, collectives=3, collective_bytes=600.0)
RESULT = {
    "images_per_chip": 4,
    "bound_images_per_second": 0.5,
    "aliased_bytes": 15,
    "counts": {"flops_per_image": 50.0, "bytes_per_image": 5.0, "collectives": 3, "collective_bytes": 600},
}


def test_a_step_reads_and_writes_its_state_once_and_takes_its_bound():
    step = create_step(RESULT, MACHINE)
    assert step.fixed_seconds == 2 * 15 / 10
    assert step.image_seconds == (4 / 0.5 - 3) / 4
    assert step_seconds(step, MACHINE, 1, 4) == 8


def test_on_a_chip_without_a_compiled_program_flops_and_bytes_take_turns():
    step = create_step(RESULT, dataclasses.replace(MACHINE, is_compiled=False))
    assert step_seconds(step, MACHINE, 1, 4) == pytest.approx(4 * (50 / 100 + 5 / 10))


def test_collectives_go_round_the_ring_of_a_slice():
    assert network_seconds(STEP, MACHINE, 1) == 0
    # three collectives of 200 bytes: there and back over one hop or three, and 2 * (n - 1) / n of the bytes
    assert network_seconds(STEP, MACHINE, 2) == pytest.approx(3 * 2 * 1e-6 + 2 * 0.5 * 600 / 1000)
    assert network_seconds(STEP, MACHINE, 4) == pytest.approx(3 * 6 * 1e-6 + 2 * 0.75 * 600 / 1000)


def test_collectives_between_slices_go_up_and_down_a_tree_through_the_hosts_networks():
    inside = network_seconds(STEP, MACHINE, 4)
    # four slices of two hosts: a tree of two levels; a slice sends 2 * 3 / 4 of the bytes at 100 bytes/s
    between = 3 * 4 * 0.25 + 2 * 0.75 * 600 / 100
    assert network_seconds(STEP, MACHINE, 16) == pytest.approx(inside + between)


def test_a_fixed_batch_leaves_fewer_images_to_each_chip():
    row = scaling_of(STEP, MACHINE, chips=4, per_chip=8, batch=8)
    alone, network = 2 + 8 * 0.5, network_seconds(STEP, MACHINE, 4)
    assert row["images_per_second_per_chip"] == pytest.approx(8 / (alone + network))
    assert row["efficiency"] == pytest.approx(alone / (alone + network))
    assert row["fixed_batch_step_seconds"] == pytest.approx(2 + 2 * 0.5 + network)
    assert row["fixed_batch_efficiency"] == pytest.approx(alone / 8 / ((3 + network) / 2))


def test_what_a_chip_asks_of_its_host():
    asked = demand(20.0, Kind("JPEG", images_per_core=10.0, bytes=3.0), MACHINE)
    assert asked == {"cores": 2.0, "cores_share": 0.5, "bytes_per_second": 60.0, "network_share": 2.4}
    assert cached_images(MACHINE, image_bytes=30, share=0.2) == 2


def test_a_failure_loses_what_was_not_saved():
    # periods of 10 s and 1 s of saving: none in the first gap, which ends before the restart does; two and one follow
    gaps = np.array([4.0, 5 + 22 + 3, 5 + 11 + 10.9])
    assert simulated_goodput(gaps, every=10, cost=1, restart=5) == pytest.approx(30 / gaps.sum())


@pytest.mark.parametrize(("mean", "every", "cost", "restart"), [(1000, 100, 2, 50), (100, 30, 1, 80)])
def test_drawn_failures_tend_to_the_expected_goodput(mean, every, cost, restart):
    gaps = failures(mean, 200_000, seed=0)
    expected = expected_goodput(mean, every, cost, restart)
    assert simulated_goodput(gaps, every, cost, restart) == pytest.approx(expected, rel=0.01)
    # by hand: a gap reaches the end of its k-th period with the probability exp(-(restart + k (every + cost)) / mean)
    periods = sum(math.exp(-(restart + k * (every + cost)) / mean) for k in range(1, 1000))
    assert expected == pytest.approx(every * periods / mean)


def test_the_best_interval_is_youngs_and_dalys_is_better():
    assert young_interval(mean=200, cost=4) == 40
    assert daly_interval(mean=200, cost=4) == pytest.approx(40 * (1 + 0.1 / 3 + 0.01 / 9) - 4)
    assert daly_interval(mean=1, cost=2) == 1
    best = daly_interval(1000, 20)
    found = {every: expected_goodput(1000, every, 20, 50) for every in (0.7 * best, best, 1.4 * best)}
    assert max(found, key=found.get) == best


@pytest.fixture(scope="module")
def committed() -> dict:
    return json.loads((ROOT / "benchmarks" / "results" / "scale.json").read_text(encoding="utf-8"))


def test_the_committed_measurement_makes_the_committed_result_and_the_tables_of_the_page(committed, tmp_path):
    computed = json.loads(json.dumps(scale.compute(committed["per_image"])))
    assert computed == {name: committed[name] for name in computed}
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    for name, table in tables(committed).items():
        assert table in page, f"the table {name} of docs/scale.md is another one than {table}"
    draw(committed, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_wrong_usage_is_told_in_one_sentence(capsys):
    for arguments, said in ((["--images=10"], "--images is 10"), (["--figure=plot.txt"], "plot.txt")):
        assert scale.main(arguments) == 2
        error = capsys.readouterr().err
        assert said in error and len(error.splitlines()) == 1


@pytest.mark.long
def test_an_image_is_measured(tmp_path):
    path = tmp_path / "scale.json"
    assert scale.main(["--images=2000", "--files=64", "--json", str(path)]) == 0
    measured = json.loads(path.read_text())["per_image"]
    assert measured["kept_bytes"]["contents"] == 8 and measured["kept_bytes"]["labels"] == 8
    assert measured["records"]["bytes"] > 3 * 224**2
    assert all(seconds > 0 for seconds in measured["seconds"].values())

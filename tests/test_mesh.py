"""The one mesh: in whatever order it has the devices, each process reads the rows that lie on its own."""

import dataclasses
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from fashion_jax.devices.mesh import create_mesh, eval_batch_size, local_rows, put_batch
from fashion_jax.errors import UserError
from tests.conftest import PATIENT, ROOT
from tests.loopback import free_port

V5E, V5P = "TPU v5 lite", "TPU v5"


@dataclasses.dataclass(frozen=True)
class Chip:
    """A stand-in for a TPU chip, with the attributes that jax.make_mesh reads."""

    id: int
    process_index: int
    coords: tuple[int, int, int]
    device_kind: str
    slice_index: int = 0
    core_on_chip: int = 0
    platform: str = "tpu"


def slice_of(kind: str, shape: tuple[int, int, int], number: int = 0) -> list[Chip]:
    """Returns the chips of a slice, x running fastest; a host has 2 x 2 of them, and all slices have equally many."""
    columns, rows = shape[0] // 2, shape[1] // 2
    chips = []
    for z, y, x in np.ndindex(shape[::-1]):
        host = x // 2 + columns * (y // 2 + rows * z) + number * columns * rows * shape[2]
        chips.append(Chip(number * np.prod(shape) + len(chips), host, (x, y, z), kind, number))
    return chips


def processes(mesh: Mesh) -> list[int]:
    return [device.process_index for device in mesh.devices.flat]


@pytest.mark.parametrize(
    ("chips", "order"),
    [  # the order is that of jax.make_mesh, which asks the chips for their places; None where any will do
        (slice_of("TPU v5 lite", (4, 4, 1)), [0, 0, 1, 1, 1, 1, 0, 2, 3, 3, 3, 3, 2, 2, 2, 0]),
        (slice_of("TPU v5", (2, 2, 2)), None),  # JAX 0.10 and 0.12 differ
        (slice_of("TPU v5 lite", (2, 4, 1)), [0] * 4 + [1] * 4),
        (slice_of("TPU v4", (2, 2, 4)), [0, 1, 2, 3] * 4),
        (slice_of("TPU v6 lite", (8, 8, 1)), None),
        (slice_of("TPU v5", (4, 4, 4)), None),
    ],
    ids=["v5e:4x4", "v5p:2x2x2", "v5e:2x4", "v4:2x2x4", "v6e:8x8", "v5p:4x4x4"],
)
@pytest.mark.parametrize("per_chip", [1, 3])
def test_each_process_reads_the_rows_that_lie_on_its_chips(chips, order, per_chip):
    mesh = create_mesh(chips)
    assert order is None or processes(mesh) == order
    assert sorted(mesh.devices.flat, key=lambda chip: chip.id) == chips
    holders = np.repeat(processes(mesh), per_chip)
    for process in set(processes(mesh)):
        rows = local_rows(mesh, mesh.size * per_chip, process)
        assert rows.tolist() == np.flatnonzero(holders == process).tolist()


def test_several_slices_are_in_the_order_of_their_processes():
    slices = [slice_of("TPU v5 lite", (4, 4, 1), number) for number in range(2)]
    mesh = create_mesh([*slices[1], *slices[0]])
    assert processes(mesh) == np.repeat(np.arange(8), 4).tolist()
    assert local_rows(mesh, 64, 5).tolist() == list(range(40, 48))


_TWO_PROCESSES = """
import os, jax, numpy as np
from jax.sharding import AxisType, Mesh
from types import SimpleNamespace
from fashion_jax.data.batches.image_stores import DeviceImages
from fashion_jax.training.dispatch import next_batch
from fashion_jax.step.prediction import predict_split
from fashion_jax.devices.mesh import fetch, local_rows, put_batch, put_batches, replicated

port, process = os.environ["PORT"], int(os.environ["PROCESS"])
jax.distributed.initialize(f"127.0.0.1:{port}", 2, process)
devices = np.array(jax.devices())
for order in ([0, 2, 1, 3], [2, 0, 1, 3], [3, 2, 1, 0]):
    mesh = Mesh(devices[order], ("batch",), axis_types=(AxisType.Auto,))
    rows, whole = local_rows(mesh, 8), np.arange(24, dtype=np.int32).reshape(3, 8)
    everywhere = jax.jit(lambda x: x, out_shardings=replicated(mesh))
    assert len(rows) == 4
    assert fetch(everywhere(put_batch({"x": whole[1][rows]}, mesh)["x"])).tolist() == whole[1].tolist()
    stacked = next_batch(({"x": batch[rows]} for batch in whole), 3)
    assert fetch(everywhere(put_batches(stacked, mesh)["x"])).tolist() == whole.tolist()
    pixels = np.arange(24 * 3, dtype=np.uint8).reshape(24, 1, 1, 3)
    decoded = SimpleNamespace(batches=lambda indices: (pixels[batch] for batch in indices()))
    batches = DeviceImages(decoded, 24, (1, 1), mesh).batches(lambda: iter(whole[:, rows]))
    kept = next_batch(({"x": batch} for batch in batches), 3)
    assert fetch(everywhere(put_batches(kept, mesh)["x"])).tolist() == pixels.reshape(3, 8, 1, 1, 3).tolist()
    state = SimpleNamespace(eval_variables=(1, {}))
    step = jax.jit(lambda params, model_state, batch: {"sub": batch["image"]}, out_shardings=replicated(mesh))
    results = predict_split(state, ({"image": batch[rows]} for batch in whole), 21, step, mesh)
    assert results["sub"].tolist() == list(range(21))
"""


def test_devices_of_processes_that_are_not_connected_are_refused(monkeypatch):
    """A TPU slice shows each of its hosts the devices of all."""
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    with pytest.raises(UserError, match=r"one of 4 processes .* which are not connected: add --distributed"):
        create_mesh()
    assert create_mesh(jax.devices()[:1]).size == 1


def test_two_processes_make_the_batches_of_one_on_a_mesh_of_any_order():
    variables = {"XLA_FLAGS": f"--xla_force_host_platform_device_count=2 {PATIENT}", "PORT": str(free_port())}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _TWO_PROCESSES],
            cwd=ROOT,
            env=os.environ | variables | {"PROCESS": str(index)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    errors = [process.communicate(timeout=600)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors


@pytest.mark.parametrize(
    ("batch_size", "devices", "accumulate", "evaluated"),
    [
        (64, 1, 1, 64),
        (256, 8, 1, 256),
        (8, 1, 1, 64),
        (24, 1, 1, 72),
        (48, 2, 1, 96),
        (1, 3, 1, 66),
        (100, 8, 1, 104),
        (1024, 1, 8, 128),  # as many images fit into the memory of a part
        (1024, 8, 8, 128),
        (256, 8, 8, 64),
    ],
)
def test_small_batches_are_evaluated_together_and_large_ones_in_parts(batch_size, devices, accumulate, evaluated):
    assert eval_batch_size(batch_size, devices, accumulate) == evaluated


def test_on_a_cpu_a_batch_is_there_when_it_has_been_put():  # otherwise its step runs in slower threads of XLA
    mesh, images = create_mesh(jax.devices()[:1]), np.zeros((64, 224, 224, 3), np.uint8)
    assert all(put_batch({"image": images}, mesh)["image"].is_ready() for _ in range(50))

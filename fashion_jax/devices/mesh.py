"""The device mesh: batches are spread over its devices, and every device holds the whole state."""

import contextlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fashion_jax.devices.host import keep_freed_memory, use_large_pages
from fashion_jax.devices.processes import check_connected
from fashion_jax.errors import UserError

_BATCH = "batch"

_SEVERAL = threading.Lock()  # see held_alone

_LEAST_EVALUATED = 64  # images in a batch of evaluation

# Makes a program for one CPU run in the calling thread, whose memory keep_freed_memory keeps. In XLA's own threads
# every step would allocate hundreds of megabytes anew, a fifth of the time of a ResNet-34 step at 64 px.
# JAX reads this setting once, when it first looks at its devices.
jax.config.update("jax_cpu_enable_async_dispatch", False)


def create_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Creates a mesh over the given devices, by default all devices of all processes.

    Its order follows the network between the devices: on a TPU slice neighbours form a ring, which may visit a process
    more than once. The rows that a process reads follow from local_rows, and from nothing else.
    """
    if not devices:
        check_connected()
    devices = list(devices or jax.devices())
    if devices[0].platform == "cpu":
        keep_freed_memory()
        use_large_pages()
    if len({_slice_index(device) for device in devices}) > 1:  # make_mesh knows the network of one slice only
        devices.sort(key=lambda device: (_slice_index(device), device.process_index, device.id))
        return Mesh(np.array(devices), (_BATCH,), axis_types=(AxisType.Auto,))
    return jax.make_mesh((len(devices),), (_BATCH,), axis_types=(AxisType.Auto,), devices=devices)


def _slice_index(device: jax.Device) -> int:
    return getattr(device, "slice_index", 0)


def check_batch_size(batch_size: int, num_devices: int, accumulate: int = 1, batch_norm: str = "global") -> None:
    """Checks that a batch, or each of its `accumulate` parts, can be spread evenly over the devices.

    Raises:
        UserError: it cannot, or with batch_norm = local a device would take the statistics of a single image.
    """
    if accumulate > 1 and batch_size % (num_devices * accumulate):
        raise UserError(
            f"batch_size is {batch_size}, but must be a multiple of {num_devices * accumulate}: each of the "
            f"{accumulate} parts (accumulate) is spread over {num_devices} devices."
        )
    if batch_size % num_devices:
        raise UserError(
            f"batch_size is {batch_size}, but must be a multiple of the {num_devices} devices it is spread over."
        )
    if batch_norm == "local" and batch_size < 2 * num_devices * accumulate:
        raise UserError(
            f"batch_size is {batch_size}, but must be at least {2 * num_devices * accumulate} if batch_norm is local: "
            "each device takes the statistics of its own images, of which it needs two at a time."
        )


def eval_batch_size(batch_size: int, num_devices: int, accumulate: int) -> int:
    """Returns how many images are evaluated together in a run that trains batches of batch_size in so many parts.

    It is the first multiple of a part, rounded up to a multiple of the devices, that is at least 64. Evaluation keeps
    nothing for a gradient, so that larger batches fit, and small ones are slow: on a CPU the kernels of convolutions
    are transformed for each batch, which takes longer than 8 images do.
    """
    return round_up(_LEAST_EVALUATED, round_up(max(batch_size // accumulate, 1), num_devices))


def round_up(number: int, factor: int) -> int:
    """Returns the smallest multiple of factor that is not below number."""
    return -(-number // factor) * factor


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh, stacked: bool = False) -> NamedSharding:
    """Returns the sharding of a batch: the first axis, or the second of stacked batches, is spread over the mesh."""
    return NamedSharding(mesh, PartitionSpec(None, _BATCH) if stacked else PartitionSpec(_BATCH))


def local_rows(mesh: Mesh, batch_size: int, process: int | None = None) -> np.ndarray:
    """Returns the rows of a global batch that lie on a process's devices, ascending.

    Args:
        mesh: the devices that batches are spread over.
        batch_size: rows of the global batch.
        process: index of the process; None means this one.

    Returns:
        int [rows]. They need not be consecutive, since the devices of a process need not be neighbours in the mesh.
    """
    process = jax.process_index() if process is None else process
    held: Mapping[Any, Any] = batch_sharding(mesh).devices_indices_map((batch_size,))
    rows = [np.arange(batch_size)[index] for device, index in held.items() if device.process_index == process]
    return np.sort(np.concatenate(rows))


def put_batch(batch: Mapping[str, Any], mesh: Mesh) -> Any:
    """Makes global arrays of a process's local_rows of a batch (a tree of numpy arrays); keeps global arrays."""
    return _put(batch, mesh, stacked=False)


def put_batches(batches: Mapping[str, Any], mesh: Mesh) -> Any:
    """Does what put_batch does for stacked batches [steps, batch, ...]."""
    return _put(batches, mesh, stacked=True)


def _put(tree: Mapping[str, Any], mesh: Mesh, stacked: bool) -> Any:
    sharding, axis = batch_sharding(mesh, stacked), int(stacked)

    def put(x: Any) -> jax.Array:
        if isinstance(x, jax.Array):
            return x
        shape = list(x.shape)
        shape[axis] = shape[axis] // len(mesh.local_devices) * mesh.size
        return jax.make_array_from_process_local_data(sharding, x, tuple(shape))

    arrays = jax.tree.map(put, dict(tree))
    return ready(arrays) if mesh.devices.flat[0].platform == "cpu" else arrays


def ready(tree: Any) -> Any:
    """Waits for arrays and returns them. A program on a CPU runs in the calling thread only if its arguments are ready.

    If they are not, it runs in a thread of XLA, where it is slower. So do all that follow, each of which waits for the
    result of the one before.
    """
    return jax.block_until_ready(tree)


def in_turn(result: Any, mesh: Mesh) -> Any:
    """Returns the result of a program with collectives; if the mesh has several CPU devices, waits for it first.

    XLA runs the parts of such programs in one pool of threads. If several programs are under way, those parts that wait
    for others in a collective can take all threads, so that the others never run.
    """
    return ready(result) if mesh.size > 1 and mesh.devices.flat[0].platform == "cpu" else result


def held_alone(mesh: Mesh) -> contextlib.AbstractContextManager[Any]:
    """Returns a context in which a thread dispatches a program to several devices, while no other thread does.

    Two programs whose parts wait for each other must reach all devices in the same order.
    """
    return _SEVERAL if mesh.size > 1 else contextlib.nullcontext()


def put_everywhere(values: Mapping[str, Any], mesh: Mesh) -> dict[str, jax.Array]:
    """Puts scalars, which all processes know, on every device of the mesh."""

    def put(value: Any) -> jax.Array:
        array = np.asarray(value)
        return jax.make_array_from_callback((), replicated(mesh), lambda index: array[index])

    return {name: put(value) for name, value in values.items()}


def fetch(tree: Any) -> Any:
    """Waits for replicated arrays and returns them as numpy arrays: the only way from the devices to the host."""
    parts = jax.tree.map(lambda x: x.addressable_data(0), tree)
    for part in jax.tree.leaves(parts):
        part.copy_to_host_async()  # all copies are under way before the first is waited for
    return jax.tree.map(np.asarray, parts)

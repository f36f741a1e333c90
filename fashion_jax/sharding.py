"""The one mesh: batches are spread over its devices, the state is on every one of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fashion_jax.errors import UserError
from fashion_jax.host_memory import keep_freed_memory

_BATCH = "batch"

# A program for one CPU runs in the thread that calls it, whose memory keep_freed_memory keeps: in XLA's own threads a
# step takes hundreds of megabytes anew from the system, every time, a fifth of the time of a ResNet-34 at 64 px.
# JAX reads this once, with the first look at its devices.
jax.config.update("jax_cpu_enable_async_dispatch", False)


def create_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh over the given devices, by default all those of all processes."""
    devices = list(devices or jax.devices())
    if devices[0].platform == "cpu":
        keep_freed_memory()
    return jax.make_mesh((len(devices),), (_BATCH,), axis_types=(AxisType.Auto,), devices=devices)


def check_batch_size(batch_size: int, num_devices: int, accumulate: int = 1) -> None:
    """Raises a UserError where a batch, or each of the `accumulate` parts of it, cannot be spread evenly."""
    if accumulate > 1 and batch_size % (num_devices * accumulate):
        raise UserError(
            f"batch_size is {batch_size}, but must be a multiple of {num_devices * accumulate}: each of the "
            f"{accumulate} parts (accumulate) is spread over {num_devices} devices."
        )
    if batch_size % num_devices:
        raise UserError(
            f"batch_size is {batch_size}, but must be a multiple of the {num_devices} devices it is spread over."
        )


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh, stacked: bool = False) -> NamedSharding:
    """Spreads the first axis over the mesh; of stacked batches, the second."""
    return NamedSharding(mesh, PartitionSpec(None, _BATCH) if stacked else PartitionSpec(_BATCH))


def put_batch(batch: Mapping[str, Any], mesh: Mesh) -> Any:
    """Makes global arrays of this process's share (a tree of numpy arrays) of a batch; leaves those that are."""
    return _put(batch, batch_sharding(mesh))


def put_batches(batches: Mapping[str, Any], mesh: Mesh) -> Any:
    """As put_batch, of stacked batches [steps, batch, ...]."""
    return _put(batches, batch_sharding(mesh, stacked=True))


def _put(tree: Mapping[str, Any], sharding: NamedSharding) -> Any:
    def put(x: Any) -> jax.Array:
        return x if isinstance(x, jax.Array) else jax.make_array_from_process_local_data(sharding, x)

    return jax.tree.map(put, dict(tree))


def meet(name: str) -> None:
    """Waits until all processes of the run are here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def fetch(tree: Any) -> Any:
    """The only way from the devices to the host: waits for replicated arrays, returns numpy arrays."""
    return jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), tree)

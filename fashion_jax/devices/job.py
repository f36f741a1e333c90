"""Finds the job that a process belongs to: where its processes meet, their number, and which of them this one is."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from fashion_jax.errors import UserError, first_line

# What names each part of a job, the first that is set. JAX's own variables come before those of torchrun, and those
# before those of Open MPI, and last what JAX finds in the variables of Slurm and Open MPI and in the metadata of a TPU.
_COUNTS = ("JAX_NUM_PROCESSES", "WORLD_SIZE", "OMPI_COMM_WORLD_SIZE")
_INDICES = (
    *("JAX_PROCESS_ID", "RANK", "OMPI_COMM_WORLD_RANK"),
    "JOB_COMPLETION_INDEX",  # of an indexed job of Kubernetes
)
_LOCAL = (("LOCAL_RANK", "LOCAL_WORLD_SIZE"), ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"))
_BESIDE_TORCHRUN = 1  # added to its port, where torchrun itself listens
_NAMED = 8  # processes that a sentence names at most
_NEEDED = "JAX_COORDINATOR_ADDRESS (HOST:PORT of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID (from 0)"


@dataclasses.dataclass(frozen=True)
class Job:
    """The processes that train a run together, as one of them sees them.

    Attributes:
        host: the machine of process 0.
        port: on that machine, where the processes meet.
        count: the number of processes.
        index: of this process, from 0.
        local_devices: the GPUs of its machine that this process uses; None for all of them.
    """

    host: str
    port: int
    count: int
    index: int
    local_devices: tuple[int, ...] | None = None

    @property
    def address(self) -> str:
        """Returns HOST:PORT, with an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def named(indices: Sequence[int]) -> str:
    """Returns the numbers of processes for a sentence, the first eight of them."""
    return ", ".join(map(str, indices[:_NAMED])) + (", …" if len(indices) > _NAMED else "")


def first_difference(records: Sequence[Mapping[str, Any]]) -> tuple[int, list[str]]:
    """Finds the first process whose record differs from that of process 0.

    Args:
        records: of all processes: name -> value.

    Returns:
        The number of the process, and the names whose values differ; 0 and no names if all records are equal.
    """
    first = records[0]
    for index, record in enumerate(records):
        if names := [name for name in {**first, **record} if first.get(name) != record.get(name)]:
            return index, names
    return 0, []


def find_job(variables: Mapping[str, str], timeout: int) -> Job:
    """Finds the job in the environment: its own variables, or those of Slurm, Open MPI, Kubernetes or a TPU.

    Args:
        variables: the environment.
        timeout: seconds to wait for the machine of process 0 to have a name.

    Raises:
        UserError: there is no job, or a variable has a wrong value.
    """
    address, count, index = _address(variables), _number(variables, _COUNTS), _number(variables, _INDICES)
    found: tuple[int, ...] | None = None
    if None in (address, count, index):
        address, count, index, found = _detected(address, count, index, timeout)
    if address is None or count is None or index is None:
        where = ", as scripts/launch/jobset.yaml does" if "KUBERNETES_SERVICE_HOST" in variables else ""
        known = {"address of process 0": address, "number of processes": count, "number of this process": index}
        missing = [f"the {what}" for what, value in known.items() if value is None]
        job = "no job to join" if len(missing) == len(known) else f"a job, but not {' and '.join(missing)}"
        raise UserError(f"--distributed found {job}: start this on Slurm or a TPU, or set {_NEEDED}{where}.")
    if count < 1:
        raise UserError(f"The number of processes is {count}, but must be at least 1: see {_COUNTS[0]}.")
    if not 0 <= index < count:
        raise UserError(
            f"This process has the number {index} of {count}, but numbers go from 0 to {count - 1}: see {_INDICES[0]}."
        )
    host, port = _split(address)
    return Job(host, port, count, index, _local_devices(variables, _local_device(variables, found)))


def _address(variables: Mapping[str, str]) -> str | None:
    if address := variables.get("JAX_COORDINATOR_ADDRESS"):
        return address
    if "MASTER_ADDR" in variables and "MASTER_PORT" in variables:
        port = variables["MASTER_PORT"]
        if variables.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and port.isdecimal():
            port = str(int(port) + _BESIDE_TORCHRUN)
        return f"{variables['MASTER_ADDR']}:{port}"
    return None


def _local_device(variables: Mapping[str, str], found: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Returns the GPU of a process that shares its machine with others of the job; None if it uses all that it sees.

    Args:
        variables: the environment. What torchrun and Open MPI say comes before Slurm, which may have started them.
        found: by JAX, which gives each task of Slurm and Open MPI one GPU, also a task that is alone on its node.
    """
    if re.fullmatch("[^,]+", variables.get("CUDA_VISIBLE_DEVICES", "")):
        return None  # it sees its own alone
    for rank, size in _LOCAL:
        if (count := _number(variables, (size,))) is not None:
            number = _number(variables, (rank,))
            return None if count == 1 or number is None else (number,)
    is_alone = re.fullmatch(r"1(\(x\d+\))?", variables.get("SLURM_STEP_TASKS_PER_NODE", ""))
    return None if is_alone else found


def _number(variables: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    for name in names:
        if text := variables.get(name):
            if not re.fullmatch(r"\d{1,7}", text):
                raise UserError(f"{name} is {text!r}, but must be a whole number of at least 0.")
            return int(text)
    return None


def _local_devices(variables: Mapping[str, str], found: tuple[int, ...] | None) -> tuple[int, ...] | None:
    text = variables.get("JAX_LOCAL_DEVICE_IDS")
    if not text:
        return found
    if not re.fullmatch(r"\d{1,4}(,\d{1,4})*", text):
        raise UserError(f"JAX_LOCAL_DEVICE_IDS is {text!r}, but must be numbers of devices, such as 0,1.")
    return tuple(map(int, text.split(",")))


def _detected(
    address: str | None, count: int | None, index: int | None, timeout: int
) -> tuple[str | None, int | None, int | None, tuple[int, ...] | None]:
    """Completes a job by what JAX knows of clusters: Slurm, Open MPI, TPUs."""
    from jax._src.clusters import ClusterEnv  # jax.distributed.initialize uses it; there is no public way to ask

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the package kubernetes, which is not needed with the variables
            address, count, index, local = ClusterEnv.auto_detect_unset_distributed_params(
                address, count, index, None, None, timeout
            )
    except (ValueError, RuntimeError, OSError, KeyError) as error:
        raise UserError(f"--distributed found no job to join ({first_line(error)}): set {_NEEDED}.") from error
    return address, count, index, None if local is None else tuple(local)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not re.fullmatch(r"\d{1,5}", port) or not 0 < int(port) < 2**16:
        raise UserError(f"The address of process 0 is {address!r}, but must be HOST:PORT, such as 10.0.0.1:1234.")
    return host.strip("[]"), int(port)

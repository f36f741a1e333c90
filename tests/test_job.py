"""The job that a process finds in its environment."""

import pytest

from fashion_jax.devices.job import Job, find_job
from fashion_jax.errors import UserError

JAX = {"JAX_COORDINATOR_ADDRESS": "10.0.0.1:1234", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "2"}
SLURM = {
    "SLURM_JOB_ID": "4097",
    "SLURM_STEP_NODELIST": "node[003-004,007]",
    "SLURM_NTASKS": "3",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
}


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        (JAX, Job("10.0.0.1", 1234, 4, 2)),
        (JAX | {"JAX_COORDINATOR_ADDRESS": "[fe80::1]:80"}, Job("fe80::1", 80, 4, 2)),
        (JAX | {"JAX_LOCAL_DEVICE_IDS": "0,3"}, Job("10.0.0.1", 1234, 4, 2, (0, 3))),
        ({"MASTER_ADDR": "host", "MASTER_PORT": "29500", "WORLD_SIZE": "8", "RANK": "7"}, Job("host", 29500, 8, 7)),
        (
            {"JAX_COORDINATOR_ADDRESS": "run-0.run:1234", "JAX_NUM_PROCESSES": "2", "JOB_COMPLETION_INDEX": "1"},
            Job("run-0.run", 1234, 2, 1),
        ),
        (SLURM, Job("node003", 65535 - 2**12 + 2, 3, 1, (0,))),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "1(x3)"}, Job("node003", 65535 - 2**12 + 2, 3, 1)),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2,1"}, Job("node003", 65535 - 2**12 + 2, 3, 1, (0,))),
        (SLURM | {"JAX_COORDINATOR_ADDRESS": "login:99"}, Job("login", 99, 3, 1, (0,))),
        (OPEN_MPI, Job("10.96.0.1", 1531576320 // 2**12 % 2**12 + 65535 - 2**12 + 1, 2, 1, (1,))),
        (
            OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"},
            Job("10.96.0.1", 1531576320 // 2**12 % 2**12 + 65535 - 2**12 + 1, 2, 1),
        ),
        (
            {name: x for name, x in OPEN_MPI.items() if "uri" not in name}
            | {"OMPI_COMM_WORLD_LOCAL_SIZE": "2", "JAX_COORDINATOR_ADDRESS": "host:99"},
            Job("host", 99, 2, 1, (1,)),
        ),
        (
            {
                **{"MASTER_ADDR": "host", "MASTER_PORT": "29500", "WORLD_SIZE": "8", "RANK": "7"},
                **{"LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "4", "TORCHELASTIC_USE_AGENT_STORE": "True"},
            },
            Job("host", 29501, 8, 7, (3,)),
        ),
        (
            {
                **{"MASTER_ADDR": "host", "MASTER_PORT": "29500", "WORLD_SIZE": "8", "RANK": "7"},
                **{"LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "4", "SLURM_STEP_TASKS_PER_NODE": "1(x2)"},
            },
            Job("host", 29500, 8, 7, (3,)),
        ),
        (SLURM | {"CUDA_VISIBLE_DEVICES": "5"}, Job("node003", 65535 - 2**12 + 2, 3, 1)),
    ],
    ids=[
        "JAX's",
        "IPv6",
        "devices",
        "torchrun's",
        "indexed job",
        "Slurm",
        "a task per node",
        "two on a node",
        "Slurm and an address",
        "Open MPI",
        "Open MPI, alone on its node",
        "Open MPI 5 and an address",
        "torchrun's agent",
        "torchrun on Slurm",
        "a GPU by itself",
    ],
)
def test_jobs_are_found(variables, job, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)  # JAX reads those of Slurm and Open MPI itself
    found = find_job(variables, 1)
    assert found == job
    assert found.address in (f"{job.host}:{job.port}", f"[{job.host}]:{job.port}")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "found no job to join: start this on Slurm or a TPU, or set JAX_COORDINATOR_ADDRESS"),
        (
            {name: value for name, value in JAX.items() if name != "JAX_PROCESS_ID"},
            "found a job, but not the number of this process: start this on Slurm or a TPU, or set JAX_COORD",
        ),
        (JAX | {"JAX_NUM_PROCESSES": "four"}, "^JAX_NUM_PROCESSES is 'four', but must be a whole number"),
        (JAX | {"JAX_NUM_PROCESSES": "0"}, "number of processes is 0, but must be at least 1: see JAX_NUM_PROCESSES"),
        (JAX | {"JAX_PROCESS_ID": "4"}, "number 4 of 4, but numbers go from 0 to 3"),
        (JAX | {"JAX_COORDINATOR_ADDRESS": "10.0.0.1"}, "'10.0.0.1', but must be HOST:PORT"),
        (JAX | {"JAX_COORDINATOR_ADDRESS": "10.0.0.1:99999"}, "must be HOST:PORT"),
        (JAX | {"JAX_LOCAL_DEVICE_IDS": "all"}, "^JAX_LOCAL_DEVICE_IDS is 'all', but must be numbers"),
    ],
)
def test_what_is_no_job_is_told(variables, words):
    with pytest.raises(UserError, match=words):
        find_job(variables, 1)


def test_a_pod_without_variables_is_told_which(monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(UserError, match=r"JAX_NUM_PROCESSES.*jobset\.yaml"):
        find_job({"JOB_COMPLETION_INDEX": "0", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}, 1)

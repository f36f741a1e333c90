"""scripts/launch/slurm.sbatch under a real Slurm: two virtual nodes of this machine, a pre-emption, and a second start.

It needs Debian's slurm-wlm and munge (apt-get install slurm-wlm munge), and root, as whom their services run here.
"""

import json
import os
import shutil
import socket
import subprocess
import time

import pytest

from tests.conftest import ROOT

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
CONFIG = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=2,batch_sched_delay=1,bf_interval=3
AccountingStorageType=accounting_storage/none
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{node}-{last}] CPUs={cpus}
PartitionName=low Nodes=n[1-2] Default=YES MaxTime=60 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=high Nodes=n[1-2] MaxTime=60 State=UP PriorityTier=10 PreemptMode=OFF
"""

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason="Slurm is not installed: slurm-wlm and munge"),
    pytest.mark.skipif(os.geteuid() != 0, reason="the services of Slurm run as root here"),
]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def slurm(tmp_path):
    """Starts the services of Slurm, and returns a function that runs one of its commands."""
    folder, port, node = tmp_path / "slurm", free_port(), 20_000 + os.getpid() % 10_000
    for name in ("", "state", "spool-n1", "spool-n2"):
        (folder / name).mkdir(parents=True)
    fields = {"host": socket.gethostname(), "port": port, "folder": folder, "node": node, "last": node + 1}
    (folder / "slurm.conf").write_text(CONFIG.format(cpus=os.cpu_count(), **fields))
    environment = os.environ | {
        "SLURM_CONF": str(folder / "slurm.conf"),
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}",  # the nodes' names are not known to the resolver
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "",
        "PYTHON": str(ROOT / ".venv" / "bin" / "python"),
    }

    def run(*command, check=True):
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=check).stdout

    had_munge = "Success" in run("sh", "-c", "munge -n | unmunge", check=False)
    if not had_munge:
        run("sh", "-c", "mkdir -p /run/munge && chown munge /run/munge && runuser -u munge -- munged")
    run("slurmctld")
    for name in ("n1", "n2"):
        run("slurmd", "-N", name)
    yield run
    run("scancel", "--full", "--user=root", check=False)
    for path in folder.glob("*.pid"):
        run("kill", path.read_text().strip(), check=False)
    if not had_munge:
        run("pkill", "munged", check=False)


def submitted(slurm, tmp_path, name):
    fields = ("num_epochs=12", "data.catalogue.num_images=400", f"data.cache_dir={tmp_path / 'cache'}")
    arguments = ["--config", "configs/smoke.py", "--workdir", str(tmp_path / name)]
    arguments += [f"--config.{field}" for field in fields]
    script = ["--time=50", f"--output={tmp_path / name}.log", "scripts/launch/slurm.sbatch", *arguments]
    return slurm("sbatch", "--parsable", *script).strip()


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(1)


def lines_of(workdir):
    path = workdir / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{name: value for name, value in line.items() if name != "timing"} for line in lines]


def test_a_pre_empted_job_is_queued_again_and_ends_as_if_nothing_had_been(slurm, tmp_path):
    job = submitted(slurm, tmp_path, "pre-empted")
    wait_for(lambda: len(lines_of(tmp_path / "pre-empted")) >= 2, 600)
    slurm("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--time=5", "--output=/dev/null", "--wrap", "true")
    log = tmp_path / "pre-empted.log"
    wait_for(lambda: f"job {job} is queued again" in log.read_text(), 120)
    assert len(lines_of(tmp_path / "pre-empted")) < 12
    wait_for(lambda: job not in slurm("squeue", "--noheader", "--format=%i"), 900)
    assert log.read_text().count("Resuming") == 1

    other = submitted(slurm, tmp_path, "uninterrupted")
    wait_for(lambda: other not in slurm("squeue", "--noheader", "--format=%i"), 600)
    assert len(lines_of(tmp_path / "uninterrupted")) == 12
    assert lines_of(tmp_path / "pre-empted") == lines_of(tmp_path / "uninterrupted")

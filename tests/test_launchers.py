"""The launchers of scripts/launch: their syntax, and what they rely on. test_slurm.py runs the one of Slurm."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from fashion_jax.errors import EXIT_PREEMPTED, EXIT_USAGE
from tests.conftest import ROOT

LAUNCH = ROOT / "scripts" / "launch"
SCRIPTS = sorted(path for path in LAUNCH.iterdir() if path.suffix not in (".yaml",) and path.name != "Containerfile")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_sound(path):
    assert subprocess.run(["bash", "-n", path]).returncode == 0
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", path], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_the_job_set_starts_as_many_processes_as_it_says():
    job = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())
    name = job["metadata"]["name"]
    (replicated,) = job["spec"]["replicatedJobs"]
    spec = replicated["template"]["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    variables = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert spec["completionMode"] == "Indexed" and spec["completions"] == spec["parallelism"]
    assert variables["JAX_NUM_PROCESSES"] == str(spec["completions"])
    assert variables["JAX_COORDINATOR_ADDRESS"].split(":")[0] == f"{name}-{replicated['name']}-0-0.{name}"
    assert container["args"][0].startswith("exec ") and "--distributed" in container["args"][0]
    assert pod["terminationGracePeriodSeconds"] >= 60


def test_the_batches_of_the_examples_can_be_spread_over_their_gpus():
    job = (LAUNCH / "jobset.yaml").read_text()
    (pods,), (gpus,) = re.findall(r"completions: (\d+)", job), re.findall(r"nvidia.com/gpu: (\d+)", job)
    slurm = (LAUNCH / "slurm.sbatch").read_text()
    nodes, each = re.findall(r"sbatch --nodes=(\d+) --gpus-per-node=(\d+)", slurm)[0]
    for text, devices in ((job, int(pods) * int(gpus)), (slurm, int(nodes) * int(each))):
        (batch_size,) = re.findall(r"batch_size=(\d+)", text)
        assert int(batch_size) % devices == 0


def test_the_job_set_goes_on_after_a_stop_and_gives_up_on_wrong_usage():
    job = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())
    rules = job["spec"]["replicatedJobs"][0]["template"]["spec"]["podFailurePolicy"]["rules"]
    by_code = {
        code: rule["action"] for rule in rules if "onExitCodes" in rule for code in rule["onExitCodes"]["values"]
    }
    assert by_code == {EXIT_USAGE: "FailJob", EXIT_PREEMPTED: "Ignore"}


def test_a_launcher_without_its_variables_says_how_it_is_used():
    variables = {name: value for name, value in os.environ.items() if name not in ("TPU", "ZONE")}
    done = subprocess.run([LAUNCH / "tpu_vm", "log"], env=variables, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("usage: TPU=NAME")


GCLOUD = """#!/usr/bin/env bash
# Does on this machine what gcloud would do on the workers of a TPU VM: each has a home of its own.
set -euo pipefail
[[ "$*" == "compute tpus tpu-vm "*" --zone=here --worker=all"* ]]
for worker in 0 1; do
    home="$WORKERS/$worker"
    case "$4" in
    scp) cp "$5" "$home/${6#pod:}" ;;
    ssh) [[ "$5" == pod ]]; (cd "$home" && HOME="$home" bash -c "${8#--command=}") ;;
    esac
done
"""
BOOTSTRAP = """#!/usr/bin/env bash
# Makes a python that says how it was called, and runs until it is asked to end.
cd "$(dirname "$0")/.."
echo "$@" >extras
mkdir -p .venv/bin
cat >.venv/bin/python <<'END'
#!/usr/bin/env bash
trap 'kill $!; echo saved; exit 75' TERM
printf "<%s>" "$@"
echo
sleep 600 &
wait
END
chmod +x .venv/bin/python
"""


@pytest.fixture
def workers(tmp_path, monkeypatch) -> Iterator[list[Path]]:
    """Returns the homes of two workers that a gcloud of our own reaches, beside a checkout with the launcher."""
    for name, text in (("bin/gcloud", GCLOUD), ("checkout/scripts/bootstrap", BOOTSTRAP)):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    checkout, homes = tmp_path / "checkout", [tmp_path / "workers" / name for name in "01"]
    (checkout / "scripts" / "launch").mkdir()
    shutil.copy(LAUNCH / "tpu_vm", checkout / "scripts" / "launch")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", checkout, *command], check=True)
    for home in homes:
        home.mkdir(parents=True)
    for name, value in {"TPU": "pod", "ZONE": "here", "WORKERS": str(tmp_path / "workers")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    yield homes
    for process in started(homes):
        process.kill()


def started(homes: list[Path]) -> list[psutil.Process]:
    """Returns the runs on the workers, as the launcher has noted them."""
    notes = [home / "fashion_jax" / "train.pid" for home in homes]
    numbers = [int(note.read_text()) for note in notes if note.exists()]
    return [psutil.Process(number) for number in numbers if psutil.pid_exists(number)]


def test_a_tpu_vm_is_set_up_trains_detached_and_is_stopped_on_all_workers(workers, tmp_path):
    launcher = tmp_path / "checkout" / "scripts" / "launch" / "tpu_vm"

    def run(*arguments: str) -> str:
        return subprocess.run([launcher, *arguments], capture_output=True, text=True, check=True, timeout=300).stdout

    run("setup")
    assert [(home / "fashion_jax" / "extras").read_text() for home in workers] == ["tpu\n"] * 2
    levels = "--config.data.levels={'main': 'a b', 'sub': \"c\"}"
    assert run("train", "--config", "configs/mtl.py", levels) == "started\n" * 2
    called = f"<-m><fashion_jax.main><--distributed><--config><configs/mtl.py><{levels}>"
    logs = [home / "fashion_jax" / "train.log" for home in workers]
    for _ in range(30_000):
        if all(called in log.read_text() for log in logs):
            break
        time.sleep(0.01)
    assert run("log").count(called) == 2
    running = started(workers)
    assert len(running) == 2
    run("stop")
    _, alive = psutil.wait_procs(running, timeout=300)
    assert not alive and [log.read_text().splitlines()[-1] for log in logs] == ["saved"] * 2


def test_one_node_without_a_gpu_says_so():
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a GPU")
    done = subprocess.run([LAUNCH / "one_node"], capture_output=True, text=True)
    assert done.returncode == 2 and "set PROCESSES" in done.stderr

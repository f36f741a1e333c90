"""The launchers of scripts/launch: their syntax, and what they rely on. test_slurm.py runs the one of Slurm."""

import os
import shutil
import subprocess

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


def test_one_node_without_a_gpu_says_so():
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a GPU")
    done = subprocess.run([LAUNCH / "one_node"], capture_output=True, text=True)
    assert done.returncode == 2 and "set PROCESSES" in done.stderr

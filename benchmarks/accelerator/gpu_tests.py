"""Runs the tests that are marked gpu."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import jax

from benchmarks.accelerator.outcome import Report, Skip

_ROOT = Path(__file__).parents[2]


def run_gpu_tests(report: Report) -> dict[str, Any]:
    """Runs pytest on the tests marked gpu; returns how many of them passed, failed and were skipped.

    Raises:
        Skip: pytest or what the tests import is not installed, or there is no GPU.
    """
    if importlib.util.find_spec("pytest") is None:
        raise Skip("pytest is not installed here, so the tests marked gpu were not run.")
    if jax.devices()[0].platform != "gpu":
        raise Skip(f"There is no GPU here ({jax.devices()[0].device_kind}), so the tests marked gpu were not run.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tests.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests/test_gpu.py"]
        environment = {**os.environ, "JAX_PLATFORMS": "cuda,cpu"}
        done = subprocess.run(
            [*command, f"--junitxml={path}"], cwd=_ROOT, env=environment, capture_output=True, text=True
        )
        if not path.exists():
            raise Skip(f"pytest could not load the tests: {_reason(done.stdout + done.stderr)}")
        counts, failed = read_results(path.read_text(encoding="utf-8"))
    report({"tests": counts})
    if not counts["passed"] and not failed:
        raise Skip(f"No test marked gpu ran: {_reason(done.stdout + done.stderr)}")
    return {"is_good": not failed, "failed": failed}


def read_results(text: str) -> tuple[dict[str, int], dict[str, str]]:
    """Reads pytest's JUnit XML; returns the number of tests by outcome, and name -> message of those that failed."""
    counts, failed = {"passed": 0, "failed": 0, "skipped": 0}, {}
    for case in ElementTree.fromstring(text).iter("testcase"):
        problem = next((case.find(kind) for kind in ("failure", "error") if case.find(kind) is not None), None)
        if problem is not None:
            failed[case.get("name", "")] = problem.get("message", "")[:300]
        outcome = "failed" if problem is not None else "skipped" if case.find("skipped") is not None else "passed"
        counts[outcome] += 1
    return counts, failed


def _reason(output: str) -> str:
    """Returns the line of pytest's output that names an error, or its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [
        line.removeprefix("E").strip() for line in lines if re.match(r"(E  |ImportError|ModuleNotFoundError)", line)
    ]
    return (errors or lines or ["it said nothing"])[-1][:300]

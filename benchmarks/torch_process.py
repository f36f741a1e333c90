"""Talks to the process that runs PyTorch's side of a comparison (torch_worker)."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from fashion_jax.errors import RunError


class TorchProcess:
    """A process with the twins of a case. It starts at once, and works only when it is asked."""

    def __init__(self, case: dict[str, Any]):
        """Starts the process; see torch_worker for the fields of the case."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.torch_worker", json.dumps(case)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        self._version = ""

    def version(self) -> str:
        """Waits until PyTorch is imported; returns its version."""
        if not self._version:
            self._version = self._answer()
        return self._version

    def prepare(self, variant: str) -> float:
        """Creates a variant and warms it up; returns the seconds that it took."""
        return self._ask({"prepare": variant})

    def run(self, variant: str, steps: int = 1) -> float:
        """Runs steps of a prepared variant; returns the seconds per step."""
        return self._ask({"run": variant, "steps": steps})

    def _ask(self, question: dict[str, Any]) -> float:
        self.version()
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise RunError(f"PyTorch's process ended with status {self._process.wait()}: what it wrote above says why.")
        answer = json.loads(line)
        if "error" in answer:
            raise RunError(f"PyTorch: {answer['error']}")
        return answer["result"]

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

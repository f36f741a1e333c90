"""Describes what a run or a measurement was made with: versions, devices and the commit of the code."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

_PACKAGES = (
    *("fashion_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-cpu", "tensorflow", "numpy"),
    *("simplejpeg", "opencv-python-headless", "pillow"),  # which make the pixels
)


def environment() -> dict[str, Any]:
    """Returns the versions, the devices and the commit of the code."""
    installed = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": {name: installed[name] for name in _PACKAGES if name in installed},
        "devices": [device.device_kind for device in jax.devices()],
        "processes": jax.process_count(),
        "commit": commit(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def commit() -> str | None:
    """Returns the commit of the code, with -dirty if files differ from it; None unless a git checkout has this file."""
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)  # the checkout around a virtual environment has not
        return _git("describe", "--always", "--dirty", "--abbrev=40")
    except (OSError, subprocess.SubprocessError):
        return None


def code_digest() -> str:
    """Returns a digest of the package's source files, by which processes without a git checkout know the same code."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("[!.]*.py")):  # others are an editor's
        digest.update(f"{path.relative_to(package)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

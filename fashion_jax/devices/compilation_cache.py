"""Keeps compiled programs on disk, so that each step is compiled once per machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from fashion_jax.atomic import try_folder
from fashion_jax.devices.host import cache_root
from fashion_jax.devices.processes import decided, exchange
from fashion_jax.devices.shared_files import seen_by_this_process

MIN_SECONDS = 0.5  # programs that compile faster are not stored


def enable_compilation_cache(cache_dir: str) -> None:
    """Stores compiled programs in the folder `compiled` of the cache that data.cache_dir names.

    JAX's own variables take precedence: JAX_COMPILATION_CACHE_DIR names another folder,
    JAX_ENABLE_COMPILATION_CACHE=false turns the cache off.
    """
    # JAX 0.10 adds its options at run time, where mypy does not see them; JAX 0.12 declares them.
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined,unused-ignore]
        jax.config.update("jax_compilation_cache_dir", str(cache_root(cache_dir) / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_SECONDS)


def share_compilation_cache(mesh: Mesh) -> None:
    """Turns the cache off if several processes train, and its folder is not the same one for all of them.

    JAX stores programs in process 0 only, so that the others would compile them anyway. On GPUs, XLA lets the processes
    that compile a program wait for each other's measurements: they would wait for process 0, which finds the program on
    its own disk and measures nothing.
    """
    if mesh.is_multi_process:
        keep_cache_if_shared()


def keep_cache_if_shared() -> None:
    """Turns the cache off if its folder is not the same one for all processes, which all call this."""
    folder = str(jax.config.jax_compilation_cache_dir)  # type: ignore[attr-defined,unused-ignore]

    def where() -> str:
        return "" if not keeps_programs() else "store" if _is_address(folder) else "folder"

    place = decided("place of compiled programs", where)
    is_shared = place == "store"
    if place == "folder":
        with seen_by_this_process(Path(folder) / "processes") as is_seen:
            is_shared = exchange("folder of compiled programs", keeps_programs() and is_seen, all)
    if not is_shared:
        jax.config.update("jax_enable_compilation_cache", False)


def _is_address(folder: str) -> bool:
    """Returns whether a folder is that of a store such as gs://bucket/compiled, which all processes see."""
    return "://" in folder


def _can_be_written(folder: str) -> bool:
    if _is_address(folder):
        return True
    try:
        os.makedirs(folder, exist_ok=True)
        try_folder(folder)
    except OSError:
        return False
    return True


def keeps_programs() -> bool:
    """Returns whether a program that is compiled now is found again when it is compiled once more."""
    config: Any = jax.config
    folder = config.jax_enable_compilation_cache and config.jax_compilation_cache_dir
    return bool(folder) and _can_be_written(str(folder))

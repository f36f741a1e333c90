"""Keeps compiled programs on disk, so that each step is compiled once per machine."""

from __future__ import annotations

from typing import Any

import jax

from fashion_jax.config.loading import cache_root

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


def keeps_programs() -> bool:
    """Returns whether a program that is compiled now is found again when it is compiled once more."""
    config: Any = jax.config
    return bool(config.jax_enable_compilation_cache and config.jax_compilation_cache_dir)

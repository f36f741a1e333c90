"""The working memory of a program for the CPU stays with the process."""

import platform
import resource

import jax
import jax.numpy as jnp
import pytest

from fashion_jax.devices.mesh import create_mesh


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="page faults are counted as glibc's malloc has them")
def test_a_program_works_in_memory_that_it_has_used_before():
    create_mesh()
    x = jnp.ones(5000)
    program = jax.jit(lambda x: (x[:, None] * x) @ x).lower(x).compile()
    assert program.memory_analysis().temp_size_in_bytes > 64 << 20
    faults = []
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        program(x).block_until_ready()
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(faults[1:]) < 1000, "of the 24,000 pages of 4 KiB"

"""The working memory of a program for the CPU stays with the process, in large pages."""

import platform
import re
import resource
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from fashion_jax.devices.mesh import create_mesh
from tests.conftest import ROOT

LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="page faults are counted as glibc's malloc has them")
def test_a_program_works_in_memory_that_it_has_used_before():
    create_mesh()
    x = jnp.ones(5000)
    program = jax.jit(lambda x: (x[:, None] * x) @ x).lower(x).compile()
    assert program.memory_analysis().temp_size_in_bytes > 64 << 20
    faults = []
    for _ in range(12):  # other threads of the process count too
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        program(x).block_until_ready()
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(faults[1:]) < 24, "of the 24,000 pages of 4 KiB, or 48 of 2 MiB"


USED = """
from fashion_jax.devices.mesh import create_mesh
import numpy as np
create_mesh()
for _ in range(2):
    used = np.ones(300 << 20, np.uint8)
    print(open("/proc/self/smaps").read())
"""


@pytest.mark.skipif(not LARGE_PAGES.exists() or "[never]" in LARGE_PAGES.read_text(), reason="Linux has no large pages")
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the heap is glibc's")
def test_the_heap_has_large_pages():
    done = subprocess.run([sys.executable, "-c", USED], cwd=ROOT, capture_output=True, text=True, check=True)
    heaps = [part for part in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", done.stdout) if "[heap]" in part]
    advised = [part for part in heaps if re.search(r"VmFlags:.* hg", part)]
    sizes = [int(re.search(rf"{name}: +(\d+) kB", part)[1]) for part in advised for name in ("\nSize", "Rss")]
    assert [4092 << 10 < size < 4100 << 10 for size in sizes[::2]] == [True, True], "4 GiB of addresses"
    assert [300 << 10 < size < 1 << 20 for size in sizes[1::2]] == [True, True], "of which only what is used is taken"

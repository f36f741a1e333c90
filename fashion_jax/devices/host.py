"""The host's memory, kept once the system has given it: taking it anew costs a page fault for every 4 KiB."""

import contextlib
import ctypes
import os

# glibc's M_MMAP_MAX (no memory that goes back as soon as it is freed), and M_TRIM_THRESHOLD and M_TOP_PAD in bytes.
_MALLOC_OPTIONS = {-4: 0, -1: 2**31 - 1, -2: 32 << 20}


def keep_freed_memory() -> None:
    """Lets glibc use freed memory again instead of giving it back to the system; elsewhere nothing is done.

    What threads other than the main one take above 64 MiB is still given back: glibc has no room for it in their heaps.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _MALLOC_OPTIONS.items():
            mallopt(option, value)


def usable_processors() -> int:
    """Those that it is bound to, as by Slurm, where the system says so; else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""The machine that a process runs on: its memory, its processors, its cache, and which other processes share it."""

import contextlib
import ctypes
import functools
import mmap
import os
import socket
import threading
from pathlib import Path

# glibc's M_MMAP_MAX (0: no block is returned to the system when freed), M_TRIM_THRESHOLD (-1: nor is the heap's end)
# and M_TOP_PAD in bytes.
_MALLOC_OPTIONS = {-4: 0, -1: -1, -2: 32 << 20}
_HEAP = 4 << 30  # bytes of addresses; training ResNet-34 on 32 images of 64 px, a process has 2.5 GB of memory
_LARGE_PAGE = 2 << 20  # bytes


def keep_freed_memory() -> None:
    """Makes glibc reuse freed memory instead of returning it to the system; does nothing with other C libraries.

    Getting memory anew from the system costs a page fault per 4 KiB. Memory above 64 MiB that other threads than the
    main one allocate is still returned: glibc's heaps have no room for it.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _MALLOC_OPTIONS.items():
            mallopt(option, value)


def use_large_pages() -> None:
    """Asks Linux for large pages for the next 4 GiB of glibc's heap; does nothing on other systems.

    Call it after keep_freed_memory. The heap gets addresses only: memory is taken as it is used. So it does nothing
    where addresses are limited as memory is, nor in other threads than the main one, which have other heaps. A step
    reads and writes hundreds of megabytes, and the processor finds an address in a page of 2 MiB faster than in one of
    the 512 small pages in its place.
    """
    if threading.current_thread() is threading.main_thread():
        _ask_for_large_pages()


def _addresses_are_limited() -> bool:
    """Returns whether a process may have few addresses, or has to account for them as for memory."""
    try:
        import resource  # which Windows lacks

        if any(resource.getrlimit(x)[0] != resource.RLIM_INFINITY for x in (resource.RLIMIT_AS, resource.RLIMIT_DATA)):
            return True
        return Path("/proc/sys/vm/overcommit_memory").read_text(encoding="ascii").strip() == "2"
    except (ImportError, OSError):
        return True


@functools.cache
def _ask_for_large_pages() -> None:
    if _addresses_are_limited():
        return
    with contextlib.suppress(AttributeError, OSError, TypeError):
        # Raises OSError if there are too few addresses. A malloc that fails would move this thread to another heap, of
        # which glibc returns large blocks when they are freed.
        mmap.mmap(-1, _HEAP + (64 << 20), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
        libc, advice = ctypes.CDLL(None), mmap.MADV_HUGEPAGE
        libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        libc.free.argtypes = [ctypes.c_void_p]
        libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        if block := libc.malloc(_HEAP):
            first = -(-block // _LARGE_PAGE) * _LARGE_PAGE
            libc.madvise(first, block + _HEAP - first, advice)
            libc.free(block)


def usable_processors() -> int:
    """Returns the number of processors that the process is bound to, for example by Slurm; all if that is not known."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> str:
    """Returns what only processes on the same machine have in common, in containers too: the id of its last start."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return socket.gethostname()


def container() -> str:
    """Returns what only processes within the same container have in common, or those outside of all: their cgroups."""
    with contextlib.suppress(OSError):
        return f"{machine()} {os.stat('/proc/self/ns/cgroup').st_ino}"
    return machine()


def cache_root(cache_dir: str) -> Path:
    """Returns the folder that data.cache_dir names; if it is empty, fashion_jax in XDG_CACHE_HOME or ~/.cache."""
    default = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache"), "fashion_jax")
    return Path(os.path.abspath(os.path.expanduser(cache_dir or default)))

"""How many processors this process may use."""

import os


def usable_processors() -> int:
    """Those that it is bound to, as by Slurm, where the system says so; else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

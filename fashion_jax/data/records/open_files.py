"""The limit of the files that a process may have open, of which a set of records takes one for each of its files."""

from __future__ import annotations

import contextlib
import errno

from fashion_jax.errors import UserError


def raise_limit() -> None:
    """Raises the limit of open files as far as this process may; does nothing where that is not possible."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # which Windows lacks

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def too_many(error: OSError, num_files: int) -> UserError | None:
    """Returns what to say if a set of so many files cannot be opened because of the limit; None for another error."""
    if error.errno == errno.EMFILE:
        with contextlib.suppress(ImportError):
            import resource

            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            return UserError(
                f"The set of records has {num_files:,} files, but this process may have only {limit:,} files open "
                "(ulimit -n): raise the limit by ulimit -n before the command, or make the set anew with fewer, larger "
                "files."
            )
    return None

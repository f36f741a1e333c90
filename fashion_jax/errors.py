"""The errors that a user can cause, and the exit statuses of the commands."""

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class UserError(Exception):
    """Bad usage, config or data: one sentence that names the thing, the value and the way out."""


class RunError(Exception):
    """A run that cannot go on although its config and data are good, in one sentence."""

"""The errors that a user can cause, and the exit statuses of the commands."""

import signal

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_PREEMPTED = 75
EXIT_INTERRUPTED = 130

# Ask a command to stop: pre-emption (the first two), a lost terminal, Ctrl-C.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT)


class UserError(Exception):
    """Bad usage, config or data: one sentence that names the thing, its value and the way out."""


class RunError(Exception):
    """A run that cannot continue although its config and data are good, explained in one sentence."""


class Interrupted(Exception):
    """A run that was stopped by a signal, with everything saved: a sentence, and the exit status."""

    def __init__(self, sentence: str, status: int):
        super().__init__(sentence)
        self.status = status


class Outage(Interrupted):
    """A run that one process has to end because of what may pass, such as a disk that cannot be read: a sentence."""

    def __init__(self, sentence: str):
        super().__init__(sentence, EXIT_PREEMPTED)


def stop_status(number: int) -> int:
    """Returns the exit status of a command that one of STOP_SIGNALS has stopped."""
    return EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_PREEMPTED


def first_line(error: Exception) -> str:
    """Returns the first line of a library's error message, or the error's type if it has no message."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def how_to_install(extra: str = "") -> str:
    """Returns a clause that says how to install an extra of this package, or without one what it always needs."""
    what, extras = (f"the extra {extra}", f"[{extra}]") if extra else ("what fashion_jax needs", "")
    return f"install {what} by pip install -c constraints.txt -e '.{extras}' in its repository"

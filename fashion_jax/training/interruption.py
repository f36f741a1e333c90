"""Handles signals that ask a run to stop: SIGTERM and SIGUSR1 (pre-emption), SIGHUP (lost terminal), SIGINT (Ctrl-C).

Python's own handlers wait for the main thread, which may be compiling for minutes. Therefore a separate thread reads
the signals as they arrive. While there is something to save, it only notes the first one, and the loop polls for it;
otherwise, and at the second signal, it ends the process at once, which is as harmless as SIGKILL.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from fashion_jax.errors import STOP_SIGNALS, Interrupted, stop_status

_received: list[int] = []  # in order of arrival

_can_save = False

_is_shared = False  # whether the processes of a run share signals

_polls = 0  # calls of `requested` since they are shared

_is_agreed = False  # whether the processes have agreed to stop


def watch() -> None:
    """Starts to watch for signals; called once, by the process of a command, in its main thread.

    Under nohup, SIGHUP is ignored from the start, and stays ignored.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in STOP_SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    threading.Thread(target=_read, args=(reader,), daemon=True, name="signals").start()


def share_among_processes() -> None:
    """Leaves SIGTERM to JAX's preemption service, by which all processes stop at the same step.

    Call it after jax.distributed.initialize, which takes over SIGTERM; the other signals are passed on to it. Nothing
    else may poll that service: it compares the number of a poll with the agreed one, and another caller's polls would
    make it miss that.
    """
    global _is_shared
    _is_shared = True


def hold(on: bool) -> None:
    """Sets whether there is something to save; signals then wait for the loop to poll `requested` and end the run."""
    global _can_save
    _can_save = on


def requested() -> bool:
    """Returns whether to stop; several processes must poll equally often, and are told at the same poll."""
    global _polls, _is_agreed
    if not _is_shared:
        return bool(_received)
    from jax.experimental import multihost_utils

    _polls += 1  # starts at 1, the number that the service agrees on if nobody has polled yet
    _is_agreed = _is_agreed or multihost_utils.reached_preemption_sync_point(_polls)  # returns True only once
    return _is_agreed


def stopped(step: int) -> Interrupted:
    """Returns the error that ends a run saved at a step."""
    number = _received[0] if _received else signal.SIGTERM
    return Interrupted(
        f"Stopped by {signal.Signals(number).name} after step {step}, which is saved: "
        "run the same command again to resume.",
        stop_status(number),
    )


def _read(reader: int) -> None:
    while data := os.read(reader, 64):
        for number in data:
            if number in STOP_SIGNALS:
                _take(number)


def _take(number: int) -> None:
    _received.append(number)
    is_first = len(_received) == 1
    if is_first and (_can_save or (_is_shared and number != signal.SIGINT)):
        _acknowledge(number)
    if _is_shared and (number != signal.SIGINT or (_can_save and is_first)):
        if number != signal.SIGTERM:
            os.kill(os.getpid(), signal.SIGTERM)  # passed on however often it comes: one process must not end alone
        return
    if _can_save and is_first:
        return
    name = signal.Signals(number).name
    lost = "without saving again" if _can_save else "with nothing to save"
    _tell(f"Stopped at once by {name}, {lost}: run the same command again to resume.")
    os._exit(stop_status(number))


def _acknowledge(number: int) -> None:
    """Says that a signal has arrived, since it may take a while until the step that runs has ended."""
    if number == signal.SIGINT:
        again = "press Ctrl-C again to stop at once"
    elif _is_shared:
        again = "all processes of the run do so together"
    else:
        again = "send a signal again to stop at once"
    _tell(f"{signal.Signals(number).name}: saving, then stopping; {again}.")


def _tell(sentence: str) -> None:
    """Prints a line on stderr, below the line that is redrawn on a screen."""
    on_new_line = "\r\x1b[K" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else ""
    print(f"{on_new_line}{sentence}", file=sys.stderr, flush=True)

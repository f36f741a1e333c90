"""Signals that ask a run to stop: SIGTERM and SIGUSR1 (pre-emption), SIGHUP (a lost terminal), SIGINT (Ctrl-C).

Python's own handlers wait for the main thread, which may be compiling for minutes. So a thread of its own reads the
signals as they come. While there is something to save, it only notes the first one, for the loop to ask; otherwise,
and at the second one, it ends the process at once, which is as harmless as SIGKILL.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from fashion_jax.errors import EXIT_INTERRUPTED, EXIT_PREEMPTED, Interrupted

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT)

_received: list[int] = []  # in the order of their coming

_can_save = False

_is_shared = False  # among the processes of a run

_polls = 0  # calls of `requested` since then

_is_agreed = False  # among processes, to stop


def watch() -> None:
    """Starts to watch for signals; called once, by the process of a command, in its main thread.

    Under nohup, SIGHUP is ignored at the start, and stays so.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in _SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    threading.Thread(target=_read, args=(reader,), daemon=True, name="signals").start()


def share_among_processes() -> None:
    """Leaves SIGTERM to JAX's preemption service, by which all processes stop at the same step.

    Called after jax.distributed.initialize, which takes over SIGTERM; the other signals are passed on to it. Nothing
    else may ask that service: it compares the number of a poll with the agreed one, and misses it after another's.
    """
    global _is_shared
    _is_shared = True


def hold(on: bool) -> None:
    """Whether there is something to save: then signals wait for the loop to ask `requested`, and to end the run."""
    global _can_save
    _can_save = on


def requested() -> bool:
    """Whether to stop; of several processes, all are told at the same of their calls, which must be as many."""
    global _polls, _is_agreed
    if not _is_shared:
        return bool(_received)
    from jax.experimental import multihost_utils

    _polls += 1  # from 1 on: that is what the service agrees on where nobody has polled yet
    _is_agreed = _is_agreed or multihost_utils.reached_preemption_sync_point(_polls)  # which says so once
    return _is_agreed


def stopped(step: int) -> Interrupted:
    """The error by which a run ends that has been saved at a step."""
    number = _received[0] if _received else signal.SIGTERM
    return Interrupted(
        f"Stopped by {signal.Signals(number).name} after step {step}, which is saved: "
        "run the same command again to go on.",
        _status(number),
    )


def _status(number: int) -> int:
    return EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_PREEMPTED


def _read(reader: int) -> None:
    while data := os.read(reader, 64):
        for number in data:
            if number in _SIGNALS:
                _take(number)


def _take(number: int) -> None:
    _received.append(number)
    is_first = len(_received) == 1
    if _is_shared and (number != signal.SIGINT or (_can_save and is_first)):
        if number != signal.SIGTERM:
            os.kill(os.getpid(), signal.SIGTERM)  # however often it comes: one process alone must not end
        return
    if _can_save and is_first:
        return
    name = signal.Signals(number).name
    lost = "without saving again" if _can_save else "with nothing to save"
    print(f"Stopped at once by {name}, {lost}: run the same command again to go on.", file=sys.stderr, flush=True)
    os._exit(_status(number))

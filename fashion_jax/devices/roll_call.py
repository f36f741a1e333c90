"""Calls the roll of a job's processes by plain sockets, before JAX connects them.

Where an address is wrong, a port is taken or a process is missing, JAX's own start-up ends in a fatal error of C++
after minutes. Here process 0 listens where JAX's service will listen, the others report to it, and it tells all of them
either to go on or in one sentence why not. The connections stay open: they break when a process ends.
"""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import time
from collections.abc import Callable, Mapping, Set
from typing import Any, TypeVar

from fashion_jax.devices.job import Job, named
from fashion_jax.errors import RunError, UserError
from fashion_jax.json_text import parse_json

Checked = TypeVar("Checked")

_PROGRAM = "fashion_jax"
_MAX_LINE = 16384  # bytes of a message
_PAUSE = 0.3  # seconds between two attempts to reach process 0
_PATIENCE = 15.0  # seconds within which process 0 answers whoever has reached it
_LINGER = 10.0  # seconds for which a process that cannot go on tries to tell the others
_MAX_WORDS = 2000  # characters of a sentence


def call_roll_after(job: Job, timeout: float, check: Callable[[], Checked]) -> tuple[Checked, dict[int, socket.socket]]:
    """Calls the roll after `check`; if that raises a UserError, the others are told that this process cannot go on.

    Returns:
        What `check` returns, and the open connections; see `call_roll`.

    Raises:
        UserError: `check` has raised it.
        RunError: see `call_roll`.
    """
    try:
        found = check()
    except UserError as error:
        call_roll(job, timeout, str(error))
        raise
    return found, call_roll(job, timeout)


def call_roll(job: Job, timeout: float, failure: str = "") -> dict[int, socket.socket]:
    """Waits until all processes of a job have reported to process 0.

    Args:
        job: as this process sees it.
        timeout: seconds until the last one must have reported.
        failure: a sentence if this process cannot go on, which all others are told.

    Returns:
        The open connections: in process 0 one to each other process, in the others the one to process 0, by the number
        of the process at the other end. `processes.join` takes them.

    Raises:
        RunError: a process is missing, has another view of the job or cannot go on, or process 0 cannot be reached.
    """
    if job.count == 1:
        return {}
    deadline = time.monotonic() + (min(timeout, _LINGER) if failure else timeout)
    with contextlib.ExitStack() as stack:
        called = _lead if job.index == 0 else _report
        verdict, connections = called(job, timeout, deadline, failure, stack)
        if not verdict:
            stack.pop_all()
    if verdict and not failure:
        raise RunError(verdict)
    return connections


def _lead(
    job: Job, timeout: float, deadline: float, failure: str, stack: contextlib.ExitStack
) -> tuple[str, dict[int, socket.socket]]:
    """Listens to the other processes and answers them all; returns why the run does not start, or "".

    The stack closes the connections.
    """
    with _listening(job.port) as server:
        verdict = _told(0, failure)
        connections: list[socket.socket] = []
        reported: dict[int, socket.socket] = {}
        while not verdict and len(reported) < job.count - 1:
            received = _next_report(server, deadline)
            if received is None:
                verdict = _missing(job, reported.keys(), timeout)
                break
            connection, report = received
            connections.append(stack.enter_context(connection))
            verdict = _disagreement(job, report, reported)
            reported[report["index"]] = connection
        verdict = verdict or _ended(reported)
        for connection in connections:
            _send(connection, verdict=verdict)
        if verdict:
            late = job.count - 1 - len(connections)
            _tell_late_ones(server, verdict, late, min(deadline, time.monotonic() + _LINGER))
        return verdict, reported


def _listening(port: int) -> socket.socket:
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
        return socket.create_server(("", port), backlog=4096)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "which another program, or another process 0, uses"
        else:
            reason = f"which the system refuses ({error.strerror})"
        raise RunError(
            f"Process 0 cannot listen on port {port} of {socket.gethostname()}, {reason}: give all processes the "
            "address of another port."
        ) from error


def _next_report(server: socket.socket, deadline: float) -> tuple[socket.socket, dict[str, Any]] | None:
    """Returns the connection and the report of the next process; None after the deadline. Strangers are hung up on."""
    while (left := deadline - time.monotonic()) > 0:
        server.settimeout(left)
        try:
            connection, _ = server.accept()
        except TimeoutError:
            return None
        report = _receive(connection, min(5.0, left))
        if report and isinstance(report.get("index"), int) and isinstance(report.get("count"), int):
            _send(connection, waiting=True)
            return connection, report
        connection.close()
    return None


def _disagreement(job: Job, report: dict[str, Any], reported: Mapping[int, socket.socket]) -> str:
    """Returns why a process cannot take part, or ""."""
    index, count = report["index"], report["count"]
    if failure := str(report.get("failure") or ""):
        return _told(index, failure)
    if count != job.count or not 0 < index < count:
        return (
            f"Process {index} was started as one of {count} processes, but process 0 as one of {job.count}: start all "
            "with the same number of processes."
        )
    if index in reported and not has_ended(reported[index]):  # one that has ended may have been started again
        return f"Two processes have the number {index} of {count}: give each of them another one, from 0."
    return ""


def _told(index: int, failure: str) -> str:
    return f"Process {index} could not start: {failure}" if failure else ""


def _ended(reported: Mapping[int, socket.socket]) -> str:
    ended = [index for index, connection in reported.items() if has_ended(connection)]
    which, has = ("Process", "has") if len(ended) == 1 else ("Processes", "have")
    return f"{which} {named(sorted(ended))} {has} ended before the run began: start all again." if ended else ""


def has_ended(connection: socket.socket) -> bool:
    """Returns without waiting whether the process at the other end of a connection has ended or hung up.

    A connection that was reset or timed out on the way says nothing of that process.
    """
    connection.setblocking(False)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return False
    finally:
        connection.setblocking(True)


def _missing(job: Job, reported: Set[int], timeout: float) -> str:
    missing = [i for i in range(1, job.count) if i not in reported]
    which, has = ("Process", "has") if len(missing) == 1 else ("Processes", "have")
    return (
        f"{which} {named(missing)} of {job.count} {has} not reported to process 0 at {job.address} within "
        f"{timeout:.0f} s: see whether they were started and can reach this address, or wait longer by "
        "--initialization-timeout."
    )


def _tell_late_ones(server: socket.socket, verdict: str, count: int, deadline: float) -> None:
    for _ in range(count):
        late = _next_report(server, deadline)
        if late is None:
            return
        with late[0] as connection:
            _send(connection, verdict=verdict)


def _report(
    job: Job, timeout: float, deadline: float, failure: str, stack: contextlib.ExitStack
) -> tuple[str, dict[int, socket.socket]]:
    """Reports to process 0 and waits for its answer; returns why the run does not start, or "".

    The stack closes the connection.
    """
    reason = "nothing answers there"
    while (left := deadline - time.monotonic()) > 0:
        try:
            connection = stack.enter_context(socket.create_connection((job.host, job.port), timeout=min(5.0, left)))
            _send(connection, index=job.index, count=job.count, failure=failure)
            reason = "what answers there is not process 0 of this job"
            if _receive(connection, max(min(_PATIENCE, deadline - time.monotonic()), 1.0)):
                reason = "process 0 has ended"
                # It may have begun to wait later than this process, and then waits longer.
                answer = _receive(connection, timeout + _LINGER)
                if answer and "verdict" in answer:
                    return str(answer["verdict"]), {0: connection}
        except socket.gaierror as error:
            reason = f"its name is not known: {error.strerror}"
        except UnicodeError:
            reason = "it is no name of a host"
        except OSError as error:
            reason = f"nothing answers there: {error.strerror or 'no answer in time'}"
        stack.close()
        time.sleep(_PAUSE)
    verdict = (
        f"Process {job.index} of {job.count} has not reached process 0 at {job.address} within {timeout:.0f} s "
        f"({reason}): see whether process 0 was started and the address is right, or wait longer by "
        "--initialization-timeout."
    )
    return verdict, {}


def _send(connection: socket.socket, **message: Any) -> None:
    message = {k: v[:_MAX_WORDS] if isinstance(v, str) else v for k, v in message.items()}
    with contextlib.suppress(OSError):  # who has gone is not told
        connection.sendall(json.dumps(message | {"program": _PROGRAM}).encode() + b"\n")


def _receive(connection: socket.socket, timeout: float) -> dict[str, Any] | None:
    """Returns the next message of another process, a line of JSON; None if what comes is not one, or none comes."""
    deadline, data = time.monotonic() + timeout, b""
    try:
        while not data.endswith(b"\n") and len(data) < _MAX_LINE:
            connection.settimeout(max(deadline - time.monotonic(), 1e-3))
            part = connection.recv(1)  # one message may follow another at once
            if not part:
                return None
            data += part
        message = parse_json(data)
    except (OSError, ValueError):
        return None
    return message if isinstance(message, dict) and message.get("program") == _PROGRAM else None

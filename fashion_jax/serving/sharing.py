"""Lets the processes of a job share the work of a command, each on its own devices, and end together.

They need no collectives to predict. They are connected nevertheless, to compare what they see before they begin, and
so that none waits for another one that has failed or was killed.
"""

from __future__ import annotations

import argparse
import base64
import collections
import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from socket import socket
from typing import Any, TypeVar

import numpy as np

from fashion_jax.devices.compiler import apart_flags
from fashion_jax.devices.job import Job, find_job, first_difference, named
from fashion_jax.devices.processes import barrier, decided, end_all, exchange, failing_together, join
from fashion_jax.devices.roll_call import call_roll_after
from fashion_jax.errors import STOP_SIGNALS, UserError, stop_status

Checked = TypeVar("Checked")

_SENT = 1 << 20  # bytes that a process sends at once; more than four times as many do not pass
_SHOWN = 200  # characters of a value that differs


@dataclasses.dataclass(frozen=True)
class ProcessIndex:
    """The place of a process among those that share the work: its index, from 0, and how many there are."""

    index: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that decides, and writes what comes of the work."""
        return self.index == 0


@contextlib.contextmanager
def shared(flags: argparse.Namespace, check: Callable[[], Checked]) -> Iterator[tuple[ProcessIndex, Checked]]:
    """Connects this process with the others of its job while the block runs, if --distributed asks for it.

    Args:
        flags: those of add_distributed.
        check: raises a UserError if this process cannot take part, which all others are told.

    Yields:
        The place of this process in the job, one of one without --distributed, and what `check` returns.

    Raises:
        UserError: there is no job, or `check` has raised it.
        RunError: another process is missing, or cannot take part.
    """
    if not flags.distributed:
        yield ProcessIndex(), check()
        return
    import jax

    timeout = flags.initialization_timeout
    job = find_job(os.environ, timeout)
    found, connections = call_roll_after(job, timeout, check)
    if job.count == 1:
        yield ProcessIndex(), found
        return
    _connect(job, timeout, connections)
    with failing_together(lambda: None):
        yield ProcessIndex(jax.process_index(), jax.process_count()), found  # TPUs number processes otherwise than jobs
        barrier("done")  # none ends before process 0 has written what comes of the work


def _connect(job: Job, timeout: int, connections: Mapping[int, socket]) -> None:
    """Connects the processes and starts their devices, for which each waits for the others."""
    import jax

    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {apart_flags()}".strip()
    jax.config.update("jax_enable_preemption_service", False)  # which would ignore SIGTERM until a training asks it
    jax.config.update("jax_cpu_collectives_implementation", None)  # none are needed, and Gloo writes on stdout
    join(job, timeout, connections)
    jax.local_devices()
    _end_together_on_signals(job)


def _end_together_on_signals(job: Job) -> None:
    """Ends all processes when one is told to stop, from a thread, since the main one may be compiling for minutes."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # under nohup SIGHUP stays ignored
            signal.signal(number, lambda *_: None)

    def obey() -> None:
        number = os.read(reader, 1)[0]
        words = f"Process {job.index} was stopped by {signal.Signals(number).name}"
        end_all(f"{words}: run the same command again in all processes to resume.", stop_status(number))

    threading.Thread(target=obey, daemon=True, name="signals").start()


def share_of_images(count: int, batch_size: int, place: ProcessIndex) -> slice:
    """Returns which of `count` images a process predicts. Shares are whole batches; only the last one may be shorter.

    A process for which none are left predicts some of the first ones again, so that each has some.
    """
    size = share_size(count, batch_size, place)
    first = place.index * size if place.index * size < count else 0
    return slice(first, min(first + size, count))


def share_size(count: int, batch_size: int, place: ProcessIndex) -> int:
    """Returns the images of a share: as many for each process, in whole batches; the last shares may lack some."""
    return -(-count // (batch_size * place.count)) * batch_size


def of_all(rows: np.ndarray, most: int) -> np.ndarray:
    """Returns in process 0 the rows of all processes, one process after the other; in the others only their own.

    Args:
        rows: [n, columns] of this process, which may be other rows than those of another one.
        most: rows that no process exceeds.
    """
    sent = max(_SENT // max(rows[:1].nbytes, 1), 1)
    received: dict[int, list[np.ndarray]] = collections.defaultdict(list)

    def keep(texts: list[str]) -> None:
        for index, text in enumerate(texts):
            received[index].append(np.frombuffer(base64.b64decode(text), rows.dtype).reshape(-1, *rows.shape[1:]))

    for start in range(0, most, sent):
        exchange("rows", base64.b64encode(rows[start : start + sent].tobytes()).decode(), keep)
    return np.concatenate([part for parts in received.values() for part in parts]) if received else rows


def check_folder(place: ProcessIndex, flag: str, folder: Path) -> None:
    """Checks that all processes see what process 0 writes to a folder, which exists.

    Raises:
        UserError: they do not; `flag` has named the folder.
    """
    from fashion_jax.devices.shared_files import seen_by_this_process

    written = decided("folder", lambda: str(folder))
    with seen_by_this_process(folder / ".seen-by-all-processes") as is_seen:  # hidden, so that it is no input
        blind = exchange("shared", is_seen, lambda answers: [i for i, answer in enumerate(answers) if not answer])
    if blind:
        which, see = ("Process", "does") if len(blind) == 1 else ("Processes", "do")
        raise UserError(
            f"{which} {named(blind)} of {place.count} {see} not see the files that process 0 writes to {written}: give "
            f"all processes the same {flag}, on a file system that they share."
        )


def check_same(values: Mapping[str, Any]) -> None:
    """Checks that all processes have the same values, as name in words -> value, as JSON has it.

    Raises:
        UserError: two differ.
    """
    if found := exchange("values", {name: _shown(value) for name, value in values.items()}, difference):
        raise UserError(found)


def difference(records: list[dict[str, str]]) -> str:
    """Returns a sentence about how processes differ from process 0, or "", given the values of all."""
    index, names = first_difference(records)
    if not names:
        return ""
    return (
        f"The {names[0]} differs: it is {records[index].get(names[0])} in process {index}, but "
        f"{records[0].get(names[0])} in process 0. Start all processes with the same command, on machines that see "
        "the same files."
    )


def _shown(value: Any) -> str:
    """Returns a value in words, or a digest of a long one."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"a text of the digest {hashlib.sha256(text.encode()).hexdigest()}"

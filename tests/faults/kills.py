"""Processes that are killed, or asked to stop, at every moment of a run."""

from __future__ import annotations

import random
import signal
import socket
import time
from collections.abc import Iterator

from tests.faults.lab import EVERY, Command, Lab, Try

_SIGTERM_IN_EVALUATION = """
import fashion_jax.results as results, os, signal, time
real = results.predict_split
def hooked(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.5)
    return real(*arguments)
results.predict_split = hooked
"""


def _saving(command: Command) -> bool:
    return any("orbax-checkpoint-tmp" in path.name for path in (command.workdir / "checkpoints").glob("*"))


def _reporting(command: Command) -> bool:
    return (command.workdir / "report.tmp").exists()


def sigkill(lab: Lab) -> Iterator[Try]:
    """Eight random moments, one during a save, one during the report; then the run is brought to its end."""
    workdir, moments = lab.folder / "killed", random.Random(0)
    for attempt in range(10):
        command, before = lab.run(workdir), 0
        if attempt == 4:
            command.until(lambda c=command: c.steps() and _saving(c))
        elif attempt == 9:
            command.until(lambda c=command: _reporting(c))
        else:
            command.until(lambda c=command, a=attempt: a % 3 == 0 or "Training" in c.stdout() or c.started_at())
            time.sleep(moments.uniform(0, 4))
        before = max(command.steps(), default=0)
        command.process.kill()
        command.wait()
        resumed = max(command.steps(), default=0)
        yield Try(resumed >= before, EVERY, "killed")
    command, same = lab.finish(workdir)
    yield Try(same, 0, "brought to its end")


def signals(lab: Lab) -> Iterator[Try]:
    """SIGTERM in every phase, SIGINT, SIGUSR1, and a second signal; then the run is brought to its end."""
    workdir = lab.folder / "signalled"
    phases = [
        ("importing", lambda c: time.monotonic() > c.began + 1, [signal.SIGTERM], {}),
        ("reading data", lambda c: (workdir / "lock").exists(), [signal.SIGTERM], {}),
        ("compiling", lambda c: "Training" in c.stdout(), [signal.SIGTERM], {"is_cold": True}),
        ("training", lambda c: c.steps(), [signal.SIGTERM], {}),
        ("saving", _saving, [signal.SIGTERM], {}),
        ("saving, twice", _saving, [signal.SIGTERM, signal.SIGTERM], {}),
        ("evaluating", lambda c: False, [], {"before": _SIGTERM_IN_EVALUATION}),
        ("training", lambda c: max(c.steps(), default=0) > 25, [signal.SIGINT], {}),
        ("training", lambda c: max(c.steps(), default=0) > c.started_at() > 0, [signal.SIGUSR1], {}),
        ("reporting", _reporting, [signal.SIGTERM], {}),
    ]
    for phase, reached, numbers, options in phases:
        command = lab.run(workdir, **options)
        command.until(lambda c=command, r=reached: r(c), 0.3 if phase == "compiling" else 0)
        sent = time.monotonic()
        for number in numbers:
            command.process.send_signal(number)
            time.sleep(0.02)
        status = command.wait()
        expected = 130 if signal.SIGINT in numbers else 75
        seconds = time.monotonic() - sent
        said = command.sentence()
        yield Try(status == expected and "Stopped" in said, 0, f"{phase}: {status} after {seconds:.1f} s: {said}")
    command, same = lab.finish(workdir)
    yield Try(same, 0, "brought to its end")


def second_writer(lab: Lab) -> Iterator[Try]:
    """A second command on the same workdir; and a lock whose holder was killed, which is no obstacle."""
    workdir = lab.folder / "shared"
    first = lab.run(workdir)
    first.until(lambda: (workdir / "lock").exists())
    second = lab.run(workdir)
    status = second.wait()
    yield Try(status == 2 and f"process {first.process.pid} on" in second.sentence(), 0, second.sentence())
    first.process.kill()
    first.wait()
    command, same = lab.finish(workdir)
    yield Try(same, 0, "the stale lock: " + (command.sentence() or "went on"))


def one_of_two(lab: Lab) -> Iterator[Try]:
    """Of two processes one is killed: the other ends within 60 s, not with 0; then both go on together."""
    workdir = lab.folder / "two"
    for killed in (1, 0):
        pair = _two(lab, workdir)
        pair[0].until(pair[0].has_saved)
        pair[killed].process.kill()
        sent = time.monotonic()
        status = pair[1 - killed].wait()
        seconds = time.monotonic() - sent
        said = pair[1 - killed].sentence()
        yield Try(status != 0 and seconds < 60, EVERY, f"process {killed} killed: {status} in {seconds:.0f} s: {said}")
    pair = _two(lab, workdir)
    pair[0].until(pair[0].has_saved)
    pair[1].process.send_signal(signal.SIGTERM)
    statuses = [command.wait() for command in pair]
    yield Try(statuses == [75, 75], 0, f"SIGTERM to one: {statuses}: {pair[0].sentence()}")


def _two(lab: Lab, workdir) -> list[Command]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "JAX_NUM_PROCESSES": "2"}
    return [
        lab.run(workdir, flags=("--distributed",), variables=variables | {"JAX_PROCESS_ID": str(index)})
        for index in range(2)
    ]

"""Processes that are killed, or asked to stop, at every moment of a run."""

from __future__ import annotations

import functools
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.faults.lab import EVERY, Command, Fault, Lab, Try, end_of, refused

_IN_EVALUATION = """
import fashion_jax.training.epoch_end as results, os, signal, time
real = results.predict_split
def hooked(*arguments):
    os.kill(os.getpid(), signal.{signal})
    time.sleep(0.5)
    return real(*arguments)
results.predict_split = hooked
"""
_BEFORE_SAVE = """
import fashion_jax.workdir.checkpoints.store as checkpoint, os, signal, time
real = checkpoint.Checkpoints.save
def hooked(self, step, *arguments, **options):
    if step == {step} and not hasattr(self, "sent"):
        self.sent = True
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep({seconds})
    return real(self, step, *arguments, **options)
checkpoint.Checkpoints.save = hooked
"""
Reached = Callable[[Command], object]


def _at_step(step: int) -> Reached:
    return lambda command: max(command.steps(), default=0) >= step


def _announced(command: Command) -> object:
    return "Training" in command.stdout()


def _locked(command: Command) -> object:
    return (command.workdir / "lock").exists()


def _killed(name: str, reached: Reached, then: float, lab: Lab) -> Iterator[Try]:
    """Kills a run at a moment; it must come to the same end, and keep what was saved."""
    workdir = lab.folder / "run"
    command = lab.train(workdir)
    command.until(lambda: reached(command), then)
    before = max(command.steps(), default=0)
    command.process.kill()
    command.wait()
    again, same = lab.finish(workdir)
    yield Try(name, same and again.started_at() >= before, f"went on after step {again.started_at()}", EVERY)


def _killed_often(lab: Lab) -> Iterator[Try]:
    """Kills one run at six random moments."""
    workdir, moments = lab.folder / "run", random.Random(0)
    for _ in range(6):
        command = lab.train(workdir)
        command.until(lambda c=command: _announced(c) or c.started_at() or c.has_saved(), moments.uniform(0, 1))
        command.process.kill()
        command.wait()
    command, same = lab.finish(workdir)
    yield Try("six times", same, f"went on after step {command.started_at()}", EVERY)


SIGKILL: list[Fault] = [
    *(
        functools.partial(_killed, name, reached, then)
        for name, reached, then in (
            ("at once", lambda c: True, 0.1),
            ("reading data", _locked, 0),
            ("compiling", _announced, 0.2),
            ("after the first step saved", _at_step(5), 0),
            ("after an epoch's last step", _at_step(10), 0),
            ("in the second epoch", _at_step(15), 0.01),
            ("in the last epoch", _at_step(25), 0.02),
            ("saving", Command.is_saving, 0),
            ("saving the second step", lambda c: c.steps() and c.is_saving(), 0),
            ("after the last step", _at_step(30), 0),
            ("writing the predictions", lambda c: (c.workdir / "predictions").exists(), 0),
            ("writing the page", Command.is_reporting, 0),
        )
    ),
    _killed_often,
]


def _stopped(
    name: str,
    numbers: Sequence[int],
    reached: Reached,
    lab: Lab,
    *,
    status: int = 75,
    then: float = 0,
    **options,
) -> Iterator[Try]:
    """Asks a run to stop at a moment; it must save, say so, and come to the same end."""
    workdir = lab.folder / "run"
    command = lab.train(workdir, **options)
    command.until(lambda: reached(command), then)
    sent = time.monotonic()
    for number in numbers:
        command.process.send_signal(number)
        time.sleep(0.02)
    ended, said = command.wait(), command.sentence()
    seconds = time.monotonic() - sent
    _, same = lab.finish(workdir)
    yield Try(name, ended == status and "Stopped" in said and same, f"{ended} after {seconds:.1f} s: {said}")


def _told_to_go_on(lab: Lab) -> Iterator[Try]:
    """Checks that a lost terminal does not stop a run under nohup."""
    workdir = lab.folder / "run"
    command = lab.train(workdir, shell='exec nohup "$@"')
    command.until(lambda: command.steps())
    command.process.send_signal(signal.SIGHUP)
    status = command.wait()
    yield Try("SIGHUP under nohup", status == 0 and end_of(workdir) == end_of(lab.whole), f"{status}: went on")


def _lost_terminal(lab: Lab) -> Iterator[Try]:
    """Closes the terminal with its window: SIGHUP, and nobody reads stdout and stderr any more."""
    workdir = lab.folder / "run"
    command = lab.train(workdir, shell='"$@" > >(head -n 1) 2>&1 & wait $!')
    command.until(lambda: command.steps())
    children = Path(f"/proc/{command.process.pid}/task/{command.process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGHUP)
    status = command.wait()
    _, same = lab.finish(workdir)
    yield Try("SIGHUP without a reader", status == 75 and same, f"{status}: went on to the same end")


def _signal_faults() -> Iterator[Fault]:
    term, hup, usr1, interrupt = signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT
    moments = [
        ("SIGTERM importing", [term], lambda c: time.monotonic() > c.began + 1, {"is_fresh": True, "is_plain": True}),
        ("SIGTERM reading data", [term], _locked, {}),
        ("SIGTERM compiling", [term], _announced, {"then": 0.1}),
        ("SIGTERM training", [term], _at_step(5), {}),
        ("SIGTERM in the last epoch", [term], _at_step(25), {}),
        ("SIGTERM saving", [term], Command.is_saving, {}),
        ("SIGTERM twice saving", [term, term], lambda c: c.steps() and c.is_saving(), {}),
        ("SIGTERM writing the page", [term], Command.is_reporting, {}),
        ("SIGTERM evaluating", [], lambda c: False, {"before": _IN_EVALUATION.format(signal="SIGTERM")}),
        ("SIGHUP evaluating", [], lambda c: False, {"before": _IN_EVALUATION.format(signal="SIGHUP")}),
        ("SIGTERM before a save", [], lambda c: False, {"before": _BEFORE_SAVE.format(step=15, seconds=0)}),
        ("SIGTERM at an epoch's save", [], lambda c: False, {"before": _BEFORE_SAVE.format(step=20, seconds=0.3)}),
        ("SIGINT training", [interrupt], _at_step(10), {"status": 130}),
        ("SIGINT twice", [interrupt, interrupt], _at_step(10), {"status": 130}),
        ("SIGUSR1 training", [usr1], _at_step(15), {}),
        ("SIGHUP training", [hup], _at_step(15), {}),
        ("SIGHUP reading data", [hup], _locked, {}),
    ]
    for name, numbers, reached, options in moments:
        yield functools.partial(_stopped, name, numbers, reached, **options)
    yield _told_to_go_on
    yield _lost_terminal


SIGNALS: list[Fault] = list(_signal_faults())


def _second_writer(lab: Lab) -> Iterator[Try]:
    """Starts a second command on the same workdir; and checks that the lock of a killed holder is no obstacle."""
    workdir = lab.folder / "run"
    first = lab.train(workdir)
    first.until(lambda: (workdir / "lock").exists() and (workdir / "lock").read_text())
    yield refused("while one trains", lab.train(workdir), [f"process {first.process.pid} on"])
    first.process.kill()
    first.wait()
    _, same = lab.finish(workdir)
    yield Try("a stale lock", same, "went on")


def _read_while_training(lab: Lab) -> Iterator[Try]:
    """Checks that evaluate reads a run that is being trained, without an effect on the run."""
    workdir = lab.folder / "run"
    first = lab.train(workdir)
    first.until(lambda: (workdir / "metrics.jsonl").exists() and first.has_saved())
    reader = lab.command("evaluate", "--workdir", workdir, "--checkpoint=latest")
    said = reader.sentence() or reader.stdout().strip().splitlines()[0]
    is_read = reader.process.returncode == 0 and "accuracy" in reader.stdout()
    yield Try("a reader", is_read and first.wait() == 0 and end_of(workdir) == end_of(lab.whole), said)


SECOND_WRITER: list[Fault] = [_second_writer, _read_while_training]


def _one_is_killed(killed: int, lab: Lab) -> Iterator[Try]:
    """Kills one of two processes; the other must end within 60 s with an error, and both must resume together."""
    workdir = lab.folder / "run"
    pair = _two(lab, workdir)
    pair[0].until(pair[0].has_saved)
    pair[killed].process.kill()
    sent = time.monotonic()
    status = pair[1 - killed].wait()
    seconds = time.monotonic() - sent
    pair = _two(lab, workdir)
    statuses = [command.wait() for command in pair]
    message = f"{status} in {seconds:.0f} s; then {statuses}: {pair[0].sentence() or 'went on'}"
    name = f"process {killed} killed"
    yield Try(
        name, status != 0 and seconds < 60 and statuses == [0, 0] and len(end_of(workdir)[0]) == 3, message, EVERY
    )


def _one_is_told(number: int, receiver: int, step: int, lab: Lab) -> Iterator[Try]:
    """Asks one of two processes to stop near a checkpoint; both must save the same step and stop."""
    workdir = lab.folder / "run"
    before = _BEFORE_SAVE.format(step=step, seconds=0).replace("SIGTERM", signal.Signals(number).name)
    pair = _two(lab, workdir, before if receiver == 0 else "", before if receiver == 1 else "")
    statuses = [command.wait() for command in pair]
    name = f"{signal.Signals(number).name} to process {receiver} at step {step}"
    is_early = max(pair[0].steps(), default=0) < 30
    yield Try(name, statuses == [75, 75] and is_early, f"{statuses}: {pair[0].sentence()}")


def _two(lab: Lab, workdir: Path, *before: str) -> list[Command]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "JAX_NUM_PROCESSES": "2"}
    return [
        lab.train(
            workdir,
            flags=["--distributed"],
            variables=variables | {"JAX_PROCESS_ID": str(index)},
            before=before[index] if before else "",
        )
        for index in range(2)
    ]


TWO_PROCESSES: list[Fault] = [
    functools.partial(_one_is_killed, 1),
    functools.partial(_one_is_killed, 0),
    functools.partial(_one_is_told, signal.SIGTERM, 0, 5),
    functools.partial(_one_is_told, signal.SIGTERM, 1, 15),
    functools.partial(_one_is_told, signal.SIGUSR1, 0, 10),
    functools.partial(_one_is_told, signal.SIGUSR1, 1, 20),
]

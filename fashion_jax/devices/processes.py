"""Joins the processes of a run, and lets them exchange values beside the devices: through JAX's coordination service.

The service's store of keys and values is private API of JAX, and this module alone uses it. Unlike a collective, it
needs no devices and no program that all processes run, so that processes can say that they differ, or why they failed.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import itertools
import json
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from fashion_jax.devices.job import Job, named
from fashion_jax.devices.roll_call import has_ended
from fashion_jax.errors import (
    EXIT_FAILURE,
    EXIT_PREEMPTED,
    EXIT_USAGE,
    Interrupted,
    Outage,
    RunError,
    UserError,
    first_line,
)
from fashion_jax.json_text import parse_json

_SILENCE = 30.0  # seconds without a sign of life after which a process is given up
_HEARTBEAT = 300  # seconds after which JAX gives up a process, and aborts all others: a last resort
_SHUTDOWN = 20  # seconds for which JAX lets the first processes wait for the last one at the end
_POLL = 2.0  # seconds between two signs of life
_TOLD = 10.0  # seconds for which a failed process waits until the others have read why
_LEAD = 2.0  # seconds by which process 0 ends after the others
_ECHO = 5.0  # seconds after an error of JAX within which the end of another process, its likely cause, is noticed
# Keys of the store: the note on why the run ends, who has read it, and the last sign of life of each process.
_FAILED, _TOLD_BY, _SIGNS = "fashion_jax/failed", "fashion_jax/told/", "fashion_jax/signs/"

_step = 0  # the last one of this process
_asked: collections.Counter[str] = collections.Counter()
_answered: list[str] = []  # the key of the last question, whose answer the other processes may not have read yet
_kept: list[Any] = []  # connections that are not closed


def join(job: Job, timeout: int, connections: Mapping[int, socket.socket]) -> None:
    """Connects this process with the others of its job, which have answered the roll call.

    Args:
        job: as this process sees it.
        timeout: seconds within which they connect.
        connections: those of the roll call. The end of another process breaks them, and from now on ends this one too.

    Raises:
        RunError: they do not connect within the timeout, in seconds.
    """
    if job.index:
        _delay_abort()
    threading.Thread(target=_notice_ends, args=(connections,), daemon=True, name="connections").start()
    import jax

    try:
        jax.distributed.initialize(
            coordinator_address=job.address,
            num_processes=job.count,
            process_id=job.index,
            local_device_ids=job.local_devices,
            cluster_detection_method="deactivate",
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=_HEARTBEAT,
            shutdown_timeout_seconds=_SHUTDOWN,
        )
    except (ValueError, RuntimeError) as error:
        raise RunError(
            f"The processes at {job.address} could not be connected ({first_line(error)}): start them again."
        ) from error


def exchange(name: str, value: Any, decide: Callable[[list[Any]], Any]) -> Any:
    """Returns what process 0 decides from the values of all processes; it waits for all of them.

    Args:
        name: of the question; all processes ask the same questions in the same order.
        value: of this process, as JSON has it, like the decision.
        decide: called by process 0 with the values in the order of the processes.
    """
    import jax

    client = _client()
    if client is None:
        return decide([value])
    _asked[name] += 1
    key = f"fashion_jax/{name}/{_asked[name]}"
    client.key_value_set(f"{key}/{jax.process_index()}", json.dumps(value))
    if jax.process_index() == 0:
        values = [_waited_for(client, f"{key}/{index}") for index in range(jax.process_count())]
        for old in _answered:
            client.key_value_delete(old)  # all have gone on to this question, and values may be large
        _answered[:] = [key]
        client.key_value_set(f"{key}/decided", json.dumps(decide(values)))
    return _waited_for(client, f"{key}/decided")


def decided(name: str, answer: Callable[[], Any]) -> Any:
    """Returns the answer of process 0, which alone is asked, in all processes; they wait for each other.

    By this, what depends on files, memory or the clock is the same everywhere, and with it what the processes do next.

    Args:
        name: of the question, see exchange.
        answer: returns a value that JSON has.
    """
    is_first = _client() is None or _index() == 0
    return exchange(name, answer() if is_first else None, lambda answers: answers[0])


def barrier(name: str) -> None:
    """Waits until all processes of the run have called this; `name` is that of a question, see exchange."""
    exchange(name, None, lambda _: None)


@contextlib.contextmanager
def failing_together(before_end: Callable[[], None]) -> Iterator[None]:
    """Ends all processes of a run when one of them fails in the block, dies or is stopped: each with the same sentence.

    A process that waits in a collective cannot return to Python, so that a thread ends it.

    Args:
        before_end: called first by the thread if another process hangs or is silent.
    """
    client = _client()
    if client is None:
        yield
        return
    global _at_end
    watch = _Watch(client, before_end)
    _at_end = watch.lose
    watch.start()
    try:
        yield
    except Exception as error:
        if isinstance(error, Interrupted) and not isinstance(error, Outage):
            raise  # all processes stop together
        _wait_for_cause(error)
        watch.is_over.set()
        watch.tell(_words(error), _status(error))
        _leave()
        raise
    finally:
        watch.is_over.set()


def end_all(words: str, status: int) -> NoReturn:
    """Ends this process, and with it all others of the run, with a sentence and an exit status; for any thread."""
    client = _client()
    if client is not None:
        _Watch(client, lambda: None).tell(words, status)
    print(words, file=sys.stderr, flush=True)
    os._exit(status)


def reached(step: int) -> None:
    """Notes the last step of this process, which its signs of life tell the others."""
    global _step
    _step = step


def stragglers() -> str:
    """Returns the end of a sentence about a run that hangs: which processes are behind the others, if any."""
    client = _client()
    if client is None:
        return ""
    try:
        signs = {int(key.rpartition("/")[2]): int(sign.split()[1]) for key, sign in client.key_value_dir_get(_SIGNS)}
    except RuntimeError:
        return ", and process 0 does not answer"
    behind = sorted(index for index, step in signs.items() if step < max(signs.values()))
    return f", where others wait for process {named(behind)}" if behind else ", where all processes wait"


class _Watch:
    """Sends signs of life to the other processes of a run, and ends this one when another has failed or fell silent.

    Attributes:
        is_over: whether the run has ended here, so that nothing ends this process from outside any more.
    """

    def __init__(self, client: Any, before_end: Callable[[], None]):
        import jax

        self._client, self._index, self._count = client, jax.process_index(), jax.process_count()
        self._holds_service = _holds_service()
        self._before_end = before_end
        self._pause = max(_POLL, self._count / 200)  # process 0 answers at most 200 of them in a second
        self._answered = time.monotonic()  # when process 0 has answered last
        self._heard: dict[str, tuple[str, float]] = {}  # process -> its last sign of life, and when it was new
        self._ending = threading.Lock()
        self.is_over = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._exchange_signs, daemon=True, name="signs of life").start()
        threading.Thread(target=self._miss_process_0, daemon=True, name="process 0").start()

    def tell(self, words: str, status: int) -> None:
        """Leaves a note on why the run ends, and waits until the other processes have read it."""
        with contextlib.suppress(RuntimeError):  # the first note counts; without process 0 there is no one to tell
            self._client.key_value_set(_FAILED, json.dumps({"words": words, "status": status}))
        with contextlib.suppress(RuntimeError):
            self._acknowledge()
            deadline = time.monotonic() + _TOLD
            while time.monotonic() < deadline and len(self._client.key_value_dir_get(_TOLD_BY)) < self._count:
                time.sleep(0.1)
        self._let_others_go_first()

    def lose(self, index: int) -> None:
        """Ends all processes since another one has ended without a note."""
        if not self._holds_service:  # the other one is process 0, and JAX aborts this one within a tenth of a second
            self._end(_gone(index), EXIT_PREEMPTED, hangs=False)
            return
        with contextlib.suppress(RuntimeError):  # there is a note already
            self._client.key_value_set(_FAILED, json.dumps({"words": _gone(index), "status": EXIT_PREEMPTED}))
        self._obey()

    def _exchange_signs(self) -> None:
        for number in itertools.count():
            if self.is_over.wait(self._pause):
                return
            with contextlib.suppress(RuntimeError):  # process 0 has ended, which the other thread notices
                self._client.key_value_set(f"{_SIGNS}{self._index}", f"{number} {_step}", allow_overwrite=True)
                self._answered = time.monotonic()
                self._obey()
                if self._holds_service:
                    self._miss_others()

    def _obey(self) -> None:
        """Ends this process if there is a note; one of its own error it leaves only once it is over itself."""
        try:
            note = parse_json(self._client.key_value_try_get(_FAILED))
        except RuntimeError:
            return
        self._acknowledge()
        self._end(note["words"], note["status"])

    def _miss_others(self) -> None:
        """Leaves a note on a process that has given no new sign of life for too long; process 0 calls it."""
        now = time.monotonic()
        signs = {key.rpartition("/")[2]: sign for key, sign in self._client.key_value_dir_get(_SIGNS)}
        for index in map(str, range(self._count)):
            sign = signs.get(index, "")  # of one that has stopped in its first seconds
            if index not in self._heard or self._heard[index][0] != sign:
                self._heard[index] = sign, now
            elif now - self._heard[index][1] > _SILENCE + self._pause:
                note = {"words": _silent(index), "status": EXIT_PREEMPTED}
                self._client.key_value_set(_FAILED, json.dumps(note))
                self._obey()

    def _miss_process_0(self) -> None:
        """Ends this process when process 0 no longer answers; its machine may be gone, or it was stopped or killed."""
        while not self.is_over.wait(1):
            if time.monotonic() - self._answered > _SILENCE + 2 * self._pause:
                self._end(_silent("0"), EXIT_PREEMPTED)

    def _acknowledge(self) -> None:
        self._client.key_value_set(f"{_TOLD_BY}{self._index}", "", allow_overwrite=True)

    def _end(self, words: str, status: int, *, hangs: bool = True) -> None:
        if self.is_over.is_set() or not self._ending.acquire(blocking=False):
            return
        if status == EXIT_PREEMPTED and hangs:
            self._before_end()
        print(words, file=sys.stderr, flush=True)
        self._let_others_go_first()
        os._exit(status)

    def _let_others_go_first(self) -> None:
        """Waits in process 0, since JAX aborts the other processes as soon as it has ended."""
        if self._holds_service:
            time.sleep(self._pause + _LEAD)


def _notice_ends(connections: Mapping[int, socket.socket]) -> None:
    """Waits until a process at the other end of a connection has ended; a thread runs this."""
    with selectors.DefaultSelector() as selector:
        for index, connection in connections.items():
            selector.register(connection, selectors.EVENT_READ, (index, connection))
        while selector.get_map():
            for key, _ in selector.select():
                index, connection = key.data
                selector.unregister(connection)
                if has_ended(connection):
                    _at_end(index)


def _delay_abort() -> None:
    """Makes abort() take six seconds: JAX calls it when process 0 has ended, and the thread above must be faster.

    The handler of the signal is the C function sleep, which takes the signal's number, 6, for seconds.
    """
    library = ctypes.CDLL(None)
    library.signal.restype = ctypes.c_void_p
    library.signal(signal.SIGABRT, ctypes.cast(library.sleep, ctypes.c_void_p))


def _end_alone(index: int) -> None:
    """Ends this process since another one has ended before they were connected by JAX."""
    print(_gone(index), file=sys.stderr, flush=True)
    os._exit(EXIT_PREEMPTED)


_at_end = _end_alone  # called with the number of a process that has ended


def _wait_for_cause(error: Exception) -> None:
    """Waits, after an error of JAX, for the thread that ends this process if another has ended: then that is why."""
    import jax

    if isinstance(error.__cause__ or error, jax.errors.JaxRuntimeError):
        time.sleep(_ECHO)


def _gone(index: int) -> str:
    return (
        f"Process {index} of this run was killed or has ended: run the same command again in all processes to resume."
    )


def _silent(index: str) -> str:
    return (
        f"Process {index} of this run has given no sign of life for {_SILENCE:.0f} s, so that it was stopped or "
        "killed, or cannot be reached: run the same command again in all processes to resume."
    )


def _status(error: Exception) -> int:
    if isinstance(error, Outage):
        return error.status
    return EXIT_USAGE if isinstance(error, UserError) else EXIT_FAILURE


def _words(error: Exception) -> str:
    import jax

    is_told = isinstance(error, UserError | RunError | Outage)
    reason = str(error) if is_told else f"{type(error).__name__}: {first_line(error)}"
    return f"Process {jax.process_index()} of this run has failed: {reason}"


def _waited_for(client: Any, key: str) -> Any:
    """Returns the value of a key once there is one: a process may read its data for hours before it sets it."""
    while True:
        try:
            return parse_json(client.blocking_key_value_get(key, 60_000))
        except RuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise


def _index() -> int:
    import jax

    return jax.process_index()


def _client() -> Any:
    """Returns the connection to the coordination service; None if this process has no others."""
    from jax._src import distributed

    return distributed.global_state.client


def _holds_service() -> bool:
    """Returns whether this is process 0 of the job, which the others connect to. TPUs number the processes anew."""
    from jax._src import distributed

    return distributed.global_state.process_id == 0


def check_connected() -> None:
    """Checks that the processes that share the devices are connected.

    Raises:
        UserError: JAX sees the devices of other processes, as on a TPU slice, but the run was started without them.
    """
    import jax

    if jax.process_count() > 1 and _client() is None:
        raise UserError(
            f"This is one of {jax.process_count()} processes with devices of their own, which are not connected: add "
            "--distributed, or set JAX_PLATFORMS=cpu to do without these devices."
        )


def _leave() -> None:
    """Spares this process the wait for the others at its end: they have been told, and end by themselves."""
    from jax._src import distributed

    state = distributed.global_state
    _kept.append((state.client, state.service, state.preemption_sync_manager))  # their destructors would wait, too
    state.client = state.service = state.preemption_sync_manager = None

"""Limits on what the demo's server takes: bytes, files, and requests that are computed or wait at a time."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterator


@dataclasses.dataclass(frozen=True)
class Limits:
    """What the server takes; pixels and the memory of decoding are limited by `data.decoding.limits`.

    Attributes:
        file_bytes: of one file.
        request_bytes: of one request.
        files: in one request.
        held_bytes: of the uploads of all requests, which are kept in memory only.
        running: requests that are computed at a time.
        waiting: further requests that are received or wait.
        seconds: to receive a request.
        discarded_bytes: of a refused request that are read and dropped, so that its sender reads the reason.
    """

    file_bytes: int = 64 << 20
    request_bytes: int = 128 << 20
    files: int = 64
    held_bytes: int = 512 << 20
    running: int = 2
    waiting: int = 62
    seconds: float = 60
    discarded_bytes: int = 1 << 30


class Refused(Exception):
    """A request that gets no answer.

    Attributes:
        status: of HTTP.
        sentence: the reason.
        retry_after: seconds after which the same request may succeed; 0 if it will not.
    """

    def __init__(self, status: int, sentence: str, retry_after: int = 0):
        super().__init__(sentence)
        self.status, self.sentence, self.retry_after = status, sentence, retry_after


class Gate:
    """Admits as many requests as the limits allow, and bytes of their uploads; belongs to one event loop."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self._places = limits.running + limits.waiting
        self._bytes = limits.held_bytes
        self._running = asyncio.Semaphore(limits.running)

    @contextlib.contextmanager
    def place(self) -> Iterator[Share]:
        """Reserves the place of a request while open; yields its share of the memory for uploads.

        Raises:
            Refused: all places are taken.
        """
        if not self._places:
            most = self.limits.running + self.limits.waiting
            raise _busy(f"{most} requests are being answered or wait")
        self._places -= 1
        share = Share(self)
        try:
            yield share
        finally:
            self._places += 1
            self._bytes += share.held

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits until fewer than `Limits.running` requests are computed, and is one of them while open."""
        async with self._running:
            yield

    def take(self, count: int) -> None:
        """Takes bytes of the memory for uploads.

        Raises:
            Refused: fewer are left.
        """
        if count > self._bytes:
            raise _busy(f"the uploads under way fill the {self.limits.held_bytes >> 20} MiB that there are for them")
        self._bytes -= count


class Share:
    """A request's share of the memory for uploads, given back with its place.

    Attributes:
        held: bytes.
    """

    def __init__(self, gate: Gate):
        self._gate, self.held = gate, 0

    def take(self, count: int) -> None:
        """Takes bytes more; raises Refused if they are not left."""
        self._gate.take(count)
        self.held += count


def _busy(reason: str) -> Refused:
    return Refused(503, f"The server is busy ({reason}): try again in a few seconds.", retry_after=3)

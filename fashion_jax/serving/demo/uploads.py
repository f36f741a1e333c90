"""Receives the files of a multipart request into memory, and nothing of them on disk.

Starlette's own reader of forms, which FastAPI uses, writes files above 1 MB to a temporary folder. It checks sizes when
all has been received. This one counts while bytes arrive.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from fashion_jax.serving.demo.limits import Limits, Refused, Share

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_HOW = "send multipart/form-data with one or more files, as curl -F files=@photo.jpg does"


class Upload(NamedTuple):
    """A file of a request: its name, its content, and why it is not taken or ""."""

    name: str
    content: bytes
    error: str = ""


async def read_uploads(chunks: AsyncIterator[bytes], content_type: str, limits: Limits, share: Share) -> list[Upload]:
    """Returns the files of a multipart request in their order; other fields of the form are dropped.

    Args:
        chunks: the request's body.
        content_type: the header of this name.
        limits: of a request.
        share: of the memory for uploads.

    Raises:
        Refused: the request is too large, has too many files or none, or is no multipart request.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise Refused(415, f"The request's content type is {content_type[:100]!r}: {_HOW}.")
    form, received = _Form(limits, share), 0
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for chunk in chunks:
            received += len(chunk)
            check_request_size(received, limits)
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise Refused(400, f"The request is no whole form ({error}): {_HOW}.") from error
    if not form.is_whole:
        raise Refused(400, f"The request ends before its last file does: {_HOW}.")
    if not form.files:
        raise Refused(400, f"The request has no file: {_HOW}.")
    return form.files


def check_request_size(count: int, limits: Limits) -> None:
    """Checks the bytes of a request that have come or are announced; raises Refused if they are too many."""
    if count > limits.request_bytes:
        most = limits.request_bytes >> 20
        raise Refused(413, f"The request has more than {most} MiB: send fewer or smaller files at a time.")


@contextlib.asynccontextmanager
async def discarding(chunks: AsyncIterator[bytes], limits: Limits) -> AsyncIterator[None]:
    """Reads and drops the rest of a request if the block refuses it.

    Most clients only read an answer when they have sent all.
    """
    try:
        yield
    except Refused:
        with contextlib.suppress(TimeoutError, ClientDisconnect):
            async with asyncio.timeout(limits.seconds):
                await _discard(chunks, limits.discarded_bytes)
        raise


async def _discard(chunks: AsyncIterator[bytes], most: int) -> None:
    async for chunk in chunks:
        most -= len(chunk)
        if most < 0:
            return


class _Form:
    """The files of a form, put together from the parser's calls.

    Attributes:
        files: those that are complete.
        is_whole: whether the form's end has come.
    """

    def __init__(self, limits: Limits, share: Share):
        self.files: list[Upload] = []
        self.is_whole = False
        self._limits, self._share = limits, share
        self._headers: list[list[bytes]] = []
        self._name: str | None = None  # of the file that is received; None in other fields
        self._parts: list[bytes] = []
        self._size = 0

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_begin": lambda: self._headers.append([b"", b""]),
            "on_header_field": lambda data, start, end: self._extend_header(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._extend_header(1, data[start:end]),
            "on_headers_finished": self._open,
            "on_part_data": lambda data, start, end: self._extend(data[start:end]),
            "on_part_end": self._close,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._headers, self._name, self._parts, self._size = [], None, [], 0

    def _extend_header(self, place: int, data: bytes) -> None:
        self._headers[-1][place] += data

    def _open(self) -> None:
        headers = {name.lower(): value for name, value in self._headers}
        _, options = parse_options_header(headers.get(b"content-disposition", b"").decode("latin-1"))
        name = options.get(b"filename", b"")
        if not name:  # a form's text, or its file input in which nothing is chosen
            return
        if len(self.files) == self._limits.files:
            raise Refused(413, f"The request has more than {self._limits.files} files: send fewer at a time.")
        self._name = name.decode("utf-8", "replace")

    def _extend(self, data: bytes) -> None:
        if self._name is None:
            return
        self._size += len(data)
        if self._size <= self._limits.file_bytes:
            self._share.take(len(data))
            self._parts.append(data)
        else:
            self._parts = []

    def _close(self) -> None:
        if self._name is not None:
            error = "" if self._size else "the file is empty"
            if self._size > self._limits.file_bytes:
                error = f"the file has more than {self._limits.file_bytes >> 20} MiB"
            self.files.append(Upload(self._name, b"".join(self._parts), error))
        self._parts = []

    def _end(self) -> None:
        self.is_whole = True

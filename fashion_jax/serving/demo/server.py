"""Answers the demo's requests: the page, the JSON API, and a page about the API."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from fashion_jax.errors import UserError
from fashion_jax.serving.answers import Answer
from fashion_jax.serving.demo import schemas
from fashion_jax.serving.demo.api_page import api_page
from fashion_jax.serving.demo.limits import Gate, Limits, Refused, Share
from fashion_jax.serving.demo.page import Asset, served_assets
from fashion_jax.serving.demo.protection import App, Protection, host_names
from fashion_jax.serving.demo.uploads import Upload, check_request_size, discarding, read_uploads

_ANY = ("0.0.0.0", "::")  # hosts that stand for all addresses of this computer
_BACKLOG = 128  # connections that wait to be accepted

_SECONDS_TO_END = 3  # that requests under way have after Ctrl-C


class Predicts(Protocol):
    """The part of a Classifier that the server needs."""

    def predict(self, images: Sequence[bytes]) -> Sequence[Answer]:
        """Returns an answer for the content of each image file."""


# Returns level -> data URL of a picture for the content of a file and its classes.
Explain = Callable[[bytes, Mapping[str, str]], dict[str, str]]


def create_app(
    classifier: Predicts,
    model: Mapping[str, Any],
    *,
    explain: Explain | None = None,
    limits: Limits | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
) -> App:
    """Returns the ASGI application.

    Args:
        classifier: answers.
        model: what GET /api/model answers; see `description.describe`.
        explain: draws heat maps; None if the model has none.
        limits: on requests; None takes the defaults.
        host: the address that the server listens at, which decides by which names it answers.
        port: that it listens at.
    """
    service = _Service(classifier, model, explain, limits or Limits())
    app = FastAPI(
        title="fashion_jax demo",
        description="Classifies fashion images at every level of a tree of classes.",
        version=str(model["fashion_jax"]),
        docs_url=None,  # these pages load their scripts from a content delivery network
        redoc_url=None,
    )
    app.add_exception_handler(Refused, _refused)
    app.add_api_route("/api/predict", service.predict, methods=["POST"], **schemas.PREDICT)
    app.add_api_route("/api/explain", service.explain, methods=["POST"], **schemas.EXPLAIN)
    app.add_api_route("/api/model", service.model, methods=["GET"], **schemas.MODEL)
    for name, asset in served_assets().items():
        _add_asset(app, f"/{name}", asset)
        if name == "index.html":
            _add_asset(app, "/", asset)
    _add_asset(app, "/docs", Asset(api_page(app.openapi(), url(host, port)), "text/html; charset=utf-8"))
    return Protection(app, host_names(host), port)


def _add_asset(app: FastAPI, path: str, asset: Asset) -> None:
    def send() -> Response:
        return Response(asset.content, media_type=asset.media_type)

    app.add_api_route(path, send, methods=["GET", "HEAD"], include_in_schema=False)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
    return JSONResponse({"detail": error.sentence}, error.status, headers)


class _Service:
    """The functions behind the addresses of the API."""

    def __init__(self, classifier: Predicts, model: Mapping[str, Any], explain: Explain | None, limits: Limits):
        self._classifier, self._model, self._explain, self._limits = classifier, model, explain, limits
        self._gate = Gate(limits)

    async def predict(self, request: Request) -> Response:
        """Classifies one or several image files, each of which gets an answer or the reason why it has none."""
        async with self._received(request) as uploads:
            answers = await asyncio.to_thread(self._answers, uploads)
        return JSONResponse([answer.to_dict() for answer in answers])

    async def explain(self, request: Request) -> Response:
        """Shows what in an image speaks for the classes that predict answers (Grad-CAM)."""
        async with self._received(request) as uploads:
            if self._explain is None:
                raise Refused(404, "An export has no heat maps: start the demo with the run that it was made from.")
            if len(uploads) > 1:
                raise Refused(400, f"The request has {len(uploads)} files, but one is explained at a time: send one.")
            [answer], pictures = await asyncio.to_thread(self._explained, uploads[0])
        return JSONResponse(answer.to_dict() | {"heat_maps": pictures})

    async def model(self) -> Response:
        """Describes the model: its levels, classes, canvas and thresholds, and the limits on requests."""
        limits = dataclasses.asdict(self._limits)
        shown = {name: limits[name] for name in ("file_bytes", "request_bytes", "files")}
        return JSONResponse({**self._model, "limits": shown})

    def _answers(self, uploads: Sequence[Upload]) -> list[Answer]:
        found = iter(self._classifier.predict([upload.content for upload in uploads if not upload.error]))
        return [
            Answer(path=upload.name, error=upload.error)
            if upload.error
            else dataclasses.replace(next(found), path=upload.name)
            for upload in uploads
        ]

    def _explained(self, upload: Upload) -> tuple[list[Answer], dict[str, str]]:
        [answer] = answers = self._answers([upload])
        return answers, self._explain(upload.content, answer.classes) if self._explain and not answer.error else {}

    @asynccontextmanager
    async def _received(self, request: Request) -> AsyncIterator[list[Upload]]:
        """Yields the files of a request when its turn to be computed has come.

        Raises:
            Refused: see `read_uploads` and `Gate`.
        """
        chunks = request.stream()
        async with discarding(chunks, self._limits):
            with self._gate.place() as share:
                uploads = await self._read(request, chunks, share)
                async with self._gate.turn():
                    yield uploads

    async def _read(self, request: Request, chunks: AsyncIterator[bytes], share: Share) -> list[Upload]:
        announced = request.headers.get("content-length", "")
        check_request_size(int(announced[:20]) if announced.isdecimal() else 0, self._limits)
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await read_uploads(chunks, request.headers.get("content-type", ""), self._limits, share)
        except TimeoutError as error:
            seconds = f"{self._limits.seconds:g}"
            raise Refused(408, f"The request has not come within {seconds} seconds: send smaller files.") from error
        except ClientDisconnect as error:
            raise Refused(400, "The request has been broken off.") from error


def bind(host: str, port: int) -> socket.socket:
    """Returns a socket at an address, before the model is loaded for it.

    Raises:
        UserError: the address is taken, or not of this computer.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no name of a host"
        raise UserError(f"--host is {host!r}, which is no address ({reason}): try 127.0.0.1.") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)  # of two processes that bind the same address, only one can
    except OSError as error:
        bound.close()
        raise UserError(
            f"--host {host} --port {port} cannot be listened at ({error.strerror}): name another, e.g. "
            f"--port {port + 1 if 1023 < port < 65535 else 8001}."
        ) from error
    return bound


def serve(app: App, bound: socket.socket, say: Callable[[str], None]) -> None:
    """Serves until Ctrl-C or SIGTERM; `say` is called with the URL when connections are accepted."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=_SECONDS_TO_END,
    )
    say(url(*bound.getsockname()[:2]))
    uvicorn.Server(config).run(sockets=[bound])


def url(host: str, port: int) -> str:
    """Returns the URL of a server, with the name of this computer if it listens at all of its addresses."""
    if host in _ANY:
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"

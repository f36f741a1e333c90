"""Protects the demo's server in a browser: which hosts it answers to, and what its pages may load."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]  # of ASGI
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

# The page loads its own scripts and styles, shows images of the user's, and sends them to its own server only.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def host_names(host: str) -> frozenset[str] | None:
    """Returns the names by which a server at `host` answers; None if by any name.

    A server for this computer only answers to the names of this computer, so that no page of the web whose name is
    turned into 127.0.0.1 (DNS rebinding) can read from it. A server for others cannot know by which names they reach
    it.
    """
    if host in _LOOPBACK_NAMES or _is_loopback(host):
        return frozenset({*_LOOPBACK_NAMES, host})
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Protection:
    """An ASGI application around another one, which checks where requests come from and adds headers to answers."""

    def __init__(self, app: App, names: frozenset[str] | None, port: int):
        self._app, self._names, self._port = app, names, port

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_encoded(_HEADERS.items())]
            await send(message)

        if refusal := self._refusal(scope["method"], headers):
            await _refuse(refusal, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: MutableMapping[str, str]) -> str:
        """Returns why a request is refused, or ""."""
        name = _host_name(headers.get("host", ""))
        if self._names is not None and name not in self._names:
            return (
                f"This server is for this computer only, not for the host {name[:100]!r}: open "
                f"http://127.0.0.1:{self._port}, or start the demo with --host 0.0.0.0."
            )
        if method == "POST" and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "Another site's page has sent this request, which this server does not answer."
        return ""


def _host_name(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


async def _refuse(sentence: str, send: Send) -> None:
    body = json.dumps({"detail": sentence}).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    await send({"type": "http.response.start", "status": 403, "headers": list(_encoded(headers.items()))})
    await send({"type": "http.response.body", "body": body})


def _encoded(headers: Iterable[tuple[str, str]]) -> Iterable[tuple[bytes, bytes]]:
    return ((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers)

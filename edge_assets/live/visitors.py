"""Who may ask the live server, which asks nobody for a password: browsers that are on our own pages, and programs.

Another site must not use a visitor's browser to read or change anything. It cannot hide its `Origin`, where a browser
sends one. But it can give its own name our address (DNS rebinding), and then its pages are ours by name: so the server
answers only to names that cannot be another site's, and to those that the settings add.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from edge_assets.settings import LiveSettings

LOCAL_ENDINGS = (".local", ".localhost", ".lan", ".home", ".internal", ".home.arpa", ".fritz.box")
"""of names that nobody can register"""


def is_own_page(headers: Headers) -> bool:
    """Whether a request comes from a page of ours, or from a program, which names no `Origin`."""
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def is_own_name(host: str, names: frozenset[str]) -> bool:
    """Whether a `Host` is an address, a name of the local network, or one of `names`."""
    name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    if "." not in name or name in names or name.endswith(LOCAL_ENDINGS):
        return True  # an IPv6 address has no dot, or is one of the next line
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class OwnNamesOnly:
    """Answers 421 to whoever calls us by a name that is not ours; a WebSocket is refused with 403."""

    def __init__(self, app: ASGIApp, settings: LiveSettings) -> None:
        self._app = app
        own = (settings.host, socket.gethostname(), socket.getfqdn(), *settings.names)
        self._names = frozenset(name.lower() for name in own)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = Headers(scope=scope).get("host", "") if scope["type"] in ("http", "websocket") else ""
        if is_own_name(host, self._names):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            words = f"this server does not know itself by the name {host!r}; EDGE_LIVE__NAMES adds one\n"
            await PlainTextResponse(words, 421)(scope, receive, send)

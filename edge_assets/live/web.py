"""What the live server answers: the page's files, the WebSocket, acknowledge and mute, and the serving API beside them.

It asks nobody for a password, so a browser must not be talked into using it by another site: the WebSocket and what
changes anything take a browser's request only from our own pages (`Origin` is our `Host`), and the page runs no script
but its own files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel, Field
from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from edge_assets.alerts import desk
from edge_assets.errors import AlertError
from edge_assets.live.alerts import as_told
from edge_assets.live.hub import Hub
from edge_assets.live.visitors import OwnNamesOnly, is_own_page
from edge_assets.live.wire import EXTENSION, Wire
from edge_assets.serving.api import PACKED_BYTES, PACKED_LEVEL, router
from edge_assets.serving.opened import Warehouse
from edge_assets.settings import Settings

PAGE = Path(__file__).parent / "page"
API = "/api/v1"
BODY_BYTES = 16 * 1024

_SECURITY = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}

Changed = Callable[[], Awaitable[None]]
"""to be told when alerts are other than they were"""


def application(settings: Settings, hub: Hub, changed: Changed, warehouse: Warehouse) -> ASGIApp:
    """The whole of it as one ASGI application."""
    app = FastAPI(title="edge_assets", description="What sensors say, and what became of it.", docs_url=None)
    app.redoc_url = None
    app.include_router(_alerts(settings, changed), prefix=API)
    app.include_router(router(settings, warehouse), prefix=API)
    app.add_api_websocket_route("/ws", _viewer(hub))
    app.mount("/vendor", _Vendor())
    app.mount("/", StaticFiles(directory=PAGE, html=True, check_dir=False))
    return OwnNamesOnly(_WithHeaders(_compressed(app)), settings.live)


# -- viewers -----------------------------------------------------------------------------------------------------------


def _viewer(hub: Hub) -> Callable[[WebSocket], Awaitable[None]]:
    async def viewer(websocket: WebSocket) -> None:
        if not is_own_page(websocket.headers):
            await websocket.close()  # before it is accepted: 403
            return
        await websocket.accept()
        wire: Wire = websocket.scope["extensions"][EXTENSION]
        attending = asyncio.create_task(hub.attend(wire))
        try:
            while (await websocket.receive())["type"] != "websocket.disconnect":
                pass  # a page has nothing to say
        finally:
            attending.cancel()
            with suppress(asyncio.CancelledError):
                await attending

    return viewer


# -- alerts ------------------------------------------------------------------------------------------------------------


class Acknowledgement(BaseModel):
    by: str = Field(default="", max_length=200, description="who has seen it")


class Mute(BaseModel):
    rule: str = Field(default="*", max_length=200, description="the rule; `*`: all")
    device: str = Field(default="*", max_length=500, description="the device's id or name; `*`: all")


class MuteFor(Mute):
    minutes: float = Field(default=60, gt=0, le=60 * 24 * 365, description="for so long")


def _from_own_page(request: Request) -> None:
    """A form of another site can be posted here without asking; JSON cannot, nor can a foreign `Origin` be hidden."""
    if not is_own_page(request.headers):
        raise HTTPException(403, "a page of another site may not do this: its Origin is not this server's Host")
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "the request's Content-Type has to be application/json")
    if int(request.headers.get("content-length", BODY_BYTES + 1)) > BODY_BYTES:
        raise HTTPException(413, f"the request has to say its Content-Length, {BODY_BYTES} bytes at most")


def _alerts(settings: Settings, changed: Changed) -> APIRouter:
    router = APIRouter(tags=["alerts"], dependencies=[Depends(_from_own_page)])

    @router.post("/alerts/mute")
    async def mute(wanted: MuteFor) -> Mute:
        """Tell nobody of the rule's alerts for that device for some time; they fire all the same."""
        await asyncio.to_thread(desk.mute, settings, rule=wanted.rule, device=wanted.device, minutes=wanted.minutes)
        await changed()
        return wanted

    @router.post("/alerts/unmute")
    async def unmute(wanted: Mute) -> Mute:
        """Tell people again."""
        await asyncio.to_thread(desk.unmute, settings, rule=wanted.rule, device=wanted.device)
        await changed()
        return wanted

    @router.post("/alerts/{alert_id}/acknowledge")
    async def acknowledge(alert_id: str, said: Acknowledgement) -> dict[str, Any]:
        """Somebody has seen it: no more reminders of this alert."""
        try:
            alert = await asyncio.to_thread(desk.acknowledge, settings, alert_id, by=said.by)
        except AlertError as error:
            raise HTTPException(404, str(error)) from error
        await changed()
        return as_told(alert)

    return router


# -- files -------------------------------------------------------------------------------------------------------------


class _Vendor(StaticFiles):
    """The chart library, from the package that brings it."""

    FILES: ClassVar = {"dygraph.js": "dygraph-combined.js", "dygraph.css": "dygraph.css"}

    def __init__(self) -> None:
        found = find_spec("dygraphs")  # found and not imported: its Python is of no use here
        places = list(found.submodule_search_locations or []) if found else []
        super().__init__(directory=Path(places[0]) / "assets" if places else None, check_dir=False)

    def lookup_path(self, path: str) -> Any:
        return super().lookup_path(self.FILES[path]) if path in self.FILES else ("", None)


def _compressed(app: ASGIApp) -> ASGIApp:
    """Answers of the API are packed where they are long; the page's files are small, the WebSocket is in a hurry."""
    packed = GZipMiddleware(app, minimum_size=PACKED_BYTES, compresslevel=PACKED_LEVEL)

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        of_api = scope["type"] == "http" and scope["path"].startswith(API)
        await (packed if of_api else app)(scope, receive, send)

    return choose


class _WithHeaders:
    """Adds what holds for all answers: security, and that a browser asks each time whether its copy is still good."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-cache")
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)

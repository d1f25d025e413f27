"""uvicorn inside a loop of ours: its sockets are opened by us, its signals stay with the process, its end is prompt."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from edge_assets.errors import PlatformError
from edge_assets.live.wire import Wire
from edge_assets.platform import endpoints

PING_SECONDS = 20.0
"""a viewer is asked for a sign of life so often, and has as long to give it"""
GOODBYE_SECONDS = 1
"""how long connections may take to end when the server stops"""


class Server(uvicorn.Server):
    """One listening address and what answers there."""

    def __init__(self, part: str, host: str, port: int, app: ASGIApp) -> None:
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        self._socket = _listen(part, host, port)
        self.port: int = self._socket.getsockname()[1]
        super().__init__(
            uvicorn.Config(
                app,
                ws=Wire,
                ws_per_message_deflate=False,  # small frames gain little, and each would take its time
                ws_ping_interval=PING_SECONDS,
                ws_ping_timeout=PING_SECONDS,
                ws_max_size=4_096,
                lifespan="auto",  # the API closes what it has opened
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=GOODBYE_SECONDS,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the business of who runs the service."""
        yield

    async def run_until_asked(self) -> None:
        """Serve until `should_exit` is set."""
        await self.serve(sockets=[self._socket])

    def let_go(self) -> None:
        """Free the address of a server that has not been run."""
        self._socket.close()


def _listen(part: str, host: str, port: int) -> socket.socket:
    endpoints.claim(part, host, port)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise PlatformError(
            f"starting {part} on {host}:{port}: {error.strerror or error}; set an address of this machine that is free"
        ) from error


async def run_all(servers: list[Server], beside: Iterable[Coroutine[Any, Any, None]], until: asyncio.Event) -> None:
    """Serve until the event is set. What runs beside the servers may end; where it raises, so do we, and so when a
    server ends by itself."""
    serving = [asyncio.create_task(server.run_until_asked()) for server in servers]
    others = [asyncio.create_task(one) for one in beside]
    stopping = asyncio.create_task(until.wait())
    waiting: set[asyncio.Task[Any]] = {stopping, *serving, *others}
    try:
        while not any(task.done() for task in (stopping, *serving)):
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in (stopping, *others):
            task.cancel()
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*serving)
        await asyncio.gather(stopping, *others, return_exceptions=True)

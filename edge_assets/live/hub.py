"""All viewers, and what each frame costs: it is encoded once, whoever looks.

A viewer first gets a `hello`, then the frames as they come. One that takes them more slowly than they come misses
some, and gets a new `hello` when it has caught up; one that takes nothing for long is cut off. What waits for it is
bounded, and nobody else waits for it.

A `hello` of many devices takes tens of milliseconds to encode. So it is made in small steps, between which frames go
out, and serves all who come within a second: each gets it with the frames since.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

from edge_assets.live.wire import Wire, framed

BACKLOG_BYTES = 512 * 1024
"""with more than this on its way, a viewer is behind"""
PATIENCE_SECONDS = 30.0
"""a viewer that takes nothing of its backlog for so long is cut off"""
SHARED_SECONDS = 1.0
SHARED_BYTES = 256 * 1024
"""how long a hello serves further viewers, and how much may have come since"""
HELLOS_AT_ONCE = 8
"""so many are on their way at a time: a hundred viewers come back at once after a restart"""

log = logging.getLogger(__name__)

Hello = Callable[[], Iterator[str]]
"""The pieces of a hello of now: what it tells is fixed by the first step, and each step is short."""


class Viewer:
    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.allowed = BACKLOG_BYTES
        self.behind = asyncio.Event()


class Hub:
    def __init__(self, hello: Hello, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._hello = hello
        self._patience = patience_seconds
        self._live: set[Viewer] = set()
        self._greeting: _Greeting | None = None
        self._turn = asyncio.Semaphore(HELLOS_AT_ONCE)
        self.ready = asyncio.Event()
        """set when there is something worth a hello: viewers wait for it"""
        self.viewers = 0
        self.frames = 0
        """frames made, however many viewers took each"""
        self.sent = 0
        """frames handed to viewers"""
        self.resyncs = 0
        """times that a viewer missed frames for being slow"""
        self.cut_off = 0

    @property
    def has_listeners(self) -> bool:
        """Whether a frame would reach anybody; without, none need be made."""
        return self.viewers > 0

    def send(self, text: str) -> None:
        """Hand a frame to all viewers that have had their hello, and keep it for those that are about to."""
        frame = framed(text)
        self.frames += 1
        if self._greeting:
            self._greeting.keep(frame)
        for viewer in list(self._live):
            self._push(viewer, frame)

    def _push(self, viewer: Viewer, frame: bytes) -> None:
        if viewer.wire.backlog > viewer.allowed:
            self._live.discard(viewer)
            self.resyncs += 1
            viewer.behind.set()
            return
        viewer.wire.push(frame)
        self.sent += 1

    async def attend(self, wire: Wire) -> None:
        """Serve a viewer until it is cut off; to be cancelled when it has gone."""
        viewer = Viewer(wire)
        self.viewers += 1
        try:
            await self.ready.wait()
            while True:
                async with self._turn:
                    await self._greet(viewer)
                await viewer.behind.wait()
                await self._caught_up(viewer)
        except TimeoutError:
            self.cut_off += 1
            wire.cut()
        except Exception:
            log.exception("a viewer could not be served")
            wire.cut()
        finally:
            self._live.discard(viewer)
            self.viewers -= 1
            if not self.viewers:
                self._greeting = None  # from now on nobody keeps what came since

    async def _greet(self, viewer: Viewer) -> None:
        """Between the frames since the hello and the first one of the tail there is no gap: no await either."""
        if self._greeting is None or self._greeting.is_old:
            self._greeting = _Greeting(self._hello())
        greeting = self._greeting
        async with greeting.made() as hello:
            viewer.behind.clear()
            for frame in (hello, *greeting.since):
                viewer.wire.push(frame)
        viewer.allowed = viewer.wire.backlog + BACKLOG_BYTES
        self._live.add(viewer)
        await self._caught_up(viewer)
        viewer.allowed = BACKLOG_BYTES

    async def _caught_up(self, viewer: Viewer) -> None:
        """Raises `TimeoutError` for a viewer that takes nothing for too long."""
        while True:
            waiting = viewer.wire.backlog
            try:
                return await asyncio.wait_for(viewer.wire.drained(), self._patience)
            except TimeoutError:
                if viewer.wire.backlog >= waiting:
                    raise

    def start_over(self) -> None:
        """A new hello for everybody."""
        self._greeting = None
        for viewer in self._live:
            viewer.behind.set()
        self._live.clear()

    def forget_greeting(self) -> None:
        """Let go of a hello that serves nobody any more; to be called now and then."""
        if self._greeting and self._greeting.is_old:
            self._greeting = None


class _Greeting:
    """One hello, and the frames since."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self.since: list[bytes] = []
        self._bytes_since = 0
        self._until = time.monotonic() + SHARED_SECONDS
        self._waiting = 0
        first = next(pieces)
        self._task = asyncio.create_task(_joined(first, pieces))

    @property
    def is_old(self) -> bool:
        return time.monotonic() > self._until or self._bytes_since > SHARED_BYTES

    @asynccontextmanager
    async def made(self) -> AsyncIterator[bytes]:
        """The hello, when it is ready; while the block lasts, no frame since is let go of."""
        self._waiting += 1
        try:
            yield await asyncio.shield(self._task)
        finally:
            self._waiting -= 1

    def keep(self, frame: bytes) -> None:
        if self._waiting or not self.is_old:
            self.since.append(frame)
            self._bytes_since += len(frame)


async def _joined(first: str, pieces: Iterator[str]) -> bytes:
    parts = [first]
    for piece in pieces:
        parts.append(piece)
        await asyncio.sleep(0)
    return framed("".join(parts))

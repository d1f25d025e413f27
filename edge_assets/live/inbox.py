"""From the broker's thread to the server's: messages in order, a burst for one wake-up, and no more than a bound."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from edge_assets.listening.heard import Message

MOST = 20_000
"""messages that wait: seconds of a busy house; beyond, the oldest go, as who looks wants the latest"""
TURN_SECONDS = 0.005
"""so long messages are taken in one go; then whoever else waits for the server has a turn"""

log = logging.getLogger(__name__)


class Inbox:
    def __init__(self, loop: asyncio.AbstractEventLoop, take: Callable[[Message], None], done: Callable[[], None]):
        """`take` has each message, `done` is called after each turn; both in the loop's thread."""
        self._loop = loop
        self._take = take
        self._done = done
        self._waiting: deque[Message] = deque()
        self._woken = False
        self.dropped = 0

    def put(self, message: Message) -> None:
        """From any one thread."""
        self._waiting.append(message)
        if len(self._waiting) > MOST:
            with suppress(IndexError):  # taken in this very moment
                self._waiting.popleft()
                self.dropped += 1
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):  # the server has ended
                self._loop.call_soon_threadsafe(self._turn)

    def _turn(self) -> None:
        # Before the first message is taken: one that comes meanwhile may wake us for nothing, but is never forgotten.
        self._woken = False
        until = time.monotonic() + TURN_SECONDS
        with suppress(IndexError):  # none left
            while time.monotonic() < until:
                self._take_one(self._waiting.popleft())
        self._done()
        if self._waiting and not self._woken:
            self._woken = True
            self._loop.call_soon(self._turn)

    def _take_one(self, message: Message) -> None:
        """What one message does to us concerns no other."""
        try:
            self._take(message)
        except Exception:
            log.exception("a message on %r could not be shown", message.topic)

"""What is on its way to Kafka, in order of arrival; and which PUBACKs may leave.

MQTT wants acknowledgements in the order of the messages (3.1.1, section 4.6), and a message may be acknowledged only
when the log has it. So one that is settled waits for all that came before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

Failed = Callable[["Pending", Any, Any], None]


class Pending:
    """One message on its way. It is its own delivery report: Kafka's answer is given to it by calling it."""

    __slots__ = ("failed", "header", "logged", "mid", "parts", "size")

    def __init__(self, mid: int, size: int, logged: bool, header: str = "", failed: Failed | None = None) -> None:
        self.mid = mid
        """packet identifier; 0 where nobody waits for an acknowledgement"""
        self.size = size
        """bytes that it holds in memory"""
        self.logged = logged
        """whether it is a QoS 1 message that goes to the log"""
        self.header = header
        self.failed = failed
        self.parts = 1
        """delivery reports that are still to come; 0: settled"""

    def __call__(self, error: Any, record: Any) -> None:
        if error is None:
            self.parts -= 1
        else:
            self.failed(self, error, record)  # type: ignore[misc]


class Acks:
    """The queue of pending messages. Bounded by its user: `len` and `bytes` say when to stop reading."""

    def __init__(self) -> None:
        self._queue: deque[Pending] = deque()
        self.add = self._queue.append
        self.bytes = 0
        """payload bytes of the messages on their way; the user adds, `settled` subtracts"""

    def __len__(self) -> int:
        return len(self._queue)

    def settled(self) -> list[int]:
        """Take the settled ones off the front; the packet identifiers to acknowledge, in order."""
        queue, mids = self._queue, []
        while queue and not queue[0].parts:
            one = queue.popleft()
            self.bytes -= one.size
            if one.mid:
                mids.append(one.mid)
        return mids

    def disconnected(self) -> int:
        """The connection is gone: nobody waits any more. How many logged QoS 1 messages have had no PUBACK.

        They are the last that were logged: the queue is in order of arrival.
        """
        for one in self._queue:
            one.mid = 0
        return sum(one.logged for one in self._queue)

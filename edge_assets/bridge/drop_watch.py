"""The broker's own counter of messages that it threw away, read over a second connection.

Overflow at the broker is loss, and only the broker knows of it. Mosquitto publishes its counter, for all of its
clients together, under $SYS; a broker that does not, or does not let us read it, is shown as `None`.
"""

from __future__ import annotations

import logging
from typing import Any

from edge_assets.bridge.memory import Memory
from edge_assets.bridge.mqtt_in import LAST_DELAY_SECONDS, make_client
from edge_assets.platform.broker import address
from edge_assets.settings import Settings

DROPPED_TOPIC = "$SYS/broker/publish/messages/dropped"

log = logging.getLogger(__name__)


class DropWatch:
    """Reads the counter in a thread of paho's. `look` moves the news into the memory, in the bridge's own thread."""

    def __init__(self, settings: Settings) -> None:
        self.total: int | None = None
        """the broker's counter since its own start"""
        self._client = make_client(settings, f"{settings.bridge.id}-watch", clean_session=True, reconnect=True)
        self._client.on_connect = lambda client, *_: client.subscribe(DROPPED_TOPIC, 0)
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, int(LAST_DELAY_SECONDS))
        self._client.connect_async(*address(settings), keepalive=60)
        self._client.loop_start()

    def look(self, memory: Memory) -> int:
        """Messages dropped since the last look; the memory knows the counter across starts of the bridge."""
        total = self.total
        if total is None or total == memory.dropped_total:
            return 0
        news = dropped_since(memory.dropped_total, total)
        memory.dropped_total = total
        memory.dropped_by_broker += news
        return news

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:
        try:
            self.total = int(message.payload)
        except ValueError:
            log.debug("%s says %r", message.topic, message.payload)


def dropped_since(before: int, now: int) -> int:
    """How far the counter went. It begins at 0 when the broker starts; what was before our first look is not ours."""
    if before < 0:
        return 0
    return now - before if now >= before else now

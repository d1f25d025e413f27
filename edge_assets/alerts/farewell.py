"""An alerter that is switched off for good: the broker is told, which would otherwise queue for it without end."""

from __future__ import annotations

import logging
import time

from edge_assets.platform.broker import address
from edge_assets.settings import Settings

PATIENCE_SECONDS = 5.0

log = logging.getLogger(__name__)


def session_id(settings: Settings) -> str:
    """The MQTT client identifier of this platform's alerter, whose session the broker keeps."""
    return f"{settings.bridge.id}-alerter"


def leave(settings: Settings) -> bool:
    """Give the session up where alerts are switched off and an alerter has run here. True where that was done.

    To be called at a start, when the broker is up. One that does not answer is asked again at the next start.
    """
    if settings.alerts.enabled or not (settings.home / "alerts").exists():
        return False
    from edge_assets.bridge.mqtt_in import make_client

    client = make_client(settings, session_id(settings), clean_session=True)
    try:
        client.connect(*address(settings))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not client.is_connected() and time.monotonic() < deadline:
            client.loop(0.1)
        greeted = client.is_connected()
        client.disconnect()
    except (OSError, ValueError) as error:
        log.warning("the alerter's session stays with the broker, which queues for it: %s", error)
        return False
    return greeted

"""The stand-in for Mosquitto where none can be had: amqtt, in a process of its own.

It keeps sessions and queues in memory only, and forgets a message that was sent and not yet acknowledged when its
client dies (and after five seconds without an acknowledgement): the platform runs on it, the promise does not hold.

    python -m edge_assets.platform.amqtt_broker     settings from the environment, the port resolved
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import signal

from amqtt.broker import Broker
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from edge_assets.settings import load_settings


class KeepSessions(BaseAuthPlugin):
    """Lets in whoever the settings let in. amqtt's own plugins take no session of an unnamed client for persistent."""

    async def authenticate(self, *, session: Session) -> bool:
        mqtt = load_settings().mqtt
        if mqtt.username is None:
            return True
        password = mqtt.password.get_secret_value() if mqtt.password else ""
        return session.username == mqtt.username and hmac.compare_digest(session.password or "", password)


async def serve() -> None:
    mqtt = load_settings().mqtt
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{mqtt.bind}:{mqtt.port}"}},
            "plugins": {f"{KeepSessions.__module__}.{KeepSessions.__name__}": {}},
        }
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await broker.start()
    await stop.wait()
    await broker.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(serve())

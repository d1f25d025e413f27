"""The reference of `edge bench bridge`: the plainest loop of paho and confluent-kafka that acknowledges late.

Each message is acknowledged when Kafka has it, as the delivery reports come; nothing keeps it from logging one twice
after a crash. `python -m edge_assets.bench.plain_bridge` with the settings in the environment.
"""

from __future__ import annotations

import threading
from typing import Any

import paho.mqtt.client as paho
from confluent_kafka import Producer
from paho.mqtt.enums import CallbackAPIVersion

from edge_assets.platform.broker import address
from edge_assets.platform.log import client_options
from edge_assets.settings import Settings, load_settings


def main(settings: Settings) -> None:
    """Until killed."""
    topic = settings.bridge.routes[0].topic or ""
    options = {"enable.idempotence": True, "acks": "all", "linger.ms": 5}
    producer = Producer({**client_options(settings), **options})
    client = paho.Client(
        CallbackAPIVersion.VERSION2, client_id=settings.bridge.id, clean_session=False, manual_ack=True
    )

    def on_message(client: Any, userdata: Any, message: paho.MQTTMessage) -> None:
        mid, qos = message.mid, message.qos
        headers: list[tuple[str, str | bytes | None]] = [("mqtt", f"qos={qos} mid={mid}".encode())]
        producer.produce(
            topic, bytes(message.payload), message.topic, headers=headers, on_delivery=lambda *_: client.ack(mid, qos)
        )
        producer.poll(0)

    client.on_message = on_message
    client.on_connect = lambda client, *_: client.subscribe(settings.bridge.routes[0].filter, 1)
    client.connect(*address(settings))
    threading.Thread(target=_poll, args=(producer,), daemon=True).start()
    client.loop_forever()


def _poll(producer: Producer) -> None:
    while True:
        producer.poll(0.01)


if __name__ == "__main__":
    main(load_settings())

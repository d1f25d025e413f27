"""Kafka, Spark and Dagster's daemon are dead: alerts are told all the same, the page shows them, and nothing is lost.

Without a supervisor nobody brings the dead back, so it dies first. When the platform has come up again, each event of
each alert is in `silver.alerts` once, and `edge verify` holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from websockets.sync.client import connect

from edge_assets.alerts import desk
from edge_assets.errors import LakeError
from edge_assets.platform.endpoints import remembered
from edge_assets.service import lock_holder, read_status
from edge_assets.settings import AlertSettings, Settings
from edge_assets.warehouse.sql import run_sql
from edge_assets.warehouse.verify import verify
from edge_assets_tests.alert_rig import Receiver
from edge_assets_tests.bridge_rig import Publisher
from edge_assets_tests.conftest import Mosquitto
from edge_assets_tests.faults.platform_under_test import Platform, until

pytestmark = [pytest.mark.java, pytest.mark.broker, pytest.mark.timeout(600)]

RULES = """
rules:
  - name: too-warm
    condition: {measurement: temperature, above: 30, clear: 28}
    severity: critical
    message: "{device} has {value}"
"""
DEAD = ("kafka", "daemon", "stream_writer", "stream_jvm", "bridge")


@pytest.fixture
def webhook() -> Iterator[Receiver]:
    """A channel of a person's own."""
    with Receiver() as running:
        yield running


@pytest.fixture
def platform(settings: Settings, mosquitto: Mosquitto, webhook: Receiver) -> Iterator[Platform]:
    home = settings.home.with_name("platform")
    home.mkdir(parents=True)
    (home / "alerts.yaml").write_text(RULES)
    running = Platform(
        settings.model_copy(
            update={
                "home": home,
                "stream": settings.stream.model_copy(update={"trigger_seconds": 0.5}),
                "alerts": AlertSettings.model_validate({"notify": {"hook": webhook.url}}),
                "live": settings.live.model_copy(update={"enabled": True}),
                # Who has killed half of the platform would hear of that by the same channel.
                "notices": settings.notices.model_copy(update={"enabled": False}),
            }
        )
    )
    running.up()
    yield running
    running.down()


def test_alerts_need_neither_kafka_nor_spark_nor_dagsters_daemon(platform: Platform, webhook: Receiver) -> None:
    settings = platform.settings
    for service in ("alerter", "bridge"):
        until(partial(is_connected, settings, service), f"{service} at the broker", 120)
    until(lambda: platform.pid("stream_jvm"), "the stream writer", 120)
    page = settings.live
    until(partial(is_connected, settings, "live"), "the live page", 120)
    with Publisher(settings) as sent:
        publish_until(sent, "building/lab/telemetry", 35, lambda: len(webhook.messages) == 1, "the first alert")
        publish_until(sent, "building/lab/telemetry", 20, lambda: len(webhook.messages) == 2, "its end")

        platform.forsake()
        killed = platform.kill(*DEAD)
        assert set(killed) == set(DEAD), "some of them had not been alive"
        with connect(f"ws://127.0.0.1:{page.port}/ws", origin=f"http://127.0.0.1:{page.port}") as viewer:  # type: ignore[arg-type]
            assert json.loads(viewer.recv(10))["type"] == "hello"
            publish_until(sent, "building/attic/telemetry", 36, lambda: len(webhook.messages) == 3, "the alert alone")
            assert "attic" in webhook.messages[-1] or "36" in webhook.messages[-1]
            until(lambda: shows_alert(json.loads(viewer.recv(10)), "attic"), "the alert on the page", 10)
        (alert,) = desk.alerts(settings, open_only=True)
        assert (alert.device_id, alert.rule) == ("attic", "too-warm")
        assert not any(platform.pid(victim) for victim in DEAD)

    platform.up()
    until(lambda: len(events(settings)) >= len(EXPECTED), "all events in silver.alerts", 180)
    assert sorted(events(settings)) == sorted(EXPECTED)
    report = verify(remembered(settings))
    assert report.holds, report.as_dict()


EXPECTED = [
    *(("lab", "firing"), ("lab", "notified"), ("lab", "cleared"), ("lab", "notified")),
    *(("attic", "firing"), ("attic", "notified")),
]


def publish_until(sent: Publisher, topic: str, temperature: float, condition: Any, what: str) -> None:
    """Publish one message, and wait for what follows: a second, not a batch of the stream."""
    sent.publish(topic, json.dumps({"temperature": temperature}).encode())
    until(condition, what, 10)


def is_connected(settings: Settings, service: str) -> bool:
    return bool(lock_holder(settings, service) and read_status(settings, service).get("connected"))


def shows_alert(frame: dict[str, Any], device_id: str) -> bool:
    return frame["type"] == "alert" and frame["alert"]["device_id"] == device_id


def events(settings: Settings) -> list[tuple[str, str]]:
    """(device, transition) of each row of `silver.alerts`."""
    try:
        rows = json.loads(run_sql(settings, "select device_id, transition from silver.alerts", "json"))
    except LakeError:
        return []
    return [(row["device_id"], row["transition"]) for row in rows]

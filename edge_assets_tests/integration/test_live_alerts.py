"""An alert on the page: the real alerter fires, a person acknowledges and mutes it, and every viewer sees it."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from edge_assets.alerts import loop as alerter
from edge_assets.service import read_status, run_service
from edge_assets.settings import Settings
from edge_assets_tests.bridge_rig import Publisher
from edge_assets_tests.conftest import Mosquitto
from edge_assets_tests.live_rig import RunningLive, Viewer, live_settings, until

pytestmark = pytest.mark.broker

RULES = """
rules:
  - name: too-warm
    condition: {measurement: temperature, above: 30, clear: 28}
    message: "{device} is too warm"
"""


@contextmanager
def running_alerter(settings: Settings) -> Iterator[None]:
    settings.home.mkdir(parents=True, exist_ok=True)
    (settings.home / "alerts.yaml").write_text(RULES)
    stop = threading.Event()
    thread = threading.Thread(target=run_service, args=("alerter", alerter.run, settings, stop))
    thread.start()
    try:
        until(lambda: read_status(settings, "alerter").get("connected"))
        yield
    finally:
        stop.set()
        thread.join(30)


def post(live: RunningLive, path: str, said: dict[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Origin": f"http://{live.address}"}
    address = f"http://{live.address}/api/v1/alerts/{path}"
    request = urllib.request.Request(address, json.dumps(said).encode(), headers, method="POST")
    answer: dict[str, Any] = json.load(urllib.request.urlopen(request))
    return answer


def alert_of(viewer: Viewer, **fields: Any) -> dict[str, Any]:
    """The alert, once it is told as the fields say."""

    def told() -> dict[str, Any] | None:
        fits = (one for one in viewer.alerts().values() if fields.items() <= one.items())
        return next(fits, None)

    found: dict[str, Any] = viewer.read_until(told)
    return found


def test_alert_fires_is_acknowledged_muted_and_clears(settings: Settings, mosquitto: Mosquitto) -> None:
    own = live_settings(settings)
    with (
        RunningLive(own) as live,
        running_alerter(own),
        live.viewer() as viewer,
        live.viewer() as other,
        Publisher(own) as publisher,
    ):
        warm = threading.Event()
        publishing = threading.Thread(target=_say_until, args=(publisher, b"31.5", warm))
        publishing.start()
        fired = alert_of(viewer, rule="too-warm", cleared_at=None)
        warm.set()
        publishing.join()
        assert fired["device_id"] == "pico/dht22" and "too warm" in fired["message"] and not fired["muted"]

        acknowledged = post(live, f"{fired['alert_id']}/acknowledge", {"by": "Ada"})
        assert acknowledged["acknowledged_by"] == "Ada"
        for one in (viewer, other):
            assert alert_of(one, acknowledged_by="Ada")["acknowledged_at"]
        post(live, "mute", {"rule": "too-warm", "device": "pico/dht22", "minutes": 5})
        assert alert_of(other, muted=True)["alert_id"] == fired["alert_id"]
        post(live, "unmute", {"rule": "too-warm", "device": "pico/dht22"})

        publisher.publish("pico/temperature/dht22", b"20")
        other.read_until(lambda: other.alerts()[fired["alert_id"]]["cleared_at"])
        with pytest.raises(urllib.error.HTTPError, match="404"):
            post(live, f"{fired['alert_id']}/acknowledge", {})
    with pytest.raises(urllib.error.URLError):
        post(live, "mute", {})


@pytest.mark.parametrize(
    ("path", "said"), [("mute", {"minutes": 0}), ("mute", {"minutes": "long"}), ("mute", {"rule": 5}), ("mute", [])]
)
def test_request_that_makes_no_sense_is_refused(
    settings: Settings, mosquitto: Mosquitto, path: str, said: dict[str, Any]
) -> None:
    with RunningLive(live_settings(settings)) as live, pytest.raises(urllib.error.HTTPError, match="422"):
        post(live, path, said)


def _say_until(publisher: Publisher, value: bytes, stop: threading.Event) -> None:
    """The alerter asks for descriptions first, and hears the rest from a second later on."""
    while not stop.wait(0.1):
        publisher.publish("pico/temperature/dht22", value)

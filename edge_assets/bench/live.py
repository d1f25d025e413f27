"""`edge bench live`: from a sensor's publish to the screen of a real browser, at 30 and 500 messages a second, with 1
viewer and with 50.

Twenty plugs publish their state of ten readings in turn, each message with the time at which it was handed to the MQTT
client. A headless Chromium shows the live page; in the very frame in which the page has painted a point (the end of its
`requestAnimationFrame`) the time is taken, to the millisecond, on the same machine's clock: what is left until light
leaves the screen is the compositor's and the screen's. The other viewers are plain WebSocket clients beside it.

References of the same run: the same messages at a plain MQTT client, and at a plain WebSocket client.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from edge_assets.bench.browser import Browser
from edge_assets.bench.figures import percentiles
from edge_assets.bench.live_listeners import MEASUREMENT
from edge_assets.errors import PlatformError
from edge_assets.platform import broker, endpoints
from edge_assets.service import read_status
from edge_assets.settings import Settings

RATES = (30, 500)
VIEWERS = (1, 50)
SECONDS = 30.0
WARM_UP_SECONDS = 5.0
PLUGS = 20
DEADLINE_SECONDS = 60

_NOTE = f"""
    window.noted = [];
    edgeLive.onPaint((points) => {{
      const now = Date.now();
      for (const point of points) if (point[1] === "{MEASUREMENT}") noted.push(now - point[3]);
    }});
    true
"""


def run(settings: Settings, seconds: float = SECONDS) -> dict[str, Any]:
    """Milliseconds from publish to paint, as p50, p95, p99 and max; the server's memory and CPU time."""
    own = _own_settings(settings)
    found: dict[str, Any] = {"seconds_each": seconds, "readings_a_message": 10, "cores": os.cpu_count()}
    mosquitto = broker.start(own)
    try:
        for viewers in VIEWERS:
            for rate in RATES:
                found[f"{rate}_per_s_{viewers}_viewers"] = _measure(own, rate, viewers, seconds)
    finally:
        broker.stop(mosquitto)
        shutil.rmtree(own.home, ignore_errors=True)
    return found


def _own_settings(settings: Settings) -> Settings:
    home = settings.home / "bench" / "live"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    ports = {"port": endpoints.free_port(), "host": "127.0.0.1"}
    mqtt = settings.mqtt.model_copy(update={"host": None, "port": endpoints.free_port(), "tls": False})
    live = settings.live.model_copy(update=ports)
    metrics = settings.metrics.model_copy(update={**ports, "port": endpoints.free_port()})
    return endpoints.resolve(settings.model_copy(update={"home": home, "mqtt": mqtt, "live": live, "metrics": metrics}))


def _measure(settings: Settings, rate: int, viewers: int, seconds: float) -> dict[str, Any]:
    with _server(settings) as server, _listeners(settings, viewers - 1) as listeners, Browser() as browser:
        browser.open(f"http://127.0.0.1:{settings.live.port}/")
        browser.wait_for("window.edgeLive && edgeLive.connection === 'live'")
        _publish(settings, rate, WARM_UP_SECONDS)
        browser.evaluate(_NOTE)
        before = _cpu_seconds(server)
        sent = _publish(settings, rate, seconds)
        browser.wait_for(f"noted.length >= {sent}", DEADLINE_SECONDS)
        busy, memory = _cpu_seconds(server) - before, server.memory_info().rss
        painted = browser.evaluate("noted")
        heard = json.loads(listeners.communicate()[0].splitlines()[-1])
        if browser.problems:
            raise RuntimeError(f"the page complains: {browser.problems}")
    return {
        "messages": sent,
        "painted": percentiles(painted, "ms", 99),
        **{
            f"reference_{name}": percentiles(latencies[-sent:], "ms", 99)
            for name, latencies in heard.items()
            if latencies
        },
        "server_rss_mb": round(memory / 1e6),
        "server_cpu_us_a_message": round(busy / sent * 1e6),
    }


def _cpu_seconds(process: psutil.Process) -> float:
    spent = process.cpu_times()
    return spent.user + spent.system


@contextmanager
def _server(settings: Settings) -> Iterator[psutil.Process]:
    """The live server as a process of its own."""
    log = settings.home / "live.log"
    environment = {**os.environ, **settings.environment()}
    with log.open("ab") as out:
        process = subprocess.Popen([sys.executable, "-m", "edge_assets.live"], env=environment, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (status := read_status(settings, "live")).get("pid") != process.pid or not status.get("connected"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise PlatformError(f"the live server does not start: {log.read_text()[-500:]}")
            time.sleep(0.05)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def _listeners(settings: Settings, viewers: int) -> Iterator[subprocess.Popen[str]]:
    ports = (str(settings.mqtt.port), str(settings.live.port), str(viewers))
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_assets.bench.live_listeners", "127.0.0.1", *ports],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise PlatformError("the other viewers of the bench did not come: see what they said above")
        yield process
    finally:
        process.kill()
        process.wait(10)


def _publish(settings: Settings, rate: int, seconds: float) -> int:
    """Publish at that rate for so long. Returns how many, when the broker has them all."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", settings.mqtt.port)
    client.loop_start()
    client.publish("zigbee2mqtt/bridge/devices", json.dumps(_description()), 1, retain=True).wait_for_publish(10)
    begun, chance = time.monotonic(), random.Random(rate)
    count = int(rate * seconds)
    for number in range(count):
        # By chance within its turn: in step with the screen's own rate, all would fall into one place of its frame.
        time.sleep(max(0.0, begun + (number + chance.random()) / rate - time.monotonic()))
        last = client.publish(f"zigbee2mqtt/plug {number % PLUGS}", json.dumps(_state(number)), 1)
    last.wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
    return count


_NUMBERS = ("power", "current", "voltage", "energy", "energy_today", "energy_yesterday", "energy_month", "linkquality")


def _state(number: int) -> dict[str, Any]:
    values = {name: (number * place) % 997 / 10 for place, name in enumerate(_NUMBERS, start=1)}
    return {**values, "state": "ON", MEASUREMENT: time.time_ns() / 1e6}


def _description() -> list[dict[str, Any]]:
    exposes = [{"type": "numeric", "property": name} for name in (*_NUMBERS, MEASUREMENT)]
    exposes.append({"type": "binary", "property": "state", "value_on": "ON", "value_off": "OFF"})
    return [
        {
            "ieee_address": f"0x{0x00124B0000000000 + number:016x}",
            "friendly_name": f"plug {number}",
            "type": "Router",
            "definition": {"model": "S60ZBTPF", "vendor": "SONOFF", "exposes": exposes},
        }
        for number in range(PLUGS)
    ]

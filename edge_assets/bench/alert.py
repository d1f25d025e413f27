"""`edge bench alert`: from a sensor's message to the notification handed over; 500 rules, 500 messages a second.

A real Mosquitto, QoS 1, fifty plugs that each say their whole state ten times a second, and a real webhook. Ten times a
second one of them is over its level for one message: the clock runs from its PUBLISH to the webhook's having the text.
Two are told the same, one after the other:

    plain      the plainest loop of paho, json and an HTTP connection that is kept: no rules, no state, no promise
    alerter    ours as the service runs: decoded, judged by 500 rules (ten for each plug), stored, through Apprise

The alerter also tells that each alert has cleared, so its webhook is called twice as often.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from edge_assets.bench.figures import percentiles
from edge_assets.bridge.memory import Memory
from edge_assets.errors import PlatformError
from edge_assets.platform import broker, endpoints
from edge_assets.service import read_status
from edge_assets.settings import Settings, load_settings

DEVICES, RULES_EACH = 50, 10
PER_SECOND = 500
PROBES_PER_SECOND = 10
SECONDS = 30.0
LEVEL = 100_000
"""of power; what is over it is a probe, and its value the probe's number"""
DEADLINE_SECONDS = 120
WARM_UP_SECONDS = 2.0


def run(settings: Settings, seconds: float = SECONDS) -> dict[str, Any]:
    """Latencies in milliseconds, in a home of its own below the platform's."""
    with _webhook() as webhook:
        own = _own_settings(settings, webhook.port)
        mosquitto = broker.start(own)
        try:
            found: dict[str, Any] = {
                "messages_per_second": PER_SECOND,
                "rules": DEVICES * RULES_EACH,
                "seconds": seconds,
                "cores": os.cpu_count(),
            }
            with _process(own, "edge_assets.bench.alert", str(webhook.port)) as process:
                found["plain"] = _measured(own, webhook, process, seconds)
            with _process(own, "edge_assets.alerts") as process:
                _until(lambda: _listens(own), "the alerter listens")
                found["alerter"] = _measured(own, webhook, process, seconds)
                found["alerter"]["fired"] = read_status(own, "alerter").get("fired")
            return found
        finally:
            broker.stop(mosquitto)


def _own_settings(settings: Settings, port: int) -> Settings:
    home = settings.home / "bench" / "alert"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    Memory(settled=True).save(settings.model_copy(update={"home": home}))  # as a bridge leaves it that has subscribed
    (home / "alerts.yaml").write_text(_rules())
    mqtt = settings.mqtt.model_copy(update={"host": None, "port": endpoints.free_port(), "tls": False})
    alerts = type(settings.alerts)(notify={"web": f"json://127.0.0.1:{port}"})  # type: ignore[dict-item]
    return endpoints.resolve(settings.model_copy(update={"home": home, "mqtt": mqtt, "alerts": alerts}))


def _rules() -> str:
    """For each plug one that the probes fire, and nine that watch and stay quiet."""
    lines = ["rules:"]
    for plug in range(DEVICES):
        lines.append(
            f"  - {{name: over-{plug}, devices: plug {plug}, condition: {{measurement: power, above: {LEVEL}}}, "
            'message: "{value}", cleared_message: cleared}'
        )
        quiet = (f"measurement: {name}, above: {LEVEL * 100}" for name in ("power", "current", "voltage", "energy"))
        others = [
            *quiet,
            "measurement: power, below: -1",
            "measurement: power, rises_by: 1000000, within: 10m",
            "measurement: voltage, unchanged_for: 1d",
            "offline: true",
            f"all: [{{measurement: power, above: {LEVEL}}}, {{measurement: voltage, below: 1}}]",
        ]
        lines += [
            f"  - {{name: quiet-{plug}-{n}, devices: plug {plug}, condition: {{{one}}}}}"
            for n, one in enumerate(others)
        ]
    return "\n".join(lines)


# -- load, and what comes of it --------------------------------------------------------------------------------------


def _measured(
    settings: Settings, webhook: _Webhook, process: subprocess.Popen[bytes], seconds: float
) -> dict[str, Any]:
    import psutil

    watched = psutil.Process(process.pid)
    _until(lambda: _warm(settings, webhook), "the warm-up is told")
    before = sum(watched.cpu_times()[:2])
    _say(settings, webhook, seconds)
    cpu = sum(watched.cpu_times()[:2]) - before
    with suppress(PlatformError):  # what is not told by then is missing
        _until(lambda: len(webhook.told) >= len(webhook.said), "all is told", seconds=10)
    took = [(webhook.told[n] - at) * 1000 for n, at in webhook.said.items() if n in webhook.told]
    found: dict[str, Any] = {
        "probes": len(webhook.said),
        "missing": len(webhook.said) - len(took),
        "repeated": webhook.repeated,
    }
    found |= percentiles(took, "ms", 99)
    rss = round(watched.memory_info().rss / 1e6)
    webhook.forget()
    return {**found, "cpu_share": round(cpu / seconds, 2), "rss_mb": rss}


def _warm(settings: Settings, webhook: _Webhook) -> bool:
    """Whether all of a short load is told: who has subscribed hears it."""
    webhook.forget()
    _say(settings, webhook, WARM_UP_SECONDS)
    with suppress(PlatformError):
        _until(lambda: len(webhook.told) >= len(webhook.said), "the warm-up is told", seconds=3)
    whole = len(webhook.told) >= len(webhook.said)
    webhook.forget()
    return whole


def _say(settings: Settings, webhook: _Webhook, seconds: float) -> None:
    """Fifty plugs, evenly spread over each second; every so many messages one is a probe."""
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(1_000)
    client.connect(*broker.address(settings))
    client.loop_start()
    begun = time.monotonic()
    count = int(seconds * PER_SECOND)
    for number in range(count):
        due = begun + number / PER_SECOND
        if (early := due - time.monotonic()) > 0:
            time.sleep(early)
        # A stride that has no factor in common with the plugs: each of them has its turn to be the probe.
        probe = number % (PER_SECOND // PROBES_PER_SECOND) == number // DEVICES % DEVICES
        power = webhook.next_probe() if probe else number % 1_000
        state = {"power": power, "current": number % 16, "voltage": 230 + number % 5, "energy": number / 1_000}
        info = client.publish(f"zigbee2mqtt/plug {number % DEVICES}", json.dumps(state), qos=1)
    info.wait_for_publish(DEADLINE_SECONDS)
    client.disconnect()
    client.loop_stop()


class _Webhook:
    """An HTTP server that notes when it was told of which probe, and what was said when."""

    def __init__(self) -> None:
        self.said: dict[int, float] = {}
        self.told: dict[int, float] = {}
        self.repeated = 0
        self._last = LEVEL
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["message"]
                webhook.hear(message, time.monotonic())
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]

    def next_probe(self) -> int:
        self._last += 1
        self.said[self._last] = time.monotonic()
        return self._last

    def hear(self, message: str, at: float) -> None:
        if message.isdigit() and int(message) in self.said:
            self.repeated += int(message) in self.told
            self.told.setdefault(int(message), at)

    def forget(self) -> None:
        self.said, self.told, self.repeated = {}, {}, 0


@contextmanager
def _webhook() -> Iterator[_Webhook]:
    webhook = _Webhook()
    threading.Thread(target=webhook.server.serve_forever, daemon=True).start()
    try:
        yield webhook
    finally:
        webhook.server.shutdown()
        webhook.server.server_close()


@contextmanager
def _process(settings: Settings, module: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, **settings.environment()}
    with (settings.home / f"{module}.log").open("ab") as output:
        command = [sys.executable, "-m", module, *words]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _listens(settings: Settings) -> bool:
    status = read_status(settings, "alerter")
    return bool(status.get("connected")) and status.get("catching_up") is False


def _until(condition: Any, what: str, seconds: float = DEADLINE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise PlatformError(f"bench alert: not in {seconds} s: {what}; see the logs in the bench's home")
        time.sleep(0.02)


# -- the reference ---------------------------------------------------------------------------------------------------


def plain(settings: Settings, port: int) -> None:
    """Until it is ended: each message that is over the level is a POST, there and then."""
    from http.client import HTTPConnection

    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    web = HTTPConnection("127.0.0.1", port)

    def on_message(client: Any, userdata: Any, message: Any) -> None:
        power = json.loads(message.payload)["power"]
        if power > LEVEL:
            web.request("POST", "/", json.dumps({"message": str(power)}))
            web.getresponse().read()

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda client, *_: client.subscribe("zigbee2mqtt/#", 1)
    client.on_message = on_message
    client.connect(*broker.address(settings))
    client.loop_forever()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    plain(load_settings(), int(sys.argv[1]))

"""The embedded MQTT broker: which one, its start and stop.

EDGE_HOME/mosquitto/mosquitto.conf    written at each start from the settings
EDGE_HOME/mosquitto/mosquitto.db      sessions and queues, saved every `mqtt.autosave_seconds` and at a clean stop
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edge_assets.errors import DownloadError, PlatformError, SettingsError
from edge_assets.platform import endpoints, mosquitto, process
from edge_assets.platform.process import Process
from edge_assets.settings import Settings

NAME = "broker"
START_SECONDS = 20
STOP_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Engine:
    """A broker that can be started. `mosquitto` is its executable; None is amqtt, for the reason in `instead`."""

    mosquitto: Path | None
    instead: str = field(default="")

    def __str__(self) -> str:
        return str(self.mosquitto) if self.mosquitto else "amqtt"


def ensure(settings: Settings, progress: Callable[[str], None] | None = None) -> Engine:
    """Find the broker to run, fetching Mosquitto where it is not installed.

    Raises `DownloadError` where the settings ask for Mosquitto and it can't be had, `SettingsError` where they ask
    for TLS, which is for a broker of the user's own.
    """
    if settings.mqtt.tls:
        raise SettingsError(
            "setting EDGE_MQTT__TLS: the embedded broker speaks no TLS, it listens on this machine only; "
            "set EDGE_MQTT__HOST to a broker of yours, or leave TLS off"
        )
    if settings.mqtt.engine == "amqtt":
        return Engine(None, "the settings ask for it")
    found = mosquitto.find() or mosquitto.unpacked(settings)
    if found:
        return Engine(found)
    try:
        return Engine(mosquitto.unpack(settings, progress))
    except DownloadError as error:
        if settings.mqtt.engine == "mosquitto":
            raise
        return Engine(None, str(error))


def start(settings: Settings, engine: Engine | None = None) -> Process:
    """Start the embedded broker and wait until it takes connections.

    Raises `PlatformError` with the broker's own last words.
    """
    running = launch(settings, engine or ensure(settings))
    wait_until_up(settings, running)
    return running


def launch(settings: Settings, engine: Engine) -> Process:
    """Start the broker's process. The port in `settings` must be resolved.

    Raises `PlatformError` where the port is taken.
    """
    endpoints.claim("the MQTT broker", settings.mqtt.bind, settings.mqtt.port)
    command, environment = _command(settings, engine)
    return process.start(settings, NAME, command, environment)


def stop(running: Process) -> None:
    """Stop it so that it saves its queues."""
    running.stop(STOP_SECONDS)


def wait_until_up(settings: Settings, running: Process) -> None:
    up = process.wait_until(lambda: not running.alive or answers(settings), START_SECONDS)
    if up and running.alive:
        return
    problem = f"no answer in {START_SECONDS} s" if running.alive else f"ended with code {running.exit_code}"
    words = running.last_words()
    running.stop(STOP_SECONDS)
    host, port = address(settings)
    aside = mosquitto.set_aside_unreadable(settings.home / "mosquitto", words)
    then = f"what it had queued was moved to {aside}, start again without it" if aside else f"see {running.log}"
    raise PlatformError(f"starting the MQTT broker on {host}:{port}: {problem}; it said: {words or 'nothing'}; {then}")


def answers(settings: Settings) -> bool:
    """Whether something takes connections at the broker's address."""
    try:
        with socket.create_connection(address(settings), timeout=2):
            return True
    except OSError:
        return False


def address(settings: Settings) -> tuple[str, int]:
    """Host and port at which clients reach the broker, the user's or ours."""
    host = settings.mqtt.host or endpoints.reachable(settings.mqtt.bind)
    return host, settings.mqtt.port or (8883 if settings.mqtt.tls else 1883)


def _command(settings: Settings, engine: Engine) -> tuple[list[str], dict[str, str]]:
    if engine.mosquitto is None:
        return [sys.executable, "-m", "edge_assets.platform.amqtt_broker"], {**os.environ, **settings.environment()}
    folder = settings.home / "mosquitto"
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "mosquitto.conf"
    configuration.write_text(mosquitto.configuration(settings, folder))
    return [str(engine.mosquitto), "-c", str(configuration)], mosquitto.environment(engine.mosquitto)

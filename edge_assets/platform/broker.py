"""The embedded MQTT broker: which one, its configuration, its start and stop.

EDGE_HOME/mosquitto/mosquitto.conf    written at each start from the settings
EDGE_HOME/mosquitto/mosquitto.db      sessions and queues, saved every `mqtt.autosave_seconds` and at a clean stop
"""

from __future__ import annotations

import base64
import getpass
import hashlib
import os
import secrets
import shutil
import socket
from pathlib import Path
from typing import Any

from edge_assets.errors import PlatformError
from edge_assets.platform import endpoints, process
from edge_assets.platform.process import Process
from edge_assets.settings import Settings

NAME = "broker"
START_SECONDS = 20
STOP_SECONDS = 15
SYS_INTERVAL_SECONDS = 10
MOSQUITTO_PLACES = ("/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto")


def start(settings: Settings) -> Process:
    """Start the embedded broker and wait until it takes connections. The port in `settings` must be resolved.

    Raises `PlatformError` with the broker's own last words.
    """
    endpoints.claim("the MQTT broker", settings.mqtt.bind, settings.mqtt.port)
    executable = find_mosquitto()
    if executable is None:
        raise PlatformError("starting an MQTT broker: no mosquitto on PATH; your system's package manager has it")
    folder = settings.home / "mosquitto"
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "mosquitto.conf"
    configuration.write_text(_configuration(settings, folder))
    started = process.start(settings, NAME, [str(executable), "-c", str(configuration)], os.environ)
    wait_until_up(settings, started)
    return started


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
    raise PlatformError(
        f"starting the MQTT broker on {address(settings)[0]}:{address(settings)[1]}: {problem}; "
        f"it said: {words or 'nothing'}; see {running.log}"
    )


def answers(settings: Settings) -> bool:
    """Whether something takes connections at the broker's address."""
    try:
        with socket.create_connection(address(settings), timeout=2):
            return True
    except OSError:
        return False


def address(settings: Settings) -> tuple[str, int]:
    """Host and port at which clients reach the broker, the user's or ours."""
    host = settings.mqtt.host or ("127.0.0.1" if settings.mqtt.bind == "0.0.0.0" else settings.mqtt.bind)
    return host, settings.mqtt.port or (8883 if settings.mqtt.tls else 1883)


def find_mosquitto() -> Path | None:
    """Mosquitto on PATH or where systems put it: `sbin` is often not on a user's PATH."""
    on_path = shutil.which("mosquitto")
    places = [Path(on_path)] if on_path else [Path(place) for place in MOSQUITTO_PLACES]
    return next((place for place in places if os.access(place, os.X_OK)), None)


def _configuration(settings: Settings, folder: Path) -> str:
    """Mosquitto's configuration; every option is known to 2.0.11 (Debian 12) and later."""
    mqtt = settings.mqtt
    values: dict[str, Any] = {
        "listener": f"{mqtt.port} {mqtt.bind}",
        "user": getpass.getuser(),  # as root it would drop to a user that may not write here
        "persistence": "true",
        "persistence_location": f"{folder}/",
        "autosave_interval": mqtt.autosave_seconds,
        # What a device sends at QoS 0 is queued for the bridge like the rest, and redelivered.
        "upgrade_outgoing_qos": "true",
        "queue_qos0_messages": "true",
        "max_queued_messages": mqtt.queue_max_messages,
        "max_queued_bytes": mqtt.queue_max_bytes,
        "max_inflight_messages": mqtt.max_inflight,
        "sys_interval": SYS_INTERVAL_SECONDS,
        "set_tcp_nodelay": "true",
        "log_dest": "stderr",
        "log_timestamp_format": "%Y-%m-%dT%H:%M:%S",
        **_access(settings, folder),
    }
    kinds = "".join(f"log_type {kind}\n" for kind in ("error", "warning", "notice"))
    return "".join(f"{name} {value}\n" for name, value in values.items()) + kinds


def _access(settings: Settings, folder: Path) -> dict[str, str]:
    if settings.mqtt.username is None:
        return {"allow_anonymous": "true"}
    password = settings.mqtt.password.get_secret_value() if settings.mqtt.password else ""
    file = folder / "passwords"
    file.touch(mode=0o600)
    file.write_text(_password_line(settings.mqtt.username, password))
    return {"allow_anonymous": "false", "password_file": str(file)}


def _password_line(username: str, password: str, iterations: int = 101) -> str:
    """A line of a Mosquitto 2 password file: PBKDF2 with SHA-512, as `mosquitto_passwd` writes it."""
    salt = secrets.token_bytes(12)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    return f"{username}:$7${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}\n"

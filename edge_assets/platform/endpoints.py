"""Where the parts of this platform listen: ports that were left open (0) are chosen once and remembered.

EDGE_HOME/run/endpoints.json    the ports that were taken, by setting
"""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path
from typing import Any

from edge_assets.errors import PlatformError
from edge_assets.service import write_json
from edge_assets.settings import DagsterSettings, LiveSettings, MetricsSettings, Settings

CUSTOMARY = {
    ("mqtt", "port"): 1883,
    ("kafka", "port"): 9092,
    ("kafka", "controller_port"): 9093,
    ("dagster", "port"): 3000,
    ("dagster", "grpc_port"): 4266,
    ("live", "port"): 8090,
    ("metrics", "port"): 8000,
}

SERVERS = range(20_000, 32_000)


def resolve(settings: Settings) -> Settings:
    """The settings with every address filled in, choosing the ports that are still open.

    A remembered port stays as long as nobody else has taken it; then the customary one, then any free one. To be
    called by the one that is about to start the parts (it holds the platform's lock).
    """
    known = remembered_ports(settings)
    chosen: dict[tuple[str, str], int] = {}
    for section, name in _open(settings):
        wishes = [known.get(f"{section}.{name}"), CUSTOMARY[section, name]]
        chosen[section, name] = _choose(_bind_address(settings, section), wishes, set(chosen.values()))
    write_json(_path(settings), {f"{section}.{name}": port for (section, name), port in chosen.items()})
    return _filled(settings, chosen)


def remembered(settings: Settings) -> Settings:
    """The settings with every address filled in as the platform of this home last had them; starts nothing."""
    known = remembered_ports(settings)
    ports = {(section, name): known.get(f"{section}.{name}", CUSTOMARY[section, name]) for section, name in CUSTOMARY}
    return _filled(settings, {place: ports[place] for place in _open(settings)})


def claim(part: str, address: str, port: int) -> None:
    """Make sure that a part can have its port. Raises `PlatformError`."""
    if port and not is_free(address, port):
        raise PlatformError(
            f"starting {part} on {address}:{port}: the port is taken by another program; "
            "stop that one, or set another port (0: any free one)"
        )


def free_port(address: str = "127.0.0.1") -> int:
    """Any free port that a client's end of a connection is never given.

    Of those that are (from 32,768 on Linux) one could be taken while a killed server is away, by its own clients first
    of all: one that tries to connect may be given the very port that it connects to, and then is connected to itself.
    """
    while True:
        port = random.choice(SERVERS)
        if is_free(address, port):
            return port


def _open(settings: Settings) -> list[tuple[str, str]]:
    """The ports that nobody set, of the parts that the platform runs itself."""
    own = {"mqtt": settings.mqtt.host is not None, "kafka": settings.kafka.bootstrap is not None}
    return [
        (section, name)
        for section, name in CUSTOMARY
        if getattr(getattr(settings, section), name) == 0 and not own.get(section, False)
    ]


def _filled(settings: Settings, ports: dict[tuple[str, str], int]) -> Settings:
    updates: dict[str, dict[str, Any]] = {section: {} for section, _ in CUSTOMARY}
    for (section, name), port in ports.items():
        updates[section][name] = port
    if settings.mqtt.host is None:
        updates["mqtt"]["host"] = reachable(settings.mqtt.bind)
    elif settings.mqtt.port == 0:
        updates["mqtt"]["port"] = 8883 if settings.mqtt.tls else 1883
    if settings.kafka.bootstrap is None:
        updates["kafka"]["bootstrap"] = f"127.0.0.1:{updates['kafka'].get('port', settings.kafka.port)}"
    sections = {
        name: getattr(settings, name).model_copy(update=changes) for name, changes in updates.items() if changes
    }
    return settings.model_copy(update=sections)


def reachable(bind: str) -> str:
    """The address at which something that listens on `bind` is reached from this machine."""
    return "127.0.0.1" if bind in ("0.0.0.0", "") else "::1" if bind == "::" else bind


def url(listens: DagsterSettings | LiveSettings | MetricsSettings) -> str:
    """Where a page of this platform is, seen from this machine."""
    host = reachable(listens.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{listens.port}"


def _bind_address(settings: Settings, section: str) -> str:
    if section == "mqtt":
        return settings.mqtt.bind
    return "127.0.0.1" if section == "kafka" else getattr(settings, section).host


def _choose(address: str, wishes: list[int | None], taken: set[int]) -> int:
    for port in wishes:
        if port and port not in taken and is_free(address, port):
            return port
    return free_port(address)


def is_free(address: str, port: int) -> bool:
    """Whether a server could listen there. Connections of a former server that linger do not count."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True


def remembered_ports(settings: Settings) -> dict[str, int]:
    """The ports that the platform of this home has chosen, by setting: those that nobody set."""
    try:
        return json.loads(_path(settings).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _path(settings: Settings) -> Path:
    return settings.home / "run" / "endpoints.json"

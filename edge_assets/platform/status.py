"""What runs in a home and where, for `edge status` and for other programs."""

from __future__ import annotations

from typing import Any

from edge_assets.defs.shutdown import SERVICES
from edge_assets.platform import broker, disk, endpoints, health, log, parts, supervisor
from edge_assets.service import lock_holder, read_status
from edge_assets.settings import Settings

_OWN_KEYS = {"service", "pid", "state", "started_at", "updated_at"}


def status(settings: Settings) -> dict[str, Any]:
    """The platform's state as plain data; the names are a contract for scripts.

    `services` has the platform's parts (state: waiting, starting, up, down, stopped) and the services that Dagster
    runs (state: running, stopped), those with their latest counters, and where a person has terminated one, since
    when it stays stopped (`stopped_by_a_person`). Addresses are those of the last start.
    """
    resolved = endpoints.remembered(settings)
    holder = lock_holder(settings, supervisor.NAME)
    known = read_status(settings, supervisor.NAME) if holder else {}
    host, port = broker.address(resolved)
    return {
        "running": holder is not None and known.get("state") == "running",
        "state": known.get("state", "starting") if holder else "stopped",
        "pid": holder,
        "home": str(settings.home),
        "lake": str(settings.lake_path),
        "services": {**known.get("services", {}), **{name: _service(settings, name) for name in SERVICES}},
        "mqtt": {"host": host, "port": port},
        "kafka": {"bootstrap": log.bootstrap(resolved)},
        "dagster": {"url": endpoints.url(resolved.dagster)},
        "disk": {space.what: {"path": str(space.path), "free_mb": space.free_mb} for space in disk.spaces(settings)},
        "live": {"url": endpoints.url(resolved.live) if resolved.live.enabled else None},
        "metrics": {"devices": f"{endpoints.url(resolved.metrics)}/metrics" if resolved.live.enabled else None},
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The same for a person."""
    head = f"the platform of {found['home']} is {'up' if found['running'] else found['state']}"
    rows = [f"  {name:16}{_row(service)}" for name, service in found["services"].items()]
    where = [
        f"  Dagster {found['dagster']['url']}, MQTT {found['mqtt']['host']}:{found['mqtt']['port']}, "
        f"Kafka {found['kafka']['bootstrap']}",
        f"  lake {found['lake']}",
        *(
            [f"  live page {found['live']['url']}, metrics {found['metrics']['devices']}"]
            if found["live"]["url"]
            else []
        ),
    ]
    free = ", ".join(f"{space['free_mb'] / 1e3:,.1f} GB for {what}" for what, space in found["disk"].items())
    return [head, *rows, f"  free: {free}", *_lost(found), *(where if found["running"] else [])]


def _lost(found: dict[str, Any]) -> list[str]:
    """What expired in the log before it was read: a loss stays one, so it stays in sight."""
    lost = found["services"].get("stream_writer", {}).get("counters", {}).get("lost") or {}
    if not lost.get("records"):
        return []
    return [f"  LOST: {lost['records']:,} records expired before they were read; newest: {'; '.join(lost['ranges'])}"]


def _service(settings: Settings, name: str) -> dict[str, Any]:
    """A service by its lock, which is the proof of life; its status file may be older than its death."""
    holder = lock_holder(settings, name)
    known = read_status(settings, name)
    terminated = None if holder else health.terminated_at(parts.dagster_home(settings), name)
    return {
        "state": "running" if holder else "stopped",
        "stopped_by_a_person": terminated,
        "pid": holder,
        "since": known.get("started_at") if holder else known.get("updated_at"),
        "updated_at": known.get("updated_at"),
        "counters": {key: value for key, value in known.items() if key not in _OWN_KEYS},
    }


def _row(service: dict[str, Any]) -> str:
    pid = f" (pid {service['pid']})" if service["pid"] else ""
    since = f" since {service['since']}" if service.get("since") else ""
    restarts = f", restarted {service['restarts']} times" if service.get("restarts") else ""
    if terminated := service.get("stopped_by_a_person"):
        return f"stopped by a person since {terminated}: it stays so; launch its job in Dagster to start it"
    problem = (service.get("counters") or {}).get("problem")
    return f"{service['state']}{pid}{since}{restarts}{f': {problem}' if problem else ''}"

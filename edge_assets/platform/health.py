"""Whether something is well, asked from outside and in no time: for starts that wait, and for containers' checks.

    python -m edge_assets.platform.health port 127.0.0.1:4266
    python -m edge_assets.platform.health page http://127.0.0.1:3000/server_info
    python -m edge_assets.platform.health daemon /data/edge/dagster
    python -m edge_assets.platform.health status /data/edge/run/simulators.json

The exit code is the answer: 0 well, 1 not (a line says why). An engine asks every half minute, on a Pi too, so nothing
is imported here but what Python brings: settings alone would take ten times as long.
"""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

SECONDS = 5.0
HEARTBEAT_SECONDS = 120.0
"""Dagster's daemon notes that it lives every 30 s"""
STATUS_SECONDS = 60.0
"""a service writes its status each second; a card that is busy delays that"""


def takes_connections(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=SECONDS):
            return True
    except OSError:
        return False


def serves_page(address: str) -> bool:
    """Whether an HTTP address answers with 200."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=SECONDS)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def heartbeat_age(dagster_home: Path) -> float | None:
    """Seconds since Dagster's daemon last said that it looks at its sensors; None where it never did."""
    file = dagster_home / "history" / "runs.db"
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=SECONDS)) as database:
            found = database.execute("SELECT timestamp FROM daemon_heartbeats WHERE daemon_type = 'SENSOR'").fetchone()
    except sqlite3.Error:
        return None
    return _age(found[0]) if found else None


def terminated_at(dagster_home: Path, job: str) -> str | None:
    """When a person terminated the newest run of a job (ISO, UTC); None where it did not end so.

    A service with such a run stays stopped (`edge_assets.defs.keep_alive`).
    """
    newest = "SELECT status, end_time FROM runs WHERE pipeline_name = ? ORDER BY id DESC LIMIT 1"
    file = dagster_home / "history" / "runs.db"
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=SECONDS)) as database:
            found = database.execute(newest, [job]).fetchone()
    except sqlite3.Error:
        return None
    if not found or found[0] != "CANCELED":
        return None
    return datetime.fromtimestamp(found[1] or 0, UTC).isoformat(timespec="seconds")


def status_age(file: Path) -> float | None:
    """Seconds since a service last wrote its status; None where it never did, or has stopped."""
    try:
        status = json.loads(file.read_text())
        return _age(status["updated_at"]) if status["state"] == "running" else None
    except (OSError, ValueError, KeyError):
        return None


def _age(written: str) -> float:
    """Times without a zone are UTC. A clock that was set back makes none negative."""
    at = datetime.fromisoformat(written)
    return max((datetime.now(UTC) - (at if at.tzinfo else at.replace(tzinfo=UTC))).total_seconds(), 0.0)


def problem(what: str, where: str) -> str | None:
    """What is wrong, for a person; None where it is well."""
    if what == "port":
        host, _, port = where.rpartition(":")
        return None if takes_connections(host, int(port)) else f"{where} takes no connections"
    if what == "page":
        return None if serves_page(where) else f"{where} does not answer with 200"
    age, most = {
        "daemon": lambda: (heartbeat_age(Path(where)), HEARTBEAT_SECONDS),
        "status": lambda: (status_age(Path(where)), STATUS_SECONDS),
    }[what]()
    if age is None:
        return f"{where} says nothing of it"
    return None if age <= most else f"{where}: last sign of life {age:.0f} s ago, expected one in {most:.0f} s"


if __name__ == "__main__":
    words = problem(*sys.argv[1:3])
    if words:
        print(words)
    sys.exit(1 if words else 0)

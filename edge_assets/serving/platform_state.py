"""How the platform is, for a page and for dashboards: states and counts. Paths, process ids and addresses stay in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from edge_assets.settings import Settings
from edge_assets.warehouse.rollups.layout import database_path

_OF_A_SERVICE = ("state", "since", "updated_at", "restarts")


def shown(settings: Settings) -> dict[str, Any]:
    """`edge status`, without what only the machine's owner needs."""
    from edge_assets.platform.status import status

    found = status(settings)
    return {
        "site": settings.site,
        "running": found["running"],
        "state": found["state"],
        "services": {name: _service(service) for name, service in found["services"].items()},
        "disk": {what: {"free_mb": space["free_mb"]} for what, space in found["disk"].items()},
        "rollups": _rollups(settings),
    }


def _service(service: dict[str, Any]) -> dict[str, Any]:
    has_problem = bool((service.get("counters") or {}).get("problem"))
    return {**{name: service.get(name) for name in _OF_A_SERVICE}, "has_problem": has_problem}


def _rollups(settings: Settings) -> dict[str, Any]:
    try:
        found = database_path(settings).stat()
    except FileNotFoundError:
        return {"published_at": None, "age_seconds": None, "bytes": None}
    at = datetime.fromtimestamp(found.st_mtime, UTC)
    age = max((datetime.now(UTC) - at).total_seconds(), 0)
    return {"published_at": at.isoformat(timespec="seconds"), "age_seconds": round(age), "bytes": found.st_size}

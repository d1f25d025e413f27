"""What the tests of backups share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edge_assets.backup import manifest, place
from edge_assets.backup.restoring import restore
from edge_assets.settings import LakeSettings, Settings
from edge_assets.warehouse.sql import run_sql


def restored(settings: Settings, there: str, home: Path, at: str | None = None) -> Settings:
    done = restore(settings, there, at, home)
    assert done.home == str(home)
    return settings.model_copy(update={"home": home, "lake": LakeSettings()})


def everything(settings: Settings, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run_sql(settings, f"SELECT * FROM {table} ORDER BY ALL", "json"))
    return found


def kept(there: str) -> list[str]:
    return manifest.ids(place.Folder(Path(there)))


def stored_files(there: str) -> list[Path]:
    return [path for path in (Path(there) / manifest.FILES).rglob("*") if path.is_file()]

"""`python -m edge_assets.upgrades`: make the home of the settings one of this version. `edge up` calls it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from edge_assets import lake_claim, object_store
from edge_assets.errors import EdgeError, LakeError
from edge_assets.service import lock_in_turn
from edge_assets.settings import Settings, load_settings
from edge_assets.upgrades import SAID, dagster_storage, home_format, lake_tables

LOCK = "upgrade"
PATIENCE_SECONDS = 900.0


def main() -> int:
    """Returns the exit code: 0 it is of this version, else that of what keeps it from being so."""
    try:
        upgrade(load_settings(), say)
    except EdgeError as error:
        say(str(error))
        return error.exit_code
    return 0


def upgrade(settings: Settings, say: Callable[[str], None]) -> None:
    """All steps, from whatever state a home is in. Raises `EdgeError`: with Dagster's storage as it was."""
    home_format.refuse_newer(settings)
    lake_claim.ensure_where_reached(settings, say)
    _lacking(settings, lambda line: None)  # for what it refuses, before anything is touched
    if _dagster_differs(settings):
        dagster_storage.require_room(settings)
    with lock_in_turn(settings, LOCK, PATIENCE_SECONDS):  # of an `edge up` that was killed, this process may live on
        if _dagster_differs(settings):
            dagster_storage.migrate(settings, os.environ, say)
        for widening in _lacking(settings, say):
            lake_tables.widen(settings, widening)
            say(f"{widening.table.full_name} has new columns: {', '.join(column.name for column in widening.missing)}")
        home_format.write_current(settings)
    say(f"the home is of format {home_format.FORMAT}")


def _dagster_differs(settings: Settings) -> bool:
    return home_format.read(settings).dagster != home_format.current().dagster


def _lacking(settings: Settings, say: Callable[[str], None]) -> list[lake_tables.Widening]:
    """A bucket that is away keeps the bridge from nothing: its tables are widened when the stream writer finds it."""
    try:
        object_store.get(settings, settings.lake_path / lake_claim.NAME)
    except LakeError as error:
        say(f"{error}; its tables are looked at when it is back")
        return []
    return lake_tables.wanted(settings)


def say(line: str) -> None:
    print(f"{SAID}{line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m edge_assets.upgrades.dagster_schema`: what `dagster instance migrate` does, and of one database more.

Dagster finds the databases of runs by the pattern `*.db`, which leaves out `.db`: what was reported without a run, and
so all that the stream reports. The instance is that of DAGSTER_HOME.
"""

from __future__ import annotations

import dagster as dg
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.sql import get_alembic_config, run_alembic_upgrade

WITHOUT_A_RUN = ""


def main() -> None:
    """Raises what Dagster and SQLite raise: whatever it is, the storage is put back."""
    with dg.DagsterInstance.get() as instance:
        instance.upgrade(print)
        events = instance.event_log_storage
        assert isinstance(events, sqlite_event_log.SqliteEventLogStorage)
        with events.run_connection(WITHOUT_A_RUN) as connection:
            run_alembic_upgrade(get_alembic_config(sqlite_event_log.__file__), connection, WITHOUT_A_RUN)


if __name__ == "__main__":
    main()

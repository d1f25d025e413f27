"""What Dagster has no call for taking out of its storage: reports, what deleted runs leave behind, free pages.

It speaks SQL, with Dagster's own schema modules, so that a version that renames something is noticed by the tests on
the real storage. Files are SQLite's, which is the default; another storage gives its space back in its own way.

| what | where it lies | bytes each (dagster 1.13.27) |
|---|---|---|
| a report without a run: materialization, check, freshness | `history/runs/index.db`, and once more in `.db` | 1,500 |
| a look of a sensor, schedule or automation (a tick): Dagster's own ages leave out some | `schedules/schedules.db` | |
| a run's events | `history/runs/<run>.db`, which `delete_run` leaves behind | 130,000 |
| free pages: used again, and never given back | each of them | |
| what is written ahead (`-wal`): keeps the largest size that it had | each of them | |
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from edge_assets.defs.storage import FILES

FREE_SHARE = 0.25
FREE_BYTES = 4_000_000
"""free pages are used again; a file is written anew only where more than this, and that share of it, is free"""
BUSY_SECONDS = 30.0
SIDE_FILES = ("", "-wal", "-shm")


def delete_reports(instance: dg.DagsterInstance, before: float) -> int:
    """Delete what was reported without a run before that time (seconds since 1970), except the latest: of each asset
    and kind, of each partition's materializations, of each check."""
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events

    storage: Any = instance.event_log_storage
    when = _time(before)
    old = db.and_(Events.c.run_id == "", Events.c.timestamp < when)
    latest = db.select(db.func.max(Events.c.id)).group_by(
        Events.c.asset_key, Events.c.dagster_event_type, Events.c.partition
    )
    with storage.index_connection() as connection:
        # Evaluations of checks are told apart by a table of their own.
        kept = _old_evaluations_kept(connection, when)
        delete = Events.delete().where(old, Events.c.id.not_in(latest), Events.c.id.not_in(kept))
        deleted = connection.execute(delete).rowcount
    if hasattr(storage, "path_for_shard"):
        # SQLite: the same again in the file of run '', which nobody reads.
        with storage.run_connection("") as connection:
            connection.execute(Events.delete().where(old))
    return deleted


def _old_evaluations_kept(connection: Any, when: datetime) -> list[int]:
    """Delete old evaluations of checks; returns the events of those that are the latest of their check."""
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as Checks

    latest = db.select(db.func.max(Checks.c.id)).group_by(Checks.c.asset_key, Checks.c.check_name)
    connection.execute(Checks.delete().where(Checks.c.create_timestamp < when, Checks.c.id.not_in(latest)))
    rows = connection.execute(db.select(Checks.c.evaluation_event_storage_id))
    return [row[0] for row in rows if row[0] is not None]


def keep_latest_materializations(instance: dg.DagsterInstance, run_id: str) -> None:
    """Before its run is deleted, make the latest materialization of each partition a report without a run: a day that
    was made stays made, and no page calls it missing."""
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events

    made = Events.c.dagster_event_type == "ASSET_MATERIALIZATION"
    storage: Any = instance.event_log_storage
    with storage.index_connection() as connection:
        of_run = db.and_(made, Events.c.run_id == run_id)
        keys = db.select(Events.c.asset_key).where(of_run).distinct()
        latest = (
            db.select(db.func.max(Events.c.id))
            .where(made, Events.c.asset_key.in_(keys))
            .group_by(Events.c.asset_key, Events.c.partition)
        )
        connection.execute(Events.update().where(of_run, Events.c.id.in_(latest)).values(run_id=""))


def delete_ticks(instance: dg.DagsterInstance, before: float) -> int:
    """Delete looks of sensors, schedules and automation before that time, except the latest of each."""
    import sqlalchemy as db
    from dagster._core.storage.schedules.schema import JobTickTable as Ticks

    storage: Any = instance.schedule_storage
    latest = db.select(db.func.max(Ticks.c.id)).group_by(Ticks.c.job_origin_id, Ticks.c.selector_id)
    with storage.connect() as connection:
        old = Ticks.delete().where(Ticks.c.timestamp < _time(before), Ticks.c.id.not_in(latest))
        deleted: int = connection.execute(old).rowcount
        return deleted


def delete_lost_files(instance: dg.DagsterInstance, before: float) -> int:
    """Delete the files of runs that are gone: a cut between two deletions leaves them. Returns how many there were."""
    path_of = getattr(instance.event_log_storage, "path_for_shard", None)
    if path_of is None:
        return 0
    known = {f"{run_id}.db" for run_id in instance.get_run_ids()} | {Path(name).name for name in FILES}
    lost = [path for path in Path(path_of("x")).parent.glob("*.db") if path.name not in known]
    old = [path for path in lost if path.stat().st_mtime < before]
    for path in old:
        delete_file(path)
    return len(old)


def delete_file(database: Path) -> None:
    for suffix in SIDE_FILES:
        Path(f"{database}{suffix}").unlink(missing_ok=True)


def used_bytes(dagster_home: Path) -> int:
    """What Dagster's storage holds: the files of runs whole, those of all runs without their free pages."""
    shared = {dagster_home / name for name in FILES}
    runs = [path for path in (dagster_home / "history" / "runs").glob("*.db*") if not _is_of(path, shared)]
    return sum(_pages(path)[0] for path in shared if path.is_file()) + sum(_size(path) for path in runs)


def give_back(dagster_home: Path) -> dict[str, int]:
    """Give free space back to the disk: files with many free pages are written anew, logs of all are cut to nothing.

    Returns the bytes that each file has become smaller by. Whoever writes meanwhile waits. Raises `sqlite3.Error`.
    """
    freed = {}
    for name in FILES:
        path = dagster_home / name
        if not path.is_file():
            continue
        before = sum(_size(Path(f"{path}{suffix}")) for suffix in SIDE_FILES)
        used, free = _pages(path)
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
            if free > FREE_BYTES and free > FREE_SHARE * (used + free):
                connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        after = sum(_size(Path(f"{path}{suffix}")) for suffix in SIDE_FILES)
        if before > after:
            freed[name] = before - after
    return freed


def _pages(path: Path) -> tuple[int, int]:
    """Bytes in pages that are used, and in free ones, of a database."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as connection:
        size, pages, free = (
            int(connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_size", "page_count", "freelist_count")
        )
    return (pages - free) * size, free * size


def _is_of(path: Path, shared: set[Path]) -> bool:
    return any(path.name == f"{known.name}{suffix}" for known in shared for suffix in SIDE_FILES)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _time(at: float) -> datetime:
    """As Dagster writes times: UTC without saying so."""
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=None)

"""Make an old home: `python -m edge_assets_tests.old_homes.make COMMIT NAME`, in a clone with the whole history.

What that commit's own code says is written as it says: tables by its contract (`edge_assets.tables`), with the rows
that its own tests write (`edge_assets_tests.lake_tables`), its table properties and its commits' notes; Dagster's
databases by its instance's settings. It is done by deltalake in Spark's place, so that anybody can do it in seconds.

No earlier Dagster was installed when these were made, so its databases are taken back by Dagster's own migrations, to
the schema that Dagster had in the summer of 2024 (`SCHEMA`): the upgrade has as much to do as one that skips two years.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from edge_assets_tests.old_homes import ARCHIVES

SCHEMA = "284a732df317"
WRITES = """
import sys
from datetime import timedelta
from pathlib import Path
import pyarrow as pa
from deltalake import CommitProperties, write_deltalake
from edge_assets import tables
from edge_assets.settings import load_settings
from edge_assets.stream.lake import PROPERTIES, Note
from edge_assets_tests import lake_tables as made

settings = load_settings(_env_file=None, home=Path(sys.argv[1]))
PLACE = (made.LOG_ID, made.TOPIC, 0)

def write(table, rows, note):
    columns = made.schema(table)
    rows = [{name: row.get(name) for name in columns.names} for row in rows]
    path = Path(settings.lake_path) / table.layer / table.name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = pa.Table.from_pylist(rows, schema=columns)
    told = CommitProperties(custom_metadata={"userMetadata": note.encode()})
    by = list(table.partitioned_by) or None
    write_deltalake(path, data, mode="append", partition_by=by, configuration=PROPERTIES, commit_properties=told)

for batch in (1, 2):
    first, end = (batch - 1) * 50, batch * 50
    note = Note(batch=batch, positions={PLACE: end}, registry_version=0)
    read = [n for n in range(first, end) if n % 10]
    write(tables.DEVICES, [made.device("0x01")] if batch == 1 else [], note)
    events = [made.event(n, "read" if n % 10 else "ignored", batch=batch) for n in range(first, end)]
    write(tables.BRONZE_EVENTS, events, note)
    write(tables.DEAD_LETTERS, [], note)
    write(tables.READINGS, [made.reading(n, name) for n in read for name in ("contact", "battery")], note)

if hasattr(tables, "gold_tables"):
    from edge_assets.stream.gold.silver import State
    room = "telemetry.lab"
    note = Note(batch=3, positions={PLACE: 100, (made.LOG_ID, room, 0): 90}, registry_version=0)
    spoken = [made.AT + timedelta(seconds=2 * n) for n in range(90)]
    times = [{"event_time": at, "received_at": at, "date": at.date()} for at in spoken]
    told = {"site": "home", "room_id": "lab", "event_time_source": "payload", "quality": "good", "temperature": 20.5}
    events = [made.event(n, "read", 1, batch=3, **at, **made.position(n, topic=room)) for n, at in enumerate(times)]
    write(tables.BRONZE_EVENTS, events, note)
    write(tables.ROOM_TELEMETRY, [{**told, **at, **made.position(n, topic=room)} for n, at in enumerate(times)], note)
    until = made.AT + timedelta(seconds=150)
    state = State(batch=3, until=int(until.timestamp() * 1_000_000), repaired=0)
    for window in settings.windows.tables:
        size, step = timedelta(seconds=window.size_seconds), timedelta(seconds=window.step_seconds)
        starts = [made.AT + n * step for n in range(100) if made.AT + n * step + size <= until]
        figures = {"room_id": "lab", "avg_temperature": 20.5, "min_temperature": 20.5, "max_temperature": 20.5}
        rows = [{**figures, "window_start": at, "window_end": at + size, "date": at.date()} for at in starts]
        write(tables.window_table(window), rows, state)
"""
SPEAKS = """
import dagster as dg

@dg.op
def look():
    pass

@dg.job
def looks():
    look()

with dg.DagsterInstance.get() as instance:
    looks.execute_in_process(instance=instance)
    for rows in range(5):
        instance.report_runless_asset_event(dg.AssetMaterialization(["silver", "readings"], metadata={"rows": rows}))
"""
DOWNGRADE = """
import sqlite3, sys
from pathlib import Path
import alembic.command
import sqlalchemy as db
import dagster._core.storage.event_log.sqlite.sqlite_event_log as events
import dagster._core.storage.runs.sqlite.sqlite_run_storage as runs
import dagster._core.storage.schedules.sqlite.sqlite_schedule_storage as schedules
from dagster._core.storage.sql import get_alembic_config

home, schema = Path(sys.argv[1]), sys.argv[2]
for path in sorted(home.rglob("*.db")):
    where = schedules if path.name == "schedules.db" else runs if path.name == "runs.db" else events
    config = get_alembic_config(where.__file__)
    engine = db.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.downgrade(config, schema)
    engine.dispose()
    with sqlite3.connect(path) as opened:
        opened.execute("PRAGMA journal_mode = DELETE")
        opened.execute("VACUUM")
"""


def main(commit: str, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        code, home = Path(folder) / "code", Path(folder) / "home"
        code.mkdir()
        tar = subprocess.run(["git", "archive", commit], check=True, capture_output=True).stdout
        subprocess.run(["tar", "x", "-C", str(code)], input=tar, check=True)
        dagster = home / "dagster"
        dagster.mkdir(parents=True)
        settings = (code / "edge_assets" / "platform" / "dagster.yaml").read_text()
        (dagster / "dagster.yaml").write_text(settings)
        environment = {**os.environ, "PYTHONPATH": str(code), "DAGSTER_HOME": str(dagster)}
        speaks = Path(folder) / "speaks.py"
        speaks.write_text(SPEAKS)
        for words in (["-c", WRITES, str(home)], [str(speaks)], ["-c", DOWNGRADE, str(dagster), SCHEMA]):
            subprocess.run([sys.executable, *words], env=environment, cwd=folder, check=True)
        with tarfile.open(ARCHIVES / f"{name}.tar.xz", "w:xz") as archive:
            archive.add(home, ".")


if __name__ == "__main__":
    main(*sys.argv[1:])

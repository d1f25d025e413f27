"""Make an old home: `python -m edge_assets_tests.old_homes.make COMMIT NAME`, in a clone with the whole history.

That commit's own code runs the platform for a minute, in a home of its own with few simulated devices, and stops it.
What no upgrade looks at is left out (Kafka's and Mosquitto's files, logs, Spark's checkpoints). No earlier Dagster was
installed when these were made, so its databases are taken back by Dagster's own migrations, to the schema that Dagster
had in the summer of 2024 (`SCHEMA`): the upgrade then has as much to do as one that skips two years of Dagster.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from edge_assets_tests.old_homes import ARCHIVES

SCHEMA = "284a732df317"
SECONDS = 60
LEFT_OUT = ("kafka", "mosquitto", "broker", "logs", "spark", "stream", "tmp", "upgrade")
FEW_DEVICES = {
    "EDGE_SIMULATORS__DOORS": "1",
    "EDGE_SIMULATORS__PLUGS": "1",
    "EDGE_SIMULATORS__ROOMS": "1",
    "EDGE_SIMULATORS__ROOMS_INTERVAL_SECONDS": "2",
    "EDGE_SIMULATORS__SPEED": "20",
    "EDGE_STREAM__TRIGGER_SECONDS": "20",
}
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
        tar = subprocess.run(["git", "archive", commit, "edge_assets"], check=True, capture_output=True).stdout
        subprocess.run(["tar", "x", "-C", str(code)], input=tar, check=True)
        environment = {**os.environ, "PYTHONPATH": str(code), "EDGE_HOME": str(home), **_known(code)}
        edge = [sys.executable, "-m", "edge_assets.cli"]
        subprocess.run([*edge, "up", "--detach"], env=environment, cwd=folder, check=True)
        time.sleep(SECONDS)
        subprocess.run([*edge, "down"], env=environment, cwd=folder, check=True)
        subprocess.run([sys.executable, "-c", DOWNGRADE, str(home / "dagster"), SCHEMA], cwd=folder, check=True)
        for left_out in LEFT_OUT:
            shutil.rmtree(home / left_out, ignore_errors=True)
        with tarfile.open(ARCHIVES / f"{name}.tar.xz", "w:xz") as archive:
            archive.add(home, ".")


def _known(code: Path) -> Mapping[str, str]:
    """The settings for few devices that this version has."""
    settings = (code / "edge_assets" / "settings.py").read_text()
    return {key: value for key, value in FEW_DEVICES.items() if f" {key.partition('__')[2].lower()}:" in settings}


if __name__ == "__main__":
    main(*sys.argv[1:])

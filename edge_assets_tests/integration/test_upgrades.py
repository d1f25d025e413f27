"""A home of an earlier version: migrated, or refused as it was; and what a kill in the midst of it leaves."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from edge_assets import upgrades
from edge_assets.errors import EdgeError, LakeError, PlatformError, SettingsError
from edge_assets.platform import container, parts, supervisor
from edge_assets.platform.console import Console
from edge_assets.platform.doctor import examine
from edge_assets.settings import RENAMED, Settings, load_settings
from edge_assets.stream.durability import note_before
from edge_assets.tables import all_tables, window_table
from edge_assets.upgrades import dagster_storage, home_format, lake_tables
from edge_assets.upgrades.__main__ import upgrade
from edge_assets.warehouse.sql import run_sql
from edge_assets_tests import old_homes


@pytest.fixture(params=old_homes.NAMES)
def old(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """A home that an earlier version wrote."""
    old_homes.unpack(request.param, settings.home)
    return settings


@pytest.fixture
def latest(settings: Settings) -> Settings:
    old_homes.unpack("before_formats", settings.home)
    return settings


def files(folder: Path) -> dict[str, str]:
    """Each file with its bytes' hash."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def rows(settings: Settings, table: str) -> list[str]:
    """A table's rows without the columns that upgrades add, in an order of their own."""
    told = json.loads(run_sql(settings, f"FROM {table}", "json"))
    return sorted(json.dumps({k: v for k, v in row.items() if v is not None}, sort_keys=True) for row in told)


def written(settings: Settings) -> list[str]:
    return [
        table.full_name
        for table in all_tables(settings)
        if (settings.lake_path / table.layer / table.name / "_delta_log").exists()
    ]


def schema_of(database: Path) -> str:
    with closing(sqlite3.connect(database)) as opened:
        return opened.execute("SELECT version_num FROM alembic_version").fetchone()[0]


def runs(settings: Settings) -> list[Any]:
    with closing(sqlite3.connect(settings.home / "dagster" / "history" / "runs.db")) as opened:
        return opened.execute("SELECT run_id, pipeline_name, status FROM runs ORDER BY run_id").fetchall()


def test_an_old_home_is_made_this_versions_and_keeps_what_it_had(old: Settings) -> None:
    tables = written(old)
    before = {table: rows(old, table) for table in tables}
    assert sum(map(len, before.values())) > 50
    notes = {table: note_before(old.lake_path / table.replace(".", "/")) for table in tables}
    history, databases = runs(old), sorted((old.home / "dagster").rglob("*.db"))
    assert history and {schema_of(path) for path in databases} == {"284a732df317"}

    said: list[str] = []
    upgrades.ensure(old, parts.environment(old), said.append)

    assert {table: rows(old, table) for table in tables} == before
    for table, note in notes.items():
        now = note_before(old.lake_path / table.replace(".", "/"))
        assert (now or {}) | {"carried": None} == (note or {}) | {"carried": None}
    assert lake_tables.wanted(old) == []
    assert runs(old) == history
    assert {schema_of(path) for path in databases} == {"29b539ebc72a"}
    assert home_format.read(old) == home_format.current()
    assert not list((old.home / "upgrade").rglob("*.db"))
    assert any("Dagster's storage" in line for line in said) and "format 2" in said[-1]

    upgrades.ensure(old, {}, said.append)  # nothing is left to do: not even a process is started
    assert sum("format 2" in line for line in said) == 1


def test_columns_are_added_with_what_they_mean_and_the_streams_position_stays(latest: Settings) -> None:
    table = window_table(latest.windows.tables[0])
    folder = latest.lake_path / table.layer / table.name
    assert "site" not in {field.name for field in DeltaTable(folder).schema().fields}
    note = note_before(folder)
    for widening in lake_tables.wanted(latest):
        lake_tables.widen(latest, widening)
    (site,) = [field for field in DeltaTable(folder).schema().fields if field.name == "site"]
    assert site.metadata["comment"] == "the place, from the settings"
    carried = note_before(folder)
    assert carried and note and carried | {"carried": None} == note | {"carried": None}
    assert json.loads(run_sql(latest, f"SELECT DISTINCT site FROM {table.full_name}", "json")) == [{"site": None}]


def test_a_newer_home_is_refused_and_no_byte_of_it_is_changed(latest: Settings) -> None:
    home_format.path(latest).write_text(json.dumps({"format": 99, "edge_assets": "9.9", "dagster": "2.0"}))
    before = files(latest.home)
    console = Console(latest.home / "logs" / "supervisor.log", None)
    for start in (
        lambda: supervisor.up(latest, console),
        lambda: supervisor.detach(latest, [], console),
        lambda: container.code(latest, "code"),
        lambda: upgrade(latest, print),
    ):
        with pytest.raises(PlatformError, match=r"newer version \(9\.9, format 99\).*install that version") as refused:
            start()
        assert refused.value.exit_code == 3
    assert [finding.level for finding in examine(latest) if finding.check == "format"] == ["fail"]
    assert files(latest.home) == before


def test_a_home_that_does_not_say_its_format_is_refused(latest: Settings) -> None:
    home_format.path(latest).write_text("{")
    with pytest.raises(PlatformError, match="back from a backup"):
        upgrades.ensure(latest, {}, print)


def test_a_blank_home_is_of_this_version(settings: Settings) -> None:
    said: list[str] = []
    upgrades.ensure(settings, {}, said.append)
    assert home_format.is_current(settings) and not said


def test_a_table_that_is_anothers_is_refused_before_anything_is_touched(latest: Settings) -> None:
    (log,) = (latest.lake_path / "silver" / "readings" / "_delta_log").glob("*00.json")
    log.write_text(
        log.read_text().replace(r"\"name\":\"value\",\"type\":\"double\"", r"\"name\":\"value\",\"type\":\"long\"")
    )
    before = files(latest.home)
    with pytest.raises(PlatformError, match=r"silver\.readings .* a column value of type BIGINT.*double") as refused:
        upgrades.ensure(latest, parts.environment(latest), print)
    assert refused.value.exit_code == LakeError.exit_code
    assert files(latest.home) == before


def test_a_migration_of_dagsters_that_fails_is_put_back(latest: Settings) -> None:
    dagster = latest.home / "dagster"
    before, history = files(dagster), runs(latest)
    fails = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('DELETE FROM runs'); db.commit(); "
        "open(sys.argv[1] + '-wal', 'w').write('torn'); open(sys.argv[2], 'w'); sys.exit('no such revision')"
    )
    command = (sys.executable, "-c", fails, str(dagster / "history" / "runs.db"), str(dagster / "history" / "new.db"))
    with pytest.raises(PlatformError, match="no such revision; it was put back as it was"):
        dagster_storage.migrate(latest, os.environ, print, command)
    assert files(dagster).keys() == before.keys()
    assert files(dagster)["dagster.yaml"] == before["dagster.yaml"]
    assert runs(latest) == history
    assert {schema_of(path) for path in dagster.rglob("*.db")} == {"284a732df317"}
    assert not list((latest.home / "upgrade").iterdir())


@pytest.mark.parametrize("moment", ["while it copies", "while it migrates", "while it puts back"])
def test_a_kill_in_the_midst_costs_nothing(latest: Settings, moment: str) -> None:
    dagster = latest.home / "dagster"
    history = runs(latest)
    dies = """
import os, shutil, signal, sqlite3, sys
from edge_assets.settings import load_settings
from edge_assets.upgrades import dagster_storage as storage
moment, settings = sys.argv[1], load_settings()
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
command = (sys.executable, "-c", "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); "
    "db.execute('DROP TABLE runs'); db.commit(); sys.exit(1)", str(settings.home / "dagster" / "history" / "runs.db"))
if moment == "while it copies":
    storage.write_json = die
elif moment == "while it migrates":
    storage._put_back = die
else:
    shutil.copyfile, real = (lambda *names: real(*names) if "upgrade" not in str(names[0]) else die()), shutil.copyfile
storage.migrate(settings, os.environ, print, command)
"""
    environment = parts.environment(latest)
    done = subprocess.run([sys.executable, "-c", dies, moment], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    upgrades.ensure(latest, environment, print)
    assert runs(latest) == history
    assert {schema_of(path) for path in dagster.rglob("*.db")} == {"29b539ebc72a"}
    assert home_format.is_current(latest)


def test_without_room_for_copies_nothing_is_begun(latest: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(latest.home)
    monkeypatch.setattr(dagster_storage, "ROOM", 1e12)
    with pytest.raises(EdgeError, match="Make room") as refused:
        upgrade(latest, print)
    assert refused.value.exit_code == 10
    assert files(latest.home) == before


@pytest.mark.parametrize("name", RENAMED)
@pytest.mark.parametrize("place", ["environment", "edge.toml"])
def test_a_setting_that_was_renamed_is_refused_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, place: str
) -> None:
    if place == "environment":
        monkeypatch.setenv(name, "*/5 * * * *")
    else:
        section, _, key = name.removeprefix("EDGE_").lower().partition("__")
        (tmp_path / "edge.toml").write_text(f'[{section}]\n{key} = "*/5 * * * *"\n')
    with pytest.raises(SettingsError, match=f"{name} is called {RENAMED[name]} now: how often Dagster"):
        load_settings(_env_file=None, home=tmp_path)

"""Backups of small lakes, written without Spark: what is in them, what is copied, and what a restore makes of it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable, write_deltalake
from typer.testing import CliRunner

from edge_assets import rooms
from edge_assets.backup import cut, rows
from edge_assets.backup.making import backup
from edge_assets.backup.restoring import SUFFIX, restore
from edge_assets.cli import app
from edge_assets.errors import BackupError, LakeError, PlatformError
from edge_assets.platform import endpoints
from edge_assets.service import status_path, write_json
from edge_assets.settings import LakeSettings, Settings, load_settings
from edge_assets.tables import BRONZE_EVENTS, DEVICES, READINGS
from edge_assets.upgrades import home_format
from edge_assets.warehouse import lake
from edge_assets.warehouse.sql import run_sql
from edge_assets_tests.backup_rig import everything, kept, restored, stored_files
from edge_assets_tests.lake_tables import device, event, reading, sound_lake, write

COUNTED = "SELECT (SELECT count(*) FROM bronze.events) AS events, (SELECT count(*) FROM silver.readings) AS readings"


@pytest.fixture
def there(tmp_path: Path) -> str:
    return str(tmp_path / "backups")


# -- what is copied, and what comes back -------------------------------------------------------------------------------


def test_a_blank_machine_gets_the_same_rows_at_the_same_versions(
    settings: Settings, there: str, tmp_path: Path
) -> None:
    sound_lake(settings)
    rooms.describe(settings, "lab", room_name="Lab 1")
    (settings.home / "bridge").mkdir()
    (settings.home / "bridge" / "bridge.json").write_text('{"incarnation": 7}')
    done = backup(settings, there)
    new = restored(settings, there, tmp_path / "new" / "home")
    for name in ("bronze.events", "bronze.dead_letters", "silver.readings", "silver.devices"):
        assert everything(new, name) == everything(settings, name)
        layer, _, table = name.partition(".")
        assert lake.snapshot(new, (layer, table)).version == lake.snapshot(settings, (layer, table)).version
    assert [room.room_name for room in rooms.known(new)] == ["Lab 1"]
    assert (new.home / "bridge" / "bridge.json").read_text() == '{"incarnation": 7}'
    assert not list((tmp_path / "new").glob(f".*{SUFFIX}"))
    said = json.loads(status_path(settings, "backup").read_text())
    assert {name: said[name] for name in ("bytes", "destination", "seconds", "files_copied", "ended_at")} == {
        name: getattr(done, name) for name in ("bytes", "destination", "seconds", "files_copied", "ended_at")
    }


def test_only_what_is_new_is_copied_and_each_backup_is_of_its_time(
    settings: Settings, there: str, tmp_path: Path
) -> None:
    sound_lake(settings)
    first = backup(settings, there)
    assert first.files_copied == first.files
    again = backup(settings, there)
    assert again.files_copied == 0 and again.bytes == first.bytes
    write(settings, READINGS, [reading(100, "contact")])
    third = backup(settings, there)
    assert third.files_copied == 2, "one data file and one commit"
    counts = [
        json.loads(run_sql(restored(settings, there, tmp_path / id, id), COUNTED, "json"))[0]["readings"]
        for id in (first.id, third.id)
    ]
    assert counts[1] == counts[0] + 1
    assert kept(there) == [first.id, again.id, third.id]


def test_a_log_that_was_cut_comes_back_from_its_checkpoint(settings: Settings, there: str, tmp_path: Path) -> None:
    for number in range(8):
        write(settings, BRONZE_EVENTS, [event(number)])
        if number == 4:
            DeltaTable(settings.lake_path / "bronze" / "events").create_checkpoint()
    log = settings.lake_path / "bronze" / "events" / "_delta_log"
    for number in range(4):
        (log / f"{number:020}.json").unlink()
    backup(settings, there)
    new = restored(settings, there, tmp_path / "new")
    assert everything(new, "bronze.events") == everything(settings, "bronze.events")
    names = {path.name for path in (new.lake_path / "bronze" / "events" / "_delta_log").iterdir()}
    assert f"{4:020}.checkpoint.parquet" in names and f"{7:020}.json" in names and f"{3:020}.json" not in names
    (log / f"{6:020}.json").unlink()
    with pytest.raises(LakeError, match=r"backup: reading .*events"):
        backup(settings, there)


def test_what_the_stream_writer_was_asked_for_is_taken_along(settings: Settings, there: str, tmp_path: Path) -> None:
    sound_lake(settings)
    folder = settings.home / "stream" / "requests"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text('{"kind": "redrive", "arguments": {}}')
    (folder / "1.progress").write_text('{"done": 3}')
    (folder / "0.answer").write_text("{}")
    backup(settings, there)
    new = restored(settings, there, tmp_path / "new").home / "stream" / "requests"
    assert {path.name: path.read_text() for path in new.iterdir()} == {
        "1.json": '{"kind": "redrive", "arguments": {}}',
        "1.progress": '{"done": 3}',
    }


def test_databases_are_copied_as_they_are_at_one_moment(settings: Settings, there: str, tmp_path: Path) -> None:
    sound_lake(settings)
    path = settings.home / "dagster" / "history" / "runs" / "one.db"
    path.parent.mkdir(parents=True)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE t (x)")
    writer.execute("INSERT INTO t VALUES (1)")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO t VALUES (2)")
    assert b"\x01" not in path.read_bytes()[4096:], "a plain copy would have none of it: it is in the write-ahead log"
    backup(settings, there)
    writer.execute("COMMIT")
    writer.close()
    copy = restored(settings, there, tmp_path / "new").home / path.relative_to(settings.home)
    assert sqlite3.connect(copy).execute("SELECT x FROM t").fetchall() == [(1,)]


def test_the_lake_goes_where_the_settings_say(settings: Settings, there: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "disk" / "lake"
    settings.home.mkdir(parents=True)
    (settings.home / "edge.toml").write_text(f'[lake]\npath = "{elsewhere}"\n')
    own = settings.model_copy(update={"lake": LakeSettings(path=str(elsewhere))})
    sound_lake(own)
    expected = everything(own, "silver.readings")
    backup(own, there)
    with pytest.raises(BackupError, match=r"disk/lake is not empty"):
        restore(settings, there, home=tmp_path / "new")
    shutil.rmtree(elsewhere)
    assert restore(settings, there, home=tmp_path / "new").lake == str(elsewhere)
    assert everything(own, "silver.readings") == expected
    alone = restore(own, there, home=tmp_path / "another", home_only=True)
    assert alone.lake == str(elsewhere) and not (tmp_path / "another" / "lake" / "silver").exists()


# -- at one moment -----------------------------------------------------------------------------------------------------


def test_tables_are_of_one_moment_while_they_are_written(settings: Settings, there: str, tmp_path: Path) -> None:
    """Each number goes to bronze, then to silver, without a pause: a copy table by table would tear them apart."""
    stop = threading.Event()
    write(settings, BRONZE_EVENTS, [event(0)])
    write(settings, READINGS, [reading(0, "contact")])

    def commit() -> None:
        number = 1
        while not stop.is_set():
            write(settings, BRONZE_EVENTS, [event(number)])
            write(settings, READINGS, [reading(number, "contact")])
            number += 1

    writing = threading.Thread(target=commit)
    writing.start()
    try:
        made = [backup(settings, there) for _ in range(4)]
    finally:
        stop.set()
        writing.join()
    seen = []
    for done in made:
        (counts,) = json.loads(run_sql(restored(settings, there, tmp_path / done.id, done.id), COUNTED, "json"))
        assert counts["events"] - counts["readings"] in (0, 1)
        seen.append(counts["events"])
    assert seen == sorted(seen) and seen[0] < seen[-1]


def noted(settings: Settings, table: Any, data: list[dict[str, Any]], batch: int, **more: Any) -> None:
    write(settings, table, data)
    newest = max((settings.lake_path / table.layer / table.name / "_delta_log").glob("*.json"))
    actions = [json.loads(line) for line in newest.read_text().splitlines()]
    for action in actions:
        if "commitInfo" in action:
            action["commitInfo"]["userMetadata"] = json.dumps({"batch": batch, "positions": [], **more})
    newest.write_text("".join(json.dumps(action) + "\n" for action in actions))


def test_a_batch_is_whole_when_all_tables_that_follow_it_have_it(settings: Settings) -> None:
    noted(settings, BRONZE_EVENTS, [event(1)], 1, follows=["silver.readings"])
    noted(settings, READINGS, [reading(1, "contact")], 1)
    assert cut.take(settings).settled
    noted(settings, BRONZE_EVENTS, [event(2)], 2, follows=["silver.readings"])
    assert not cut.take(settings).settled, "nobody writes: so it is taken as it is, and the writer finishes it"
    noted(settings, READINGS, [reading(2, "contact")], 2)
    noted(settings, BRONZE_EVENTS, [event(3, "ignored")], 3, follows=[])
    assert cut.take(settings).settled, "a batch that silver gets nothing of"


def test_an_unfinished_batch_can_be_finished_with_the_devices_that_it_was_decoded_with(
    settings: Settings, there: str, tmp_path: Path
) -> None:
    """What a writer that was killed between two commits has to do at its next start, it can do in the restored home."""
    write(settings, DEVICES, [device("0x01")])
    write(settings, DEVICES, [device("0x01"), device("0x02")], mode="overwrite")
    noted(settings, BRONZE_EVENTS, [event(1)], 1, follows=["silver.readings"], registry_version=0)
    assert not cut.take(settings).settled
    done = backup(settings, there)
    new = restored(settings, there, tmp_path / "new")
    table = new.lake_path / "silver" / "devices"
    assert [DeltaTable(table, version).to_pyarrow_table().num_rows for version in (0, 1)] == [1, 2]
    assert done.tables["silver.devices"].rows == 2


def test_files_that_are_deleted_meanwhile_are_looked_up_again(settings: Settings, there: str, tmp_path: Path) -> None:
    for number in range(6):
        sound_lake(settings, 20, number * 20)
    table, said = DeltaTable(settings.lake_path / "silver" / "readings"), []

    def tidy_up(line: str) -> None:
        said.append(line)
        if line.startswith("silver.readings: file 2") and len(table.file_uris()) > 1:
            table.optimize.compact()
            table.vacuum(0, dry_run=False, enforce_retention_duration=False)

    backup(settings, there, tidy_up)
    assert any("looking again" in line for line in said)
    new = restored(settings, there, tmp_path / "new")
    assert everything(new, "silver.readings") == everything(settings, "silver.readings")


# -- settings and secrets ----------------------------------------------------------------------------------------------


def test_settings_come_back_without_secrets(tmp_path: Path, there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("EDGE_") and name != "EDGE_CACHE_DIR"]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    (home / "edge.toml").write_text(
        'site = "barn"\n[mqtt]\nhost = "broker.lan"\npassword = "told-1"\n'
        '[kafka.client]\n"sasl.password" = "told-2"\n[[bridge.routes]]\nfilter = "z/#"\n'
    )
    (tmp_path / ".env").write_text(
        'EDGE_ALERTS__NOTIFY={"phone": "ntfy://told-3"}\nEDGE_MQTT__USERNAME=edge\nEDGE_LAKE__PATH=/elsewhere\n'
    )
    settings = load_settings(_env_file=tmp_path / ".env", home=home)
    own = settings.model_copy(update={"lake": LakeSettings()})
    sound_lake(own)
    backup(own, there)
    assert not [path for path in Path(there).rglob("*") if path.is_file() and b"told-" in path.read_bytes()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in stored_files(there)), "readable by their owner alone"
    done = restore(own, there, home=tmp_path / "new")
    assert done.secrets_left_out == ("EDGE_MQTT__PASSWORD", "EDGE_KAFKA__CLIENT", "EDGE_ALERTS__NOTIFY")
    assert (tmp_path / "new" / "settings.env").read_text() == "EDGE_MQTT__USERNAME=edge\n"
    again = load_settings(_env_file=tmp_path / "new" / "settings.env", home=tmp_path / "new")
    assert (again.site, again.mqtt.host, again.mqtt.username) == ("barn", "broker.lan", "edge")
    assert again.bridge.routes == settings.bridge.routes and again.mqtt.password is None


def test_what_the_platform_has_chosen_itself_is_no_setting(
    settings: Settings, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster's runs are told the addresses that `edge up` has found."""
    own = load_settings(_env_file=None, home=settings.home, site="barn")
    own = own.model_copy(update={"cache_dir": settings.cache_dir})
    sound_lake(own)
    write_json(status_path(own, "supervisor"), {"services": {"broker": {}, "kafka": {}}})
    resolved = endpoints.resolve(own)
    assert resolved.kafka.bootstrap and resolved.mqtt.host and resolved.dagster.port
    backup(resolved, there)
    assert (restored(own, there, tmp_path / "new").home / "settings.env").read_text() == "EDGE_SITE=barn\n"


def test_a_file_of_settings_without_secrets_stays_as_it_is(settings: Settings, there: str, tmp_path: Path) -> None:
    sound_lake(settings)
    text = "# why this is so\n[stream]\ntrigger_seconds = 5\n"
    (settings.home / "edge.toml").write_text(text)
    backup(settings, there)
    assert (restored(settings, there, tmp_path / "new").home / "edge.toml").read_text() == text


def test_a_restored_home_is_of_the_version_that_wrote_it(settings: Settings, there: str, tmp_path: Path) -> None:
    sound_lake(settings)
    write_json(home_format.path(settings), {"format": home_format.FORMAT + 1, "edge_assets": "99"})
    backup(settings, there)
    with pytest.raises(PlatformError, match="written by a newer version"):
        home_format.refuse_newer(restored(settings, there, tmp_path / "new"))


# -- the hash of rows --------------------------------------------------------------------------------------------------


def test_the_hash_is_of_rows_and_not_of_files(settings: Settings) -> None:
    def hashed() -> tuple[int, int]:
        return rows.of_table(settings, lake.snapshot(settings, ("silver", "readings")))

    path = settings.lake_path / "silver" / "readings"
    for number in range(3):
        write(settings, READINGS, [reading(number, "contact", value=number / 3)])
    before = hashed()
    DeltaTable(path).optimize.compact()
    assert hashed() == before, "however rows lie in files"
    write(settings, READINGS, [reading(0, "contact", value=0.0)])
    doubled = hashed()
    write(settings, READINGS, [reading(0, "contact", value=0.0)])
    assert len({before[1], doubled[1], hashed()[1]}) == 3, "equal rows do not cancel each other out"
    write(settings, READINGS, [reading(0, "contact", value=1e-300)], mode="overwrite")
    small = hashed()
    write(settings, READINGS, [reading(0, "contact", value=0.0)], mode="overwrite")
    assert hashed() != small
    before = hashed()
    data = DeltaTable(path).to_pyarrow_table()
    write_deltalake(path, data.append_column("more", data["text"]).slice(0, 0), mode="append", schema_mode="merge")
    assert hashed() == before, "a column that is null says nothing"


# -- the commands ------------------------------------------------------------------------------------------------------


def test_the_commands(settings: Settings, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound_lake(settings)
    monkeypatch.setenv("EDGE_HOME", str(settings.home))
    monkeypatch.setenv("EDGE_BACKUP__DESTINATION", there)

    def edge(*arguments: str) -> str:
        ran = CliRunner().invoke(app, arguments)
        assert ran.exit_code == 0, ran.output
        return ran.stdout

    assert "no backup lies in" in edge("backup", "--list")
    done = json.loads(edge("backup", "--json"))
    assert done["destination"] == there and done["tables"]["bronze.events"]["rows"] == 20
    assert done["id"] in edge("backup", "--list")
    assert json.loads(edge("backup", "--list", "--json"))[0]["tables"]["bronze.events"] == 20
    assert "whole" in edge("backup", "--verify")
    told = json.loads(edge("restore", there, "--to", str(tmp_path / "new"), "--json"))
    assert told["tables"]["bronze.events"]["rows"] == 20
    edge("restore", there, "--to", str(tmp_path / "newer"))
    stored_files(there)[0].unlink()
    assert CliRunner().invoke(app, ["backup", "--verify"]).exit_code == 1


def test_it_says_how_far_it_is(settings: Settings, there: str, tmp_path: Path) -> None:
    sound_lake(settings)
    lines: list[str] = []
    backup(settings, there, lines.append)
    restore(settings, there, home=tmp_path / "new", progress=lines.append)
    assert any(line.startswith("silver.readings: file 1 of 1") for line in lines)
    assert any(line.startswith("restoring: file") for line in lines)
    assert "comparing the rows of silver.readings" in lines

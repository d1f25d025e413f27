"""Backups of small lakes, written without Spark: what is in them, what is copied, and what a restore makes of it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable, write_deltalake
from typer.testing import CliRunner

from edge_assets import rooms
from edge_assets.backup import cut, drill, manifest, place, rows
from edge_assets.backup.making import Done, backup
from edge_assets.backup.restoring import SUFFIX, restore
from edge_assets.cli import app
from edge_assets.errors import BackupError, LakeError
from edge_assets.service import status_path
from edge_assets.settings import BackupSettings, LakeSettings, Settings, load_settings
from edge_assets.tables import BRONZE_EVENTS, READINGS
from edge_assets.warehouse import lake
from edge_assets.warehouse.sql import run_sql
from edge_assets_tests.lake_tables import event, reading, sound_lake, write

COUNTED = "SELECT (SELECT count(*) FROM bronze.events) AS events, (SELECT count(*) FROM silver.readings) AS readings"


@pytest.fixture
def there(tmp_path: Path) -> str:
    return str(tmp_path / "backups")


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

    def commit() -> None:
        number = 0
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


# -- kills, damage, refusals -------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from edge_assets.backup.making import backup
from edge_assets.settings import load_settings

lines = 0

def progress(line):
    global lines
    lines += 1
    if lines == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

backup(load_settings(), sys.argv[1], progress)
"""


@pytest.mark.parametrize("after", [3, 8, 14])
def test_killed_in_the_midst_the_last_one_stays_and_the_next_goes_on(
    settings: Settings, there: str, tmp_path: Path, after: int
) -> None:
    sound_lake(settings)
    first = backup(settings, there)
    for number in range(1, 4):
        sound_lake(settings, 20, number * 20)
    command = [sys.executable, "-c", KILLED, there, str(after)]
    killed = subprocess.run(command, env={**os.environ, **settings.environment()}, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    assert kept(there) == [first.id]
    restored(settings, there, tmp_path / "old")
    left = len(stored_files(there))
    assert (left > first.files) == (after > 3)
    second = backup(settings, there)
    assert second.files_copied == len(stored_files(there)) - left, "what the killed one had copied is not copied again"
    new = restored(settings, there, tmp_path / "new")
    assert everything(new, "silver.readings") == everything(settings, "silver.readings")


def test_damage_is_found_and_nothing_is_restored(settings: Settings, there: str, tmp_path: Path) -> None:
    sound_lake(settings)
    first = backup(settings, there)
    write(settings, READINGS, [reading(100, "contact")])
    second = backup(settings, there)
    assert drill.damaged(settings, there) == {first.id: (), second.id: ()}
    own = set(second_files(there, second)) - set(second_files(there, first))
    (data,) = [path for path in own if path.suffix == ".parquet"]
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    found = drill.damaged(settings, there)
    assert found[first.id] == () and "is damaged" in found[second.id][0]
    with pytest.raises(BackupError, match=r"part-.* is damaged"):
        restore(settings, there, home=tmp_path / "new")
    assert not list(tmp_path.glob("*new*"))
    assert "is damaged" in drill.drill(settings, there).differing[0]
    data.unlink()
    assert "is missing" in drill.drill(settings, there).differing[0]
    restored(settings, there, tmp_path / "older", first.id)
    third = backup(settings, there)
    assert third.files_copied == 1, "what is missing there is copied again"
    assert not (settings.home / "tmp" / drill.FOLDER).exists()


def second_files(there: str, done: Done) -> list[Path]:
    files = manifest.read(place.Folder(Path(there)), done.id).files
    return [Path(there) / file.stored_as(name) for name, file in files.items()]


def test_rows_that_are_not_the_manifests_are_named(settings: Settings, there: str, tmp_path: Path) -> None:
    sound_lake(settings)
    done = backup(settings, there)
    path = Path(there) / manifest.MANIFESTS / f"{done.id}.json"
    told = json.loads(path.read_text())
    told["tables"]["silver.readings"]["rows"] += 1
    path.write_text(json.dumps(told))
    (differs,) = drill.drill(settings, there).differing
    assert differs.startswith("silver.readings has ")
    with pytest.raises(BackupError, match=r"silver\.readings has [\d,]+ rows with the hash"):
        restore(settings, there, home=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_without_a_manifest_is_no_backup(settings: Settings, there: str, tmp_path: Path) -> None:
    sound_lake(settings)
    done = backup(settings, there)
    (Path(there) / manifest.MANIFESTS / f"{done.id}.json").unlink()
    with pytest.raises(BackupError, match="has no backup"):
        restore(settings, there, home=tmp_path / "new")
    with pytest.raises(BackupError, match="has no backup"):
        restore(settings, str(tmp_path / "nowhere"), home=tmp_path / "new")


def test_nothing_is_overwritten(settings: Settings, there: str, tmp_path: Path) -> None:
    sound_lake(settings)
    backup(settings, there)
    with pytest.raises(BackupError, match=r"is not empty.*--to"):
        restore(settings, there)
    (tmp_path / "empty").mkdir()
    restored(settings, there, tmp_path / "empty")


def test_the_newest_until_a_time_is_chosen(settings: Settings, there: str) -> None:
    sound_lake(settings)
    own, done = place.Folder(Path(there)), backup(settings, there)
    made = manifest.read(own, done.id)
    raw = json.loads(made.encode())
    for id in ("2026-03-01T020000.000Z", "2026-03-02T020000.000Z"):
        manifest.write(own, manifest.Manifest.decode(json.dumps({**raw, "id": id}).encode()))
    assert manifest.chosen(own).id == done.id
    for at, expected in (
        ("2026-03-01", "2026-03-01T020000.000Z"),
        ("2026-03-02T01:59", "2026-03-01T020000.000Z"),
        ("2026-03-02T03:00+01:00", "2026-03-02T020000.000Z"),
        (done.id, done.id),
    ):
        assert manifest.chosen(own, at).id == expected
    with pytest.raises(BackupError, match="the oldest is 2026-03-01"):
        manifest.chosen(own, "2026-02-28")
    with pytest.raises(BackupError, match="expected the id"):
        manifest.chosen(own, "yesterday")


def test_a_later_format_is_refused(settings: Settings, there: str) -> None:
    sound_lake(settings)
    path = Path(there) / manifest.MANIFESTS / f"{backup(settings, there).id}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2, "edge_assets": "9.0"}))
    with pytest.raises(BackupError, match=r"format 2, made by edge_assets 9\.0"):
        backup(settings, there)


def test_another_lake_and_a_folder_of_ones_own_are_refused(settings: Settings, there: str, tmp_path: Path) -> None:
    sound_lake(settings)
    backup(settings, there)
    other = settings.model_copy(update={"home": tmp_path / "other", "site": "barn"})
    sound_lake(other)
    with pytest.raises(BackupError, match=r"another lake \(site 'home'"):
        backup(other, there)
    with pytest.raises(BackupError, match="would be lost with it"):
        backup(settings, str(settings.home / "backups"))
    with pytest.raises(BackupError, match="EDGE_BACKUP__DESTINATION"):
        backup(settings)
    with pytest.raises(BackupError, match="there is nothing to back up"):
        backup(settings.model_copy(update={"home": tmp_path / "nobody"}), str(tmp_path / "nothing"))
    with pytest.raises(BackupError, match="s3://bucket/prefix"):
        backup(settings, "ftp://nas/backups")
    new = restored(settings, there, tmp_path / "new")
    backup(new, there)  # a restored lake is the same lake


def test_the_newest_are_kept_and_no_file_that_none_of_them_names(
    settings: Settings, there: str, tmp_path: Path
) -> None:
    few = settings.model_copy(update={"backup": BackupSettings(keep=2)})
    made = []
    for number in range(4):
        sound_lake(few, 20, number * 20)
        DeltaTable(few.lake_path / "silver" / "readings").optimize.compact()
        made.append(backup(few, there).id)
    (Path(there) / "files" / "00").mkdir(exist_ok=True)
    (Path(there) / "files" / "00" / f"half{place.PARTIAL}").write_text("of one that was killed")
    made.append(backup(few, there).id)
    assert kept(there) == made[-2:]
    own = place.Folder(Path(there))
    named = {file.stored_as(name) for id in kept(there) for name, file in manifest.read(own, id).files.items()}
    assert {path.relative_to(there).as_posix() for path in stored_files(there)} == named
    restored(few, there, tmp_path / "new", made[-2])


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


def test_a_file_of_settings_without_secrets_stays_as_it_is(settings: Settings, there: str, tmp_path: Path) -> None:
    sound_lake(settings)
    text = "# why this is so\n[stream]\ntrigger_seconds = 5\n"
    (settings.home / "edge.toml").write_text(text)
    backup(settings, there)
    assert (restored(settings, there, tmp_path / "new").home / "edge.toml").read_text() == text


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

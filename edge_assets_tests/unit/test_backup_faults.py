"""Backups that are killed, damaged, refused, and one too many: what is there stays what it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable

from edge_assets.backup import drill, manifest, place
from edge_assets.backup.making import Done, backup
from edge_assets.backup.restoring import restore
from edge_assets.errors import BackupError, SettingsError
from edge_assets.settings import BackupSettings, Settings, load_settings
from edge_assets.tables import READINGS
from edge_assets_tests.backup_rig import everything, kept, restored, stored_files
from edge_assets_tests.lake_tables import reading, sound_lake, write


@pytest.fixture
def there(tmp_path: Path) -> str:
    return str(tmp_path / "backups")


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


def test_a_folder_is_named_whole() -> None:
    """Dagster's working directory is another."""
    with pytest.raises(SettingsError, match="EDGE_BACKUP__DESTINATION"):
        load_settings(_env_file=None, backup={"destination": "backups"})

"""Backups on a disk that is full, in a bucket, and of a lake that lies in one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pydantic import SecretStr

from edge_assets import object_store
from edge_assets.backup import drill, manifest, place
from edge_assets.backup.making import backup
from edge_assets.backup.restoring import restore
from edge_assets.errors import BackupError, DiskFull
from edge_assets.settings import BackupSettings, LakeSettings, S3Settings, Settings, load_settings
from edge_assets.tables import BRONZE_EVENTS, READINGS, Table
from edge_assets.warehouse.sql import run_sql
from edge_assets_tests import s3_rig
from edge_assets_tests.lake_tables import event, reading, schema, sound_lake, write

COUNTED = "SELECT count(*) AS n, sum(kafka_offset) AS total FROM silver.readings"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    path = tmp_path / "usb"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", path], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"to mount a file system of its own needs root: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def answer(settings: Settings) -> list[dict[str, int]]:
    found: list[dict[str, int]] = json.loads(run_sql(settings, COUNTED, "json"))
    return found


def test_a_full_disk_leaves_the_backups_before_it_and_no_half_one(
    settings: Settings, small_disk: Path, tmp_path: Path
) -> None:
    sound_lake(settings)
    there = str(small_disk / "backups")
    first, expected = backup(settings, there), answer(settings)
    files = place.Folder(Path(there)).listed("")
    for number in range(30):
        payload = "".join(f"{(number * 7919 + each) ** 5:x}" for each in range(4_000))
        write(settings, READINGS, [reading(1_000 + number, "note", text=payload)])
    with pytest.raises(DiskFull, match="EDGE_BACKUP__KEEP"):
        backup(settings, there)
    assert place.Folder(Path(there)).listed("") == files, "what was copied is gone again"
    restore(settings, there, home=tmp_path / "new")
    new = settings.model_copy(update={"home": tmp_path / "new"})
    assert answer(new) == expected
    subprocess.run(["mount", "-o", "remount,size=50m", small_disk], check=True)
    assert backup(settings, there).files > first.files
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    with pytest.raises(DiskFull, match=r"full|MB are needed"):
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * 17_000_000)
        restore(settings, there, home=small_disk / "home")
    assert not (small_disk / "home").exists() and not list(small_disk.glob(".home*"))


def append(settings: Settings, layer: str, name: str, table: Table, row: dict[str, Any]) -> None:
    columns = schema(table)
    write_deltalake(
        (settings.lake_path / layer / name).as_uri(),
        pa.Table.from_pylist([{name: row.get(name) for name in columns.names}], schema=columns),
        mode="append",
        partition_by=["date"],
        storage_options=object_store.deltalake_options(settings),
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = s3_rig.gateway(load_settings(_env_file=None))
    with s3_rig.served(program, tmp_path_factory.mktemp("s3") / "data") as address:
        yield address


@pytest.fixture
def on_s3(settings: Settings, address: str) -> Settings:
    s3 = S3Settings(endpoint=address, access_key=s3_rig.KEY, secret_key=SecretStr(s3_rig.SECRET))
    return settings.model_copy(update={"s3": s3, "backup": BackupSettings(keep=2)})


def test_a_folder_is_backed_up_to_a_bucket_and_comes_back(on_s3: Settings, tmp_path: Path) -> None:
    there = f"s3://{s3_rig.BUCKET}/backups/home"
    sound_lake(on_s3)
    large = "".join(f"{each**9:x}" for each in range(400_000))  # in several parts
    write(on_s3, READINGS, [reading(500, "note", text=large)])
    first = backup(on_s3, there)
    assert backup(on_s3, there).files_copied == 0
    write(on_s3, READINGS, [reading(1_000, "contact")])
    third = backup(on_s3, there)
    assert third.files_copied == 2 and third.deleted == (first.id,)
    assert set(drill.damaged(on_s3, there).values()) == {()}
    restore(on_s3, there, home=tmp_path / "new")
    assert answer(on_s3.model_copy(update={"home": tmp_path / "new"})) == answer(on_s3)
    own = place.Bucket(there, on_s3)
    (gone,) = [
        file.stored_as(name)
        for name, file in manifest.read(own, third.id).files.items()
        if name.endswith("readings/_delta_log/00000000000000000002.json")
    ]
    own.delete(gone)
    assert "is missing" in drill.drill(on_s3, there).differing[0]
    assert backup(on_s3, there).files_copied == 1


def test_a_bucket_that_cannot_be_used_is_said_on_one_line(on_s3: Settings, tmp_path: Path) -> None:
    sound_lake(on_s3)
    wrong = S3Settings(endpoint=on_s3.s3.endpoint, access_key=s3_rig.KEY, secret_key=SecretStr("wrong"))
    with pytest.raises(BackupError, match="EDGE_S3__ENDPOINT") as error:
        backup(on_s3.model_copy(update={"s3": wrong}), f"s3://{s3_rig.BUCKET}/backups/wrong")
    assert "\n" not in str(error.value)
    with pytest.raises(BackupError, match="has no backup"):
        restore(on_s3, f"s3://{s3_rig.BUCKET}/nothing/here", home=tmp_path / "new")


def test_a_lake_in_a_bucket_is_backed_up_to_a_folder(on_s3: Settings, tmp_path: Path) -> None:
    own = on_s3.model_copy(update={"lake": LakeSettings(path=f"s3://{s3_rig.BUCKET}/lake of/mine")})
    for number in range(3):
        append(own, "bronze", "events", BRONZE_EVENTS, event(number))
        append(own, "silver", "readings", READINGS, reading(number, "contact"))
    table = DeltaTable(
        (own.lake_path / "silver" / "readings").as_uri(), storage_options=object_store.deltalake_options(own)
    )
    said: list[str] = []

    def tidy_up(line: str) -> None:
        said.append(line)
        if line.startswith("silver.readings: file 2") and not any("looking again" in each for each in said):
            table.optimize.compact()
            table.vacuum(0, dry_run=False, enforce_retention_duration=False)

    there = str(tmp_path / "backups")
    assert backup(own, there, tidy_up).tables["silver.readings"].rows == 3
    assert any("looking again" in line for line in said), "what maintenance takes away in a bucket is looked up again"
    with pytest.raises(BackupError, match="--home-only"):
        restore(own, there, home=tmp_path / "new")
    alone = own.model_copy(update={"lake": LakeSettings(path=str(tmp_path / "lake"))})
    restore(alone, there, home=tmp_path / "new")
    assert answer(alone.model_copy(update={"home": tmp_path / "new"})) == [{"n": 3, "total": 3}]

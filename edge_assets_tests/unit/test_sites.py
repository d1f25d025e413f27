"""Two platforms and one lake: each its own tables, one claim a site, and one view of all of them."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from typer.testing import CliRunner

from edge_assets import lake_claim
from edge_assets.cli import app
from edge_assets.errors import LakeError, LakeTaken, SettingsError
from edge_assets.platform import doctor
from edge_assets.settings import LakeSettings, Settings, load_settings
from edge_assets.tables import BRONZE_EVENTS, READINGS, ROOM_TELEMETRY
from edge_assets.warehouse import open_lake, sites
from edge_assets.warehouse.lake import snapshot
from edge_assets.warehouse.sql import run_sql
from edge_assets_tests.lake_tables import device, event, reading, sound_lake, write


@pytest.fixture
def place(tmp_path: Path, settings: Settings) -> Iterator[Any]:
    """A platform of a shared lake: by its site and its home."""

    def of(site: str, home: str | None = None) -> Settings:
        lake = LakeSettings(path=str(tmp_path / "lake"), shared=True)
        return settings.model_copy(update={"site": site, "home": tmp_path / (home or site), "lake": lake})

    yield of


def rows(settings: Settings, query: str) -> list[dict[str, Any]]:
    return json.loads(run_sql(settings, query, "json"))


# -- where the tables lie --------------------------------------------------------------------------------------------


def test_one_site_has_todays_paths(settings: Settings, tmp_path: Path) -> None:
    assert settings.lake_path == settings.home / "lake"
    own = load_settings(_env_file=None, home=tmp_path, site="the barn", lake={"path": "/data"})
    assert own.lake_path == own.lake_root == Path("/data")


def test_a_site_of_a_shared_lake_has_a_folder_of_its_own(tmp_path: Path) -> None:
    shared = load_settings(_env_file=None, home=tmp_path, site="barn", lake={"path": "/data", "shared": True})
    assert (shared.lake_path, shared.lake_root) == (Path("/data/barn"), Path("/data"))
    away = load_settings(_env_file=None, home=tmp_path, site="barn", lake={"path": "s3://sensors/all", "shared": True})
    assert str(away.lake_path) == "s3://sensors/all/barn"


@pytest.mark.parametrize("site", ["", "the barn", "Büro", "a/b", "..", "_x", "silver", "Gold", "a" * 65])
def test_a_name_that_is_no_folder_is_refused(tmp_path: Path, site: str) -> None:
    with pytest.raises(SettingsError, match="EDGE_SITE names a folder"):
        load_settings(_env_file=None, home=tmp_path, site=site, lake={"path": "/data", "shared": True})


def test_what_is_shared_lies_outside_of_the_home(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="EDGE_LAKE__PATH"):
        load_settings(_env_file=None, home=tmp_path, lake={"shared": True})


# -- read together ---------------------------------------------------------------------------------------------------


def test_all_sites_are_read_together_and_each_by_itself(place: Any) -> None:
    barn, house = place("barn"), place("house")
    write(barn, READINGS, [reading(1, "contact", site="home")])  # before the name was set
    write(house, READINGS, [reading(1, "contact", site="house"), reading(2, "battery", site="house")])
    counted = "SELECT site, count(*) AS n FROM sites.silver.readings GROUP BY ALL ORDER BY ALL"
    assert rows(barn, counted) == rows(house, counted) == [{"site": "barn", "n": 1}, {"site": "house", "n": 2}]
    assert rows(barn, "SELECT count(*) AS n FROM silver.readings") == [{"n": 1}]
    joined = "SELECT count(*) AS n FROM sites.silver.readings JOIN silver.readings USING (measurement)"
    assert rows(barn, joined) == [{"n": 2}]


def test_a_table_that_no_site_has_written_is_empty(place: Any) -> None:
    assert rows(place("barn"), "FROM sites.silver.alerts") == []
    described = rows(place("barn"), "DESCRIBE sites.bronze.events")
    assert [row["column_name"] for row in described] == ["site", *(column.name for column in BRONZE_EVENTS.columns)]


def test_sites_of_different_versions(place: Any) -> None:
    """An older site has fewer columns, another type, and a table that ours does not know."""
    barn, house = place("barn"), place("house")
    write(barn, READINGS, [reading(1, "contact")])
    write(barn, ROOM_TELEMETRY, [{"room_id": "lab", "temperature": 20.5}])
    for name, data in {
        "readings": pa.table({"device_id": ["0x02"], "value": pa.array([3], pa.int32()), "kafka_offset": ["x1"]}),
        "room_telemetry": pa.table({"room_id": ["hall"], "pm25": [1.5]}),
        "moods": pa.table({"mood": ["good"]}),
    }.items():
        path = house.lake_path / "silver" / name
        path.mkdir(parents=True)
        write_deltalake(path, data)
    query = "SELECT site, device_id, value, kafka_offset, quality FROM sites.silver.readings ORDER BY site"
    assert rows(barn, query) == [
        {"site": "barn", "device_id": "0x01", "value": 1.0, "kafka_offset": "1", "quality": "good"},
        {"site": "house", "device_id": "0x02", "value": 3.0, "kafka_offset": "x1", "quality": None},
    ]
    query = "SELECT site, room_id, temperature, pm25 FROM sites.silver.room_telemetry ORDER BY site"
    assert rows(barn, query) == [
        {"site": "barn", "room_id": "lab", "temperature": 20.5, "pm25": None},
        {"site": "house", "room_id": "hall", "temperature": None, "pm25": 1.5},
    ]
    assert rows(barn, "FROM sites.silver.moods") == [{"site": "house", "mood": "good"}]


def test_structured_columns_of_sites(place: Any) -> None:
    from edge_assets.tables import DEVICES

    for site in ("barn", "house"):
        write(place(site), DEVICES, [device(f"0x{site}")])
    query = "SELECT site, map_keys(exposes) AS names FROM sites.silver.devices ORDER BY site"
    assert [row["site"] for row in rows(place("barn"), query)] == ["barn", "house"]


def test_a_notebook_sees_all_sites(place: Any) -> None:
    write(place("house"), BRONZE_EVENTS, [event(1)])
    with open_lake(place("barn")) as opened:
        assert opened.sql("SELECT site FROM sites.bronze.events").fetchall() == [("house",)]


def test_another_sites_past_cannot_be_asked_for(place: Any) -> None:
    write(place("barn"), READINGS, [reading(1, "contact")])
    with pytest.raises(LakeError, match="of this site"):
        run_sql(place("barn"), "FROM sites.silver.readings AT (VERSION => 0)")


def test_a_site_that_cannot_be_read_is_named(place: Any) -> None:
    write(place("house"), READINGS, [reading(1, "contact")])
    (log,) = (place("house").lake_path / "silver" / "readings" / "_delta_log").glob("*.json")
    log.write_text("{")
    assert rows(place("barn"), "FROM silver.readings") == []  # one's own goes on
    with pytest.raises(LakeError, match="house"):
        run_sql(place("barn"), "FROM sites.silver.readings")


def test_a_lake_of_one_site_has_no_such_views(settings: Settings) -> None:
    sound_lake(settings)
    with pytest.raises(LakeError, match="sites"):
        run_sql(settings, "FROM sites.silver.readings")


def test_other_folders_are_no_sites(place: Any) -> None:
    write(place("house"), READINGS, [reading(1, "contact")])
    root = place("barn").lake_root
    for name in (".trash", "lost+found", "_tmp"):
        (root / name).mkdir()
    assert sites.names(place("barn")) == ["barn", "house"]
    assert snapshot(place("barn"), ("silver", "readings")).version is None


# -- the claim -------------------------------------------------------------------------------------------------------


def test_a_site_is_claimed_once_and_known_again(place: Any) -> None:
    for _ in range(2):
        lake_claim.ensure(place("barn"))
        lake_claim.ensure(place("house"))
    claim = lake_claim.read(place("barn"))
    assert claim and claim.platform == lake_claim.own(place("barn")).platform and claim.site == "barn"


def test_a_second_platform_of_the_same_name_is_refused_and_told_what_to_do(place: Any) -> None:
    lake_claim.ensure(place("barn"))
    with pytest.raises(LakeTaken, match=r"'barn'.*on .*set another EDGE_SITE here.*edge sites take-over"):
        lake_claim.ensure(place("barn", home="second"))


def test_so_is_one_that_is_given_a_lake_that_is_not_shared(place: Any, tmp_path: Path) -> None:
    lake = LakeSettings(path=str(tmp_path / "plain"))
    first, second = (place("home", home).model_copy(update={"lake": lake}) for home in ("a", "b"))
    lake_claim.ensure(first)
    with pytest.raises(LakeTaken, match="EDGE_LAKE__SHARED"):
        lake_claim.ensure(second)


def test_of_many_at_once_one_has_it(place: Any) -> None:
    start = threading.Barrier(8)

    def claim(number: int) -> bool:
        own = place("barn", home=f"home{number}")
        start.wait()
        try:
            lake_claim.ensure(own)
        except LakeTaken:
            return False
        return True

    with ThreadPoolExecutor(8) as racers:
        won = [number for number, wins in enumerate(racers.map(claim, range(8))) if wins]
    claim_there = lake_claim.read(place("barn"))
    assert claim_there and claim_there.home == str(place("barn", home=f"home{won[0]}").home)
    assert len(won) == 1


def test_the_same_home_on_another_machine_is_another_platform(
    place: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lake_claim.ensure(place("barn"))
    other_machine = tmp_path / "machine-id"
    other_machine.write_text("another")
    monkeypatch.setattr(lake_claim, "MACHINE", other_machine)
    with pytest.raises(LakeTaken):
        lake_claim.ensure(place("barn"))


def test_a_copied_home_is_another_platform(place: Any, tmp_path: Path) -> None:
    lake_claim.ensure(place("barn"))
    shutil.copytree(place("barn").home, tmp_path / "restored")
    restored = place("barn", home="restored")
    with pytest.raises(LakeTaken):
        lake_claim.ensure(restored)
    before = lake_claim.take_over(restored)
    assert before and before.home == str(place("barn").home)
    lake_claim.ensure(restored)
    with pytest.raises(LakeTaken, match=str(restored.home)):  # the one before, where it still runs
        lake_claim.ensure(place("barn"))


def test_half_a_claim_is_nobodys(place: Any) -> None:
    barn = place("barn")
    barn.lake_path.mkdir(parents=True)
    (barn.lake_path / lake_claim.NAME).write_text('{"site": "ba')
    assert lake_claim.read(barn) is None
    lake_claim.ensure(barn)
    assert lake_claim.read(barn)


def test_a_lake_in_the_home_needs_none(settings: Settings) -> None:
    lake_claim.ensure(settings)
    assert not settings.home.exists()


def test_the_doctor_says_whose_it_is(place: Any) -> None:
    def found(settings: Settings) -> tuple[str, str]:
        (finding,) = [finding for finding in doctor.examine(settings) if finding.check == "claim"]
        return finding.level, finding.found

    barn, second = place("barn"), place("barn", home="second")
    assert found(barn)[0] == "ok"
    lake_claim.ensure(barn)
    assert found(barn)[0] == "ok"
    level, said = found(second)
    assert level == "fail" and str(barn.home) in said


def test_the_commands(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lake_claim.ensure(place("house"))

    def edge(settings: Settings, *words: str) -> str:
        for name, value in settings.environment().items():
            monkeypatch.setenv(name, value)
        done = CliRunner().invoke(app, ["sites", *words])
        assert not done.exit_code, done.output
        return done.output

    listed = json.loads(edge(place("barn"), "list", "--json"))
    assert [(site["site"], bool(site["claim"])) for site in listed] == [("barn", False), ("house", True)]
    assert "no claim" in edge(place("barn"), "list")
    assert str(place("house").home) in edge(place("house", home="second"), "take-over")
    assert str(place("house", home="second").home) in edge(place("barn"), "list")

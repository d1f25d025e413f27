"""Asking for a table as it was, and listing its versions: on real Delta tables, without Spark."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from typer.testing import CliRunner

from edge_assets.cli import app
from edge_assets.errors import LakeError
from edge_assets.settings import Settings
from edge_assets.tables import READINGS
from edge_assets.warehouse.export import export
from edge_assets.warehouse.history import history, version_at
from edge_assets.warehouse.sql import run_sql
from edge_assets.warehouse.time_travel import mentions
from edge_assets_tests.lake_tables import reading, write


@pytest.fixture
def lake(settings: Settings) -> Settings:
    """`silver.readings` with one row at version 0 and one more at each of the next two."""
    for number in range(3):
        write(settings, READINGS, [reading(number, "voltage", value=float(number))])
    return settings


def rows(settings: Settings, query: str) -> list[dict[str, Any]]:
    return json.loads(run_sql(settings, query, "json"))


def count(settings: Settings, source: str) -> int:
    return rows(settings, f"SELECT count(*) AS n FROM {source}")[0]["n"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("silver.readings", 3),
        ("silver.readings AT (VERSION => 0)", 1),
        ("Silver.Readings at(version=>1) AS old", 2),
        ('"silver"."readings" AT ( VERSION /* the second */ => 1 ) old', 2),
        ("silver.readings -- AT (VERSION => 0)\n", 3),
        ("silver.readings AT (TIMESTAMP => '2099-01-01')", 3),
        ("silver.readings AT (TIMESTAMP => TIMESTAMP '2099-01-01 12:00:00+00')", 3),
        ("silver.readings AT (VERSION => 1) WHERE readings.value = 1 AND silver.readings.value IS NOT NULL", 1),
        ("silver.readings AT (VERSION => 1) WHERE 'x AT (VERSION => 9)' <> $$ y AT (VERSION => 9) $$", 2),
        ("silver.readings new LEFT JOIN silver.readings AT (VERSION => 1) old USING (kafka_offset)", 3),
        (
            "silver.readings AT (VERSION => 2) new ANTI JOIN silver.readings AT (VERSION => 0) old "
            "USING (kafka_offset)",
            2,
        ),
        ('(SELECT 1 AS "at", 2 AS version) AS silver WHERE silver."at" = 1', 1),
    ],
)
def test_a_table_as_it_was(lake: Settings, source: str, expected: int) -> None:
    assert count(lake, source.replace("silver.readings.value", '"silver at version 1".readings.value')) == expected


def test_a_time_means_the_version_that_was_the_newest_then(lake: Settings) -> None:
    times = {each.version: each.at for each in history(lake, "silver.readings")}
    assert count(lake, f"silver.readings AT (TIMESTAMP => '{times[1].isoformat()}')") == 2
    assert version_at(lake, ("silver", "readings"), times[2] - timedelta(milliseconds=1)) == 1


def test_an_answer_of_an_old_version_is_exported(lake: Settings, tmp_path: Path) -> None:
    file = tmp_path / "old.csv"
    assert export(lake, "SELECT value FROM silver.readings AT (VERSION => 1)", file).rows == 2


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("silver.readings AT (VERSION => 9)", "no version 9: the log holds 0 to 2"),
        ("silver.readings AT (VERSION => 'x')", "a version is a number"),
        ("silver.readings AT (TIMESTAMP => 'noon')", "expected a time"),
        ("silver.readings AT (TIMESTAMP => '2001-01-01')", "its log begins with version 0"),
        ("silver.readings AT (VERSION 9)", "cannot understand"),
        ("silver.nothing AT (VERSION => 1)", "no table silver.nothing"),
        ("readings_1h AT (VERSION => 1)", "with its layer"),
    ],
)
def test_what_cannot_be_asked_is_one_line(lake: Settings, source: str, says: str) -> None:
    with pytest.raises(LakeError, match=says) as refused:
        rows(lake, f"FROM {source}")
    assert "\n" not in str(refused.value)


def test_a_version_whose_files_are_gone_says_how_long_they_stay(lake: Settings) -> None:
    table = DeltaTable((lake.lake_path / "silver" / "readings").as_uri())
    table.optimize.compact()
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert count(lake, "silver.readings") == 3
    with pytest.raises(LakeError, match=r"2 of its 2 files are no longer kept.*EDGE_STREAM__VACUUM_HOURS"):
        rows(lake, "FROM silver.readings AT (VERSION => 1)")


def test_uses_are_found_where_they_are() -> None:
    query = (
        'SELECT E\'\\\' AT (VERSION => 1)\', x FROM a.b AT (VERSION => 3), "a"."b""c" at (timestamp => \'2026-01-01\')'
    )
    assert [(use.name, use.at) for use in mentions(query)] == [
        (("a", "b"), 3),
        (("a", 'b"c'), datetime(2026, 1, 1, tzinfo=UTC)),
    ]


def test_the_history_says_what_made_each_version(lake: Settings) -> None:
    DeltaTable((lake.lake_path / "silver" / "readings").as_uri()).delete("kafka_offset = 1")
    found = history(lake, "silver.readings")
    assert [(each.version, each.what) for each in found][:2] == [(3, "rows deleted"), (2, "write")]
    assert (found[0].files_added, found[0].files_removed) == (0, 1)
    assert [each.version for each in history(lake, "silver.readings", limit=2)] == [3, 2]
    with pytest.raises(LakeError, match=r"no table 'silver\.nope'"):
        history(lake, "silver.nope")
    with pytest.raises(LakeError, match="has not been written"):
        history(lake, "silver.devices")


def test_the_history_as_a_command(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in lake.environment().items():
        monkeypatch.setenv(name, value)
    shown = CliRunner().invoke(app, ["history", "silver.readings", "--limit", "2"])
    assert shown.exit_code == 0 and shown.output.splitlines()[0].split()[:2] == ["version", "time"]
    assert "(2 rows)" in shown.output
    told = json.loads(CliRunner().invoke(app, ["history", "silver.readings", "--json"]).output)
    assert [version["version"] for version in told] == [2, 1, 0]
    assert datetime.fromisoformat(told[0]["at"]).tzinfo is not None

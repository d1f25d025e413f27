"""Which rows are too old, what a table says of those that went, and how maintenance is cut into slices."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import duckdb
import pytest

from edge_assets import delta_log, retention
from edge_assets.defs.lake_care import few_files, short_log
from edge_assets.errors import SettingsError
from edge_assets.retention import Expired
from edge_assets.settings import RetentionRule, Settings, load_settings
from edge_assets.stream import durability
from edge_assets.stream.maintenance import part_below
from edge_assets.warehouse.tidiness import Tidiness

RULES = (
    RetentionRule(device="plug*", measurement="link?uality", raw_days=10),
    RetentionRule(device="0x01", raw_days=None),
    RetentionRule(device="100%_*", raw_days=5),
    RetentionRule(raw_days=30),
)


def went(old: tuple[RetentionRule, ...], device: str, name: str | None, measurement: str) -> bool:
    condition = retention.too_old(RULES, old, "device_id, device_name", "measurement")
    row = "SELECT $d AS device_id, $n AS device_name, $m AS measurement"
    with duckdb.connect() as opened:
        (found,) = opened.execute(
            f"SELECT {condition} FROM ({row})", {"d": device, "n": name, "m": measurement}
        ).fetchone() or (None,)
    return bool(found)


@pytest.mark.parametrize(
    ("device", "name", "measurement", "by_first", "by_all"),
    [
        ("0x02", "plug 1", "linkquality", True, True),
        ("plug", None, "linkquality", True, True),
        ("0x02", "plug 1", "power", False, True),
        ("0x01", "plug 1", "linkquality", True, True),
        ("0x01", "plug 1", "power", False, False),
        ("0x02", "a plug", "linkquality", False, True),
        ("0x02", None, "power", False, True),
    ],
)
def test_the_first_rule_that_matches_counts(
    device: str, name: str | None, measurement: str, by_first: bool, by_all: bool
) -> None:
    assert went(RULES[:1], device, name, measurement) is by_first
    assert went(tuple(rule for rule in RULES if rule.raw_days), device, name, measurement) is by_all


def test_signs_of_sql_stand_for_themselves() -> None:
    assert went(RULES[2:3], "100%_humid", None, "x")
    assert not went(RULES[2:3], "1000 humid", None, "x")


def test_a_rule_for_all_needs_no_look_at_rows() -> None:
    catch_all = (RetentionRule(raw_days=3),)
    assert retention.too_old(catch_all, catch_all, "device_id", "measurement") == "true"
    assert retention.too_old(catch_all, (), "device_id", "measurement") == "false"
    assert retention.too_old((), (), "device_id", "measurement") == "false"
    assert retention.for_rooms(RULES) == list(RULES[1:])


def test_days_are_counted_from_the_day_of_receipt() -> None:
    assert retention.last_day(date(2026, 3, 10), 2) == date(2026, 3, 7)


def test_a_table_says_what_has_gone() -> None:
    days = [date(2026, 1, 3), date(2026, 1, 1), date(2026, 1, 2), date(2026, 2, 1)]
    spans = retention.with_days([(date(2025, 12, 30), date(2025, 12, 31))], days)
    assert spans == ((date(2025, 12, 30), date(2026, 1, 3)), (date(2026, 2, 1), date(2026, 2, 1)))
    expired = Expired(date(2026, 2, 2), spans, {("log", "topic", 0): 17}, {retention.key(RULES[0]): date(2026, 1, 9)})
    assert Expired.of({retention.PROPERTY: expired.encode()}) == expired
    assert Expired.of({}) == Expired()
    assert expired.holds(date(2026, 1, 2)) and not expired.holds(date(2026, 1, 4))


def test_a_commit_that_gave_up_rows_is_known_by_its_mark() -> None:
    assert retention.is_marked(json.dumps({"batch": 3, retention.MARK: True}))
    assert not any(map(retention.is_marked, (None, "", "no json", "[]", '{"batch": 3}')))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"bronze_days": 1}, "2 at least"),
        ({"tables": {"silver.devices": 30}}, "no days of its own"),
        ({"tables": {"bronze.events": 30}}, "retention.bronze_days"),
        ({"tables": {"silver.readings": 30}}, "retention.readings"),
        ({"tables": {"silver.device_states": 1}}, "2 days at least"),
        ({"readings": [{"raw_days": 1}]}, "greater than or equal to 2"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, given: dict, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load_settings(_env_file=None, home=tmp_path, retention=given)


def test_rules_reach_child_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = load_settings(_env_file=None, home=tmp_path, retention={"readings": RULES, "bronze_days": 0})
    for name, value in ours.environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings(_env_file=None).retention == ours.retention


# --- slices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "least", "limit"),
    [
        ([1, 2, 3], 8, None),
        ([], 2, None),
        ([5], 2, None),
        ([1, 2, 3], 2, 4),
        ([10, 20, 30, 40, 60], 2, 60),
        ([60, 60, 60, 60], 2, 61),
        ([1, 60, 60, 61], 2, 61),
    ],
)
def test_a_slice_joins_no_more_than_it_may(sizes: list[int], least: int, limit: int | None) -> None:
    assert part_below(sizes, 100, least) == limit


# --- notes -----------------------------------------------------------------------------------------------------------


def commit(folder: Path, version: int, metadata: str | None) -> None:
    info = {"commitInfo": {"operation": "WRITE", **({"userMetadata": metadata} if metadata else {})}}
    (folder / "_delta_log").mkdir(parents=True, exist_ok=True)
    (folder / "_delta_log" / f"{version:020}.json").write_text(json.dumps(info))


def test_maintenance_carries_the_note_of_the_last_batch_on(tmp_path: Path) -> None:
    commit(tmp_path, 3, json.dumps({"batch": 7, "positions": []}))
    for version in range(4, 60):
        commit(tmp_path, version, durability.carried(tmp_path, retention=True))
    for version in range(3, 59):
        (tmp_path / "_delta_log" / f"{version:020}.json").unlink()
    note = durability.note_before(tmp_path)
    assert note and note["batch"] == 7 and note["retention"]


def test_a_table_without_a_batch_carries_none(tmp_path: Path) -> None:
    commit(tmp_path, 0, None)
    commit(tmp_path, 1, durability.carried(tmp_path))
    assert durability.note_before(tmp_path) is None


# --- checks ----------------------------------------------------------------------------------------------------------


def test_the_log_is_measured_from_its_last_checkpoint(tmp_path: Path) -> None:
    for version in range(12):
        commit(tmp_path, version, None)
    assert len(delta_log.listed(tmp_path).since_checkpoint) == 12
    (tmp_path / "_delta_log" / f"{9:020}.checkpoint.parquet").touch()
    (tmp_path / "_delta_log" / "_last_checkpoint").touch()
    assert len(delta_log.listed(tmp_path).since_checkpoint) == 2
    assert delta_log.listed(tmp_path / "nowhere") == delta_log.Log()


def test_checks_fail_beyond_their_limits(settings: Settings) -> None:
    stream = settings.stream.model_copy(update={"most_files_a_day": 10, "longest_log": 60})
    settings = settings.model_copy(update={"stream": stream})

    def passes(most: int, log: int) -> tuple[bool, bool]:
        found = Tidiness("silver.readings", 99, 1_000, "2026-03-01", most, log)
        return few_files(settings, found).passed, short_log(settings, found).passed

    assert passes(10, 60) == (True, True)
    assert passes(11, 60) == (False, True)
    assert passes(10, 61) == (True, False)

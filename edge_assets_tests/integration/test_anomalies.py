"""Anomalies from readings in silver to rows of gold.anomalies: once each, whatever is killed, lost or repeated."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from edge_assets.anomalies import memory as memories
from edge_assets.anomalies import run as running
from edge_assets.anomalies import table
from edge_assets.anomalies.judgement import judgements
from edge_assets.anomalies.run import Outcome, run
from edge_assets.delta_log import commits
from edge_assets.errors import AlreadyRunning
from edge_assets.service import service_lock
from edge_assets.settings import Settings, load_settings
from edge_assets.warehouse.rollups.update import rebuild_all, update
from edge_assets.warehouse.sql import run_sql
from edge_assets_tests.anomaly_lake import heard, told, windows
from edge_assets_tests.lake_tables import AT

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
BEGIN = AT - timedelta(hours=12)
LEARNT = BEGIN + 9 * DAY
SPIKE = LEARNT + timedelta(hours=30)
JUMPS = {(SPIKE, SPIKE + timedelta(minutes=1)): 15.0}


class Killed(BaseException):
    """What no code of ours catches."""


@contextmanager
def killed(module: object, name: str, after: bool) -> Iterator[None]:
    """Die before or after a step of a run."""
    real = getattr(module, name)

    def step(*given: object) -> object:
        if after:
            real(*given)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, step)
        yield


def go_on(settings: Settings, begin: datetime, end: datetime, jumps: dict[tuple[datetime, datetime], float]) -> Outcome:
    heard(settings, begin, end, jumps)
    update(settings)
    return run(settings)


@pytest.fixture(scope="module")
def quiet_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with nine quiet days, scored: made once, and copied for each test."""
    settings = load_settings(_env_file=None, home=tmp_path_factory.mktemp("quiet"), simulators={"enabled": False})
    assert go_on(settings, BEGIN, LEARNT, {}).learnt_anew
    return settings.home


@pytest.fixture
def learnt(settings: Settings, quiet_home: Path) -> Settings:
    shutil.copytree(quiet_home, settings.home, dirs_exist_ok=True)
    return settings


def test_a_spike_is_a_row_that_edge_sql_shows(learnt: Settings) -> None:
    outcome = go_on(learnt, LEARNT, LEARNT + 2 * DAY, JUMPS)
    assert outcome.found == 1 and not outcome.learnt_anew and outcome.judged == 2
    (row,) = json.loads(run_sql(learnt, "from gold.anomalies", "json"))
    about = {name: row[name] for name in ("kind", "device_id", "device_name", "measurement", "unit", "type")}
    assert about == {
        "kind": "device",
        "device_id": "0x0",
        "device_name": "sensor 0",
        "measurement": "temperature",
        "unit": "°C",
        "type": "spike",
    }
    assert windows(told(learnt)) == [("0x0", "spike", SPIKE)]
    assert row["value"] - row["expected"] == pytest.approx(15, abs=1.5)
    assert row["score"] == pytest.approx(abs(row["value"] - row["expected"]) / row["tolerance"])


def test_before_anything_was_found_the_table_is_empty_and_there(settings: Settings) -> None:
    assert run(settings).until is None
    assert json.loads(run_sql(settings, "select count(*) as n from gold.anomalies", "json")) == [{"n": 0}]
    assert "gold" in run_sql(settings, "show all tables")


def test_a_run_again_and_a_run_with_nothing_new_tell_nothing(learnt: Settings) -> None:
    go_on(learnt, LEARNT, LEARNT + 2 * DAY, JUMPS)
    before = told(learnt)
    assert [run(learnt).found, run(learnt).minutes] == [0, 0]
    assert go_on(learnt, LEARNT + 2 * DAY, LEARNT + 2 * DAY + HOUR, {}).found == 0
    assert told(learnt) == before


@pytest.mark.parametrize(
    ("step", "after"),
    [((table, "append"), False), ((table, "append"), True), ((memories, "write"), True)],
    ids=["before the commit", "after the commit", "after the memory"],
)
def test_a_kill_at_any_step_loses_nothing_and_repeats_nothing(
    learnt: Settings, step: tuple[object, str], after: bool
) -> None:
    heard(learnt, LEARNT, LEARNT + 2 * DAY, JUMPS)
    update(learnt)
    with killed(*step, after), pytest.raises(Killed):
        run(learnt)
    run(learnt)
    assert windows(told(learnt)) == [("0x0", "spike", SPIKE)]
    go_on(learnt, LEARNT + 2 * DAY, LEARNT + 3 * DAY, {})
    assert windows(told(learnt)) == [("0x0", "spike", SPIKE)]


@pytest.mark.parametrize("harm", ["torn", "of another version", pytest.param("gone", marks=pytest.mark.slow)])
def test_a_memory_that_cannot_be_used_is_learnt_anew_and_repeats_nothing(
    learnt: Settings, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on(learnt, LEARNT, LEARNT + 2 * DAY, JUMPS)
    file = memories.path(learnt)
    if harm == "gone":
        file.unlink()
    elif harm == "torn":
        file.write_bytes(file.read_bytes()[:1_000])
    else:
        monkeypatch.setattr(memories, "FORMAT", memories.FORMAT + 1)
    again = {(LEARNT + 4 * DAY, LEARNT + 4 * DAY + timedelta(minutes=1)): -15.0}
    outcome = go_on(learnt, LEARNT + 2 * DAY, LEARNT + 5 * DAY, again)
    assert outcome.learnt_anew and outcome.found == 1
    assert windows(told(learnt)) == [("0x0", "spike", SPIKE), ("0x0", "spike", LEARNT + 4 * DAY)]


def test_the_table_s_loss_is_made_good(learnt: Settings) -> None:
    """The memory is ahead of the table then, and is not believed."""
    go_on(learnt, LEARNT, LEARNT + 2 * DAY, JUMPS)
    before = told(learnt)
    shutil.rmtree(table.folder(learnt))
    assert go_on(learnt, LEARNT + 2 * DAY, LEARNT + 2 * DAY + HOUR, {}).learnt_anew
    assert told(learnt) == before


@pytest.mark.parametrize("tear", ["commit", "file"])
def test_a_commit_that_a_power_cut_tore_is_found_again(learnt: Settings, tear: str) -> None:
    go_on(learnt, LEARNT, LEARNT + 2 * DAY, JUMPS)
    before = told(learnt)
    newest = commits(table.folder(learnt))[-1].path
    torn = newest if tear == "commit" else next(table.folder(learnt).glob("*.parquet"))
    torn.write_bytes(b"")
    go_on(learnt, LEARNT + 2 * DAY, LEARNT + 2 * DAY + HOUR, {})
    assert told(learnt) == before


def test_little_by_little_is_the_same_as_at_once(learnt: Settings, settings: Settings) -> None:
    jumps = JUMPS | {(LEARNT + 4 * DAY, LEARNT + 4.5 * DAY): 9.0}
    end = LEARNT + 5 * DAY
    whole = learnt.model_copy(update={"home": learnt.home.with_name("whole")})
    heard(whole, BEGIN, end, jumps)
    update(whole)
    run(whole)
    at = LEARNT
    for hours in (1, 29, 1, 23, 50, 16):
        go_on(learnt, at, at + hours * HOUR, jumps)
        at += hours * HOUR
    assert at == end
    assert told(learnt) == told(whole) and len(told(whole)) == 2


def test_late_rows_are_no_news_but_are_rolled_up(learnt: Settings) -> None:
    """A minute is scored once, some minutes after its end."""
    go_on(learnt, LEARNT, LEARNT + 2 * DAY, {})
    heard(learnt, SPIKE, SPIKE + timedelta(minutes=1), {(SPIKE, SPIKE + HOUR): 90.0})
    update(learnt)
    assert run(learnt).found == 0 and told(learnt) == []


def test_what_comes_within_the_wait_is_scored_with_its_minute(learnt: Settings) -> None:
    end = LEARNT + 30 * HOUR + timedelta(minutes=1)
    assert go_on(learnt, LEARNT, end, JUMPS).found == 0
    assert go_on(learnt, SPIKE + timedelta(minutes=30), SPIKE + HOUR, {}).found == 1


def test_rollups_that_are_made_anew_tell_nothing_again(learnt: Settings) -> None:
    go_on(learnt, LEARNT, LEARNT + 2 * DAY, JUMPS)
    before = told(learnt)
    rebuild_all(learnt)
    assert run(learnt).found == 0 and told(learnt) == before


def test_two_runs_wait_for_each_other(learnt: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "WAIT_SECONDS", 0.3)
    with service_lock(learnt, running.LOCK), pytest.raises(AlreadyRunning, match="anomalies"):
        run(learnt)
    assert run(learnt).found == 0


def test_many_small_files_become_one(learnt: Settings) -> None:
    go_on(learnt, LEARNT, LEARNT + 2 * DAY, JUMPS)
    again = {(LEARNT + 4 * DAY, LEARNT + 4 * DAY + timedelta(minutes=1)): -15.0}
    go_on(learnt, LEARNT + 2 * DAY, LEARNT + 5 * DAY, again)
    before = told(learnt)
    assert not table.tidy(learnt) and table.tidy(learnt, files=2)
    assert told(learnt) == before and len(before) == 2
    assert go_on(learnt, LEARNT + 5 * DAY, LEARNT + 5 * DAY + HOUR, {}).found == 0


def test_the_checks_hold_and_fail_where_they_must(learnt: Settings) -> None:
    outcome = go_on(learnt, LEARNT, LEARNT + 2 * DAY, JUMPS)
    assert all(one.passed for one in judgements(learnt, outcome).values()) and outcome.rows == 1
    memory = memories.read(learnt)
    assert memory is not None
    at = int((LEARNT + 2 * DAY).timestamp())
    names = [f"0x{n}" for n in range(9)]
    numbers = memory.numbers([memory.series[0]._replace(device_id=name) for name in names], list(names))
    found = [table.Found(n, "spike", at - 3_600, at, 9.0, 1.0, 2.0) for n in numbers]
    table.append(learnt, memory, found)
    held = judgements(learnt, outcome)
    assert not held["few_alarm"].passed and "9 of 2 series" in held["few_alarm"].words
    assert not held["told_once"].passed and held["told_once"].figures["repeats"] == 1

"""The backtest says of the lake's history what the engine would have said live; and the commands say it to people."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from edge_assets.alerts import desk
from edge_assets.alerts.backtest import backtest, said
from edge_assets.alerts.commands import app
from edge_assets.alerts.engine import Engine
from edge_assets.alerts.rule_file import parse
from edge_assets.errors import AlertError
from edge_assets.settings import Settings
from edge_assets.tables import READINGS, ROOM_TELEMETRY
from edge_assets_tests.alert_model import observation
from edge_assets_tests.lake_tables import position, reading, write

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
RULES = """
time_zone: UTC
rules:
  - {name: overload, condition: {measurement: power, above: 3000, clear: 2800}, for: 5m, clear_after: 10m}
  - {name: stuffy, kind: room, condition: {measurement: co2_ppm, above: 1000}}
  - {name: away, condition: {offline: true}}
"""


def at(minutes: float) -> datetime:
    return BEGIN + timedelta(minutes=minutes)


def powers() -> list[tuple[float, float]]:
    """Minutes and watts: an overload from the evening before to the first morning, a short one, and a later one."""
    return [
        (m, 3500.0 if -60 <= m < 240 or 1500 <= m < 1504 or 2000 <= m < 2060 else 5.0) for m in range(-300, 3000, 2)
    ]


@pytest.fixture
def lake(settings: Settings) -> Settings:
    rows: list[dict[str, Any]] = []
    for number, (minutes, watts) in enumerate(powers()):
        day = {"event_time": at(minutes), "received_at": at(minutes), "date": at(minutes).date(), "device_name": "plug"}
        rows.append(reading(number, "power", value=watts, unit="W", **day))
        rows.append(reading(number, "other", value=watts, **day))
    write(settings, READINGS, rows)
    room = {"site": "home", "room_id": "lab", "quality": "good"}
    write(
        settings,
        ROOM_TELEMETRY,
        [
            {**room, **position(n), "co2_ppm": ppm, "event_time": at(n), "received_at": at(n), "date": at(n).date()}
            for n, ppm in enumerate((900.0, 1200.0, 1100.0, 800.0))
        ],
    )
    return settings


def test_as_the_engine_says(lake: Settings) -> None:
    rules = parse(RULES)
    shares: list[float] = []
    found = backtest(lake, rules, at(0), at(2900), shares.append)
    told = [(e.rule, e.transition, (e.event_time // 1_000_000 - int(BEGIN.timestamp())) / 60) for e in found.events]
    assert told == [
        ("stuffy", "firing", 1),
        ("stuffy", "cleared", 3),
        ("overload", "cleared", 250),
        ("overload", "firing", 2005),
        ("overload", "cleared", 2070),
    ]
    assert shares[-1] == 1.0 and shares == sorted(shares)
    engine, live = Engine(rules), []
    for minutes, watts in powers():
        micros = int(at(minutes).timestamp() * 1_000_000)
        live += engine.tick(micros) + engine.observe(observation("0x01", "power", watts, micros, name="plug", unit="W"))
    ours = [event for event in found.events if event.rule == "overload"]
    assert [event for event in live if event.event_time >= ours[0].event_time] == ours
    assert "overload                 would have fired 1 times, 1 h 5 min in all" in said(found, rules)


def test_a_range_that_is_none(lake: Settings) -> None:
    with pytest.raises(AlertError, match="is not before --to"):
        backtest(lake, parse(RULES), at(5), at(5))


def test_a_lake_without_anything(settings: Settings) -> None:
    assert backtest(settings, parse(RULES), at(0), at(5)).events == []


def command(settings: Settings, monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str]:
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.output


def test_the_commands(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    code, told = command(lake, monkeypatch, "check")
    assert code == 0 and "7 rules, 4 of them enabled" in told
    file = lake.home / "mine.yaml"
    file.write_text(RULES)
    code, told = command(lake, monkeypatch, "test", str(file), "--from", "2026-03-01", "--to", "2026-03-03", "--json")
    found = json.loads(told[told.index("{") :])
    assert code == 0 and [rule["fired"] for rule in found["rules"]] == [1, 1, 0]
    file.write_text(RULES.replace("above: 3000", "abov: 3000"))
    code, told = command(lake, monkeypatch, "check", str(file))
    assert code == 1 and "mine.yaml:4: rules[0].condition" in told
    assert command(lake, monkeypatch, "list") == (0, "no open alerts\n")
    code, told = command(lake, monkeypatch, "mute", "over*", "--minutes", "5")
    assert code == 0 and "rules over*" in told and len(desk.mutes(lake)) == 1
    assert command(lake, monkeypatch, "unmute") == (0, "1 taken back\n")
    code, told = command(lake, monkeypatch, "rules")
    assert code == 0 and "plug-overload            critical" in told and "(not enabled)" in told
    done = CliRunner().invoke(app, ["ack", "nonsense"])
    assert isinstance(done.exception, AlertError)

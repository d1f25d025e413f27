"""What the rollups should say, computed anew from silver in plain Python: no DuckDB, no increments."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
from deltalake import DeltaTable

from edge_assets.settings import Settings
from edge_assets.warehouse.rollups.layout import database_path

ROOM_UNITS = {
    "temperature": "°C",
    "humidity": "%",
    "co2_ppm": "ppm",
    "light_lux": "lx",
    "occupancy_count": None,
    "motion_detected": None,
    "energy_kwh": "kWh",
    "air_quality_index": None,
}
DAY = timedelta(days=1)
YEAR = timedelta(days=366)
Rows = dict[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Reading:
    kind: str
    site: str
    device_id: str
    device_name: str | None
    measurement: str
    value: float | None
    unit: str | None
    at: datetime
    quality: str | None
    offset: int

    @property
    def counts(self) -> bool:
        return self.value is not None and "implausible" not in (self.quality or "").split(" ")

    @property
    def number(self) -> float:
        assert self.value is not None
        return self.value

    @property
    def device(self) -> tuple[str, str, str]:
        return self.kind, self.site, self.device_id


def readings(settings: Settings) -> list[Reading]:
    """All rows of silver, rooms taken apart, in the order of their times."""
    found = [
        Reading("device", r["site"], r["device_id"], r["device_name"], r["measurement"], r["value"], r["unit"],
                r["event_time"], r["quality"], r["kafka_offset"])
        for r in _rows(settings, "readings")
    ]  # fmt: skip
    for r in _rows(settings, "room_telemetry"):
        for name, unit in ROOM_UNITS.items():
            if r.get(name) is not None:
                who = r.get("room_name") or r["room_id"]
                found.append(
                    Reading("room", r["site"], r["room_id"], who, name, float(r[name]), unit, r["event_time"],
                            r["quality"], r["kafka_offset"])
                )  # fmt: skip
    return sorted(found, key=lambda r: (r.at, r.offset))


def _rows(settings: Settings, table: str) -> list[dict[str, Any]]:
    path = settings.lake_path / "silver" / table
    return DeltaTable(path).to_pyarrow_table().to_pylist() if (path / "_delta_log").is_dir() else []


def floor(at: datetime, seconds: int) -> datetime:
    whole = int(at.timestamp()) // seconds * seconds
    return datetime.fromtimestamp(whole, UTC)


def series(rows: Sequence[Reading], seconds: int) -> Rows:
    found: dict[tuple[Any, ...], list[Reading]] = defaultdict(list)
    for r in rows:
        if r.counts:
            found[(floor(r.at, seconds), *r.device, r.measurement, r.unit)].append(r)
    return {
        key: {
            "device_name": these[-1].device_name,
            "n": len(these),
            "min": min(r.number for r in these),
            "max": max(r.number for r in these),
            "avg": math.fsum(r.number for r in these) / len(these),
            "sum": math.fsum(r.number for r in these),
            "first": these[0].value,
            "last": these[-1].value,
        }
        for key, these in found.items()
    }


def energy(rows: Sequence[Reading], max_kw: float = 100) -> Rows:
    days: Rows = {}
    for device, its in _by_device(rows, lambda r: (r.kind, r.measurement) in ENERGY).items():
        before: Reading | None = None
        for r in its:
            day = r.at.date()
            row = days.setdefault(
                (day, *device), {"energy_kwh": 0.0, "readings": 0, "resets": 0, "jumps": 0, "counter_kwh": 0.0}
            )
            row["device_name"], row["counter_kwh"] = r.device_name, kwh(r)
            row["readings"] += 1
            if before is not None and day - before.at.date() <= YEAR:
                # Of the last reading of an earlier day only the day counts.
                since = before.at if before.at.date() == day else floor(before.at, 86_400)
                step, hours = kwh(r) - kwh(before), max((r.at - since).total_seconds(), 60) / 3600
                thousandfold = kwh(before) > 0 and kwh(r) >= 1000 * kwh(before) and step > 1
                if step < 0:
                    row["resets"] += 1
                elif step > max_kw * hours or thousandfold:
                    row["jumps"] += 1
                else:
                    row["energy_kwh"] += step
            before = r
    return days


ENERGY = {("device", "energy"), ("room", "energy_kwh")}


def kwh(r: Reading) -> float:
    return r.number * {"Wh": 0.001, "MWh": 1000}.get(r.unit or "", 1)


def doors(rows: Sequence[Reading]) -> Rows:
    days: Rows = {}

    def row(day: date, device: tuple[str, ...]) -> dict[str, Any]:
        return days.setdefault(
            (day, *device[1:]), {"openings": 0, "closings": 0, "open_seconds": 0.0, "readings": 0, "runs": {}}
        )

    for device, its in _by_device(rows, lambda r: (r.kind, r.measurement) == ("device", "contact")).items():
        before: Reading | None = None
        run = 0
        for number, r in enumerate(its):
            today = row(r.at.date(), device)
            today["readings"] += 1
            if before is not None and r.at.date() - before.at.date() <= YEAR:
                today["openings"] += before.value != 0 and r.value == 0
                today["closings"] += before.value == 0 and r.value != 0
            if before is None or before.value != 0:
                run += 1
            if r.value == 0 and number + 1 < len(its):
                at, end = r.at, min(its[number + 1].at, r.at + DAY)
                while at < end:
                    midnight = floor(at, 86_400) + DAY
                    its_day = row(at.date(), device)
                    seconds = (min(end, midnight) - at).total_seconds()
                    its_day["open_seconds"] += seconds
                    its_day["runs"][run] = its_day["runs"].get(run, 0.0) + seconds
                    at = midnight
            before = r
    for its_day in days.values():
        its_day["longest_open_seconds"] = max(its_day.pop("runs").values(), default=0.0)
    return days


def messages(rows: Sequence[Reading]) -> Rows:
    found: Rows = {}
    for device, its in _by_device(rows, lambda r: True, counting=False).items():
        before: datetime | None = None
        gaps: dict[date, list[float]] = defaultdict(list)
        for at in sorted({r.at for r in its}):
            row = found.setdefault((at.date(), *device), {"messages": 0, "first_at": at})
            row["messages"] += 1
            row["last_at"] = at
            if before is not None and at.date() - before.date() <= YEAR:
                gaps[at.date()].append((at - before).total_seconds())
            before = at
        for day in {r.at.date() for r in its}:
            row = found[(day, *device)]
            row["gap_median_seconds"] = statistics.median(gaps[day]) if gaps[day] else None
            row["gap_p95_seconds"] = _quantile(gaps[day], 0.95) if gaps[day] else None
    return found


def health(rows: Sequence[Reading]) -> Rows:
    heard, daily = messages(rows), series(rows, 86_400)
    found: Rows = {}
    for device in {key[1:] for key in heard}:
        its = [row for key, row in sorted(heard.items()) if key[1:] == device]
        latest = its[-7:]
        medians = [row["gap_median_seconds"] for row in latest if row["gap_median_seconds"] is not None]
        worst = [row["gap_p95_seconds"] for row in latest if row["gap_p95_seconds"] is not None]
        said = {key[4]: row["last"] for key, row in sorted(daily.items(), key=lambda i: i[0][0]) if key[1:4] == device}
        found[device] = {
            "last_seen": its[-1]["last_at"],
            "battery_percent": said.get("battery"),
            "linkquality": said.get("linkquality"),
            "cadence_seconds": statistics.median(medians) if medians else None,
            "cadence_p95_seconds": max(worst) if worst else None,
        }
    return found


def comfort(rows: Sequence[Reading]) -> Rows:
    minutes = series([r for r in rows if r.kind == "room"], 60)
    hours: dict[tuple[Any, ...], dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for (bucket, _, site, room, measurement, _), row in minutes.items():
        hours[(floor(bucket, 3_600), site, room)][measurement].append(row)
    return {key: _comfort(by) for key, by in hours.items()}


def _comfort(by: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for measurement, name in (("temperature", "temperature"), ("humidity", "humidity"), ("co2_ppm", "co2")):
        these = by.get(measurement, [])
        n = sum(m["n"] for m in these)
        row[f"{name}_avg"] = math.fsum(m["sum"] for m in these) / n if n else None
        row[f"{name}_min"] = min((m["min"] for m in these), default=None)
        row[f"{name}_max"] = max((m["max"] for m in these), default=None)
    people = by.get("occupancy_count") or by.get("motion_detected") or []
    row["occupied_share"] = sum(m["max"] > 0 for m in people) / len(people) if people else None
    t, h, c = row["temperature_avg"], row["humidity_avg"], row["co2_avg"]

    def within(low: float, high: float, dry: float, damp: float, stale: float) -> bool:
        return (t is None or low <= t <= high) and (h is None or dry <= h <= damp) and (c is None or c <= stale)

    known = not (t is None and h is None and c is None)
    classes = "good" if within(20, 24, 30, 60, 1000) else "fair" if within(18, 26, 25, 70, 1400) else "poor"
    row["comfort"] = classes if known else None
    return row


def _by_device(
    rows: Iterable[Reading], which: Callable[[Reading], bool], counting: bool = True
) -> dict[tuple[str, str, str], list[Reading]]:
    found: dict[tuple[str, str, str], list[Reading]] = defaultdict(list)
    for r in rows:
        if which(r) and (r.counts or not counting):
            found[r.device].append(r)
    return found


def _quantile(values: list[float], share: float) -> float:
    values = sorted(values)
    at = (len(values) - 1) * share
    low = math.floor(at)
    return values[low] + (values[min(low + 1, len(values) - 1)] - values[low]) * (at - low)


KEYS = {
    "readings_1m": ("bucket", "kind", "site", "device_id", "measurement", "unit"),
    "readings_1h": ("bucket", "kind", "site", "device_id", "measurement", "unit"),
    "readings_1d": ("bucket", "kind", "site", "device_id", "measurement", "unit"),
    "energy_daily": ("day", "kind", "site", "device_id"),
    "door_activity": ("day", "site", "device_id"),
    "messages_daily": ("day", "kind", "site", "device_id"),
    "room_comfort": ("bucket", "site", "room_id"),
    "device_health": ("kind", "site", "device_id"),
}


def expected(settings: Settings) -> dict[str, Rows]:
    rows = readings(settings)
    return {
        "readings_1m": series(rows, 60),
        "readings_1h": series(rows, 3_600),
        "readings_1d": series(rows, 86_400),
        "energy_daily": energy(rows, settings.rollups.energy_max_kw),
        "door_activity": doors(rows),
        "messages_daily": messages(rows),
        "room_comfort": comfort(rows),
        "device_health": health(rows),
    }


def told(settings: Settings, name: str) -> Rows:
    """What a reader finds in the published file. A row that is there twice fails."""
    with duckdb.connect(str(database_path(settings)), read_only=True) as opened:
        opened.execute("SET TimeZone = 'UTC'")
        rows = opened.sql(f"FROM {name}").to_arrow_table().to_pylist()
    found: Rows = {}
    for row in rows:
        key = tuple(row[column] for column in KEYS[name])
        assert key not in found, f"{name} has {key} twice"
        found[key] = row
    return found


def assert_equal_to_a_recompute(settings: Settings) -> None:
    wanted = expected(settings)
    assert_same(wanted, {name: told(settings, name) for name in wanted})


def assert_same(wanted: dict[str, Rows], found: dict[str, Rows]) -> None:
    """The same rows with the same values; sums may differ in their last digits, by the order of adding."""
    for name, rows in wanted.items():
        missing, surplus = set(rows) - set(found[name]), set(found[name]) - set(rows)
        assert not missing and not surplus, f"{name}: missing {missing}, too many {surplus}"
        for key, row in rows.items():
            for column, value in row.items():
                is_said = found[name][key][column]
                assert _same(is_said, value), f"{name} {key} {column}: {is_said} is not {value}"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-6)
    return bool(one == other)

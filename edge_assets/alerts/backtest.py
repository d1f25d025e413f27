"""What rules would have said of the lake's history: the same engine over the rows of silver, by event time.

What history cannot tell: `bridge/state` is in no table, so that a network that was away shows as silences of its
devices; and where nothing at all was received for a while, the platform itself was away, and silences do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from edge_assets.alert_record import AlertEvent, iso
from edge_assets.alerts import durations
from edge_assets.alerts.conditions import compiled
from edge_assets.alerts.engine import Engine
from edge_assets.alerts.rules import Rules
from edge_assets.decoding.contract import AVAILABILITY
from edge_assets.errors import AlertError
from edge_assets.listening.heard import Device, Observation
from edge_assets.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

WARM_UP = timedelta(days=1)
"""before the begin, so that what held already is known; what fires in it is not told"""
AWAY = 15 * 60 * durations.SECOND
AT_ONCE = 10_000

Progress = Callable[[float], None]


@dataclass(slots=True)
class Backtest:
    """What would have been told, and of how much."""

    begin: int
    end: int
    rows: int = 0
    events: list[AlertEvent] = field(default_factory=list)

    def as_dict(self, rules: Rules) -> dict[str, Any]:
        return {
            "from": iso(self.begin),
            "to": iso(self.end),
            "rows": self.rows,
            "rules": [self.of_rule(rule.name) for rule in rules.in_force],
            "events": [
                {**asdict(event), "since": iso(event.since), "event_time": iso(event.event_time)}
                for event in self.events
            ],
        }

    def of_rule(self, name: str) -> dict[str, Any]:
        """How often a rule fired, and for how long in all (what is open at the end counts until then)."""
        mine = [event for event in self.events if event.rule == name]
        cleared = {event.alert_id: event.event_time for event in mine if event.transition == "cleared"}
        firing = [event for event in mine if event.transition == "firing"]
        lasted = [cleared.get(event.alert_id, self.end) - event.event_time for event in firing]
        return {
            "rule": name,
            "fired": len(firing),
            "devices": len({(event.kind, event.device_id) for event in firing}),
            "open_at_the_end": sum(event.alert_id not in cleared for event in firing),
            "seconds": sum(lasted) / durations.SECOND,
            "longest_seconds": max(lasted, default=0) / durations.SECOND,
        }


def backtest(
    settings: Settings, rules: Rules, begin: datetime, end: datetime, progress: Progress = lambda share: None
) -> Backtest:
    """Run the rules over what was measured from `begin` to before `end`. Raises `AlertError`, `LakeError`."""
    if begin >= end:
        raise AlertError(f"testing rules: --from {begin:%Y-%m-%d %H:%M} is not before --to {end:%Y-%m-%d %H:%M} (UTC)")
    found = Backtest(_micros(begin), _micros(end))
    engine = Engine(rules, away_after=AWAY)
    events: list[AlertEvent] = []
    for said in _observations(settings, _wanted(rules), begin - WARM_UP, end, progress):
        events += engine.tick(said.event_time)
        events += engine.observe(said)
        found.rows += said.event_time >= found.begin
    events += engine.tick(min(found.end, _micros(datetime.now(UTC))) - 1)
    found.events = [event for event in events if found.begin <= event.event_time < found.end]
    return found


def said(found: Backtest, rules: Rules, most: int = 40) -> str:
    """The same for a person."""
    lines = [f"{found.rows:,} values from {_minute(found.begin)} to {_minute(found.end)} (UTC)"]
    for rule in rules.in_force:
        one = found.of_rule(rule.name)
        spans = f", {durations.words(int(one['seconds'] * 1e6))} in all" if one["fired"] else ""
        still = f", {one['open_at_the_end']} still open at the end" if one["open_at_the_end"] else ""
        lines.append(f"  {rule.name:24} would have fired {one['fired']:,} times{spans}{still}")
    lines += [
        f"{iso(event.event_time)[:19]}  {event.transition:8} {event.rule}: {event.message}"
        for event in found.events[:most]
    ]
    if len(found.events) > most:
        lines.append(f"… and {len(found.events) - most:,} more; --json has them all")
    return "\n".join(lines)


def _wanted(rules: Rules) -> frozenset[str] | None:
    """The measurements that the rules need to see; None: all, since a silence is broken by any of them."""
    needed: set[str] = set()
    for rule in rules.in_force:
        parts = compiled(rule.condition)
        if any(getattr(parts.leaves[number], "silence_times", 0) for number in parts.of_presence):
            return None
        needed |= parts.measurements | {AVAILABILITY}
        needed |= {rule.having} if rule.having else set()
    return frozenset(needed)


def _observations(
    settings: Settings, wanted: frozenset[str] | None, begin: datetime, end: datetime, progress: Progress
) -> Iterator[Observation]:
    """Day by day, so that no more than a day has to be sorted."""
    from edge_assets.warehouse import lake

    begin = max(begin, _first(settings, begin))
    day = begin
    with lake.connection(settings) as opened:
        while day < end:
            next_day = min(datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1), end)
            yield from _of_day(opened, settings, wanted, day, next_day)
            day = next_day
            progress((day - begin) / (end - begin))


def _first(settings: Settings, begin: datetime) -> datetime:
    """The lake's first event time, where its files tell it: nothing has to be looked for before."""
    from edge_assets.warehouse import lake
    from edge_assets.warehouse.rollups.measurements import READINGS, ROOMS

    files = [file for name in (READINGS, ROOMS) for file in lake.snapshot(settings, name).files]
    if any(file.begins is None for file in files):
        return begin
    return min((file.begins for file in files if file.begins is not None), default=begin)


def _of_day(
    opened: DuckDBPyConnection, settings: Settings, wanted: frozenset[str] | None, begin: datetime, end: datetime
) -> Iterator[Observation]:
    import duckdb

    from edge_assets.warehouse import lake

    for attempt in range(1, lake.SNAPSHOTS + 1):
        try:
            rows = opened.execute(_query(settings, wanted, begin, end), [sorted(wanted or ())] if wanted else [])
            break
        except duckdb.IOException as error:  # a file that maintenance took away just now
            if attempt == lake.SNAPSHOTS:
                raise AlertError(f"testing rules: {str(error).splitlines()[0]}; `edge doctor` knows more") from error
    while part := rows.fetchmany(AT_ONCE):
        for kind, device, name, measurement, value, text, unit, quality, at in part:
            who = Device(kind, device)
            yield Observation(
                who, name or device, None, measurement, value, text, unit, quality or "good", at, at, stale=False
            )


def _query(settings: Settings, wanted: Sequence[str] | frozenset[str] | None, begin: datetime, end: datetime) -> str:
    from edge_assets.warehouse import lake
    from edge_assets.warehouse.rollups.measurements import READINGS, ROOMS, relation

    readings, rooms = (
        lake.snapshot(settings, name).only(lambda file: file.may_be_between(begin, end)) for name in (READINGS, ROOMS)
    )
    where = f"event_time >= TIMESTAMPTZ '{begin.isoformat()}' AND event_time < TIMESTAMPTZ '{end.isoformat()}'"
    both = relation(readings.select(), rooms.select(), rooms.columns, where)
    some = "WHERE list_contains(?, measurement)" if wanted else ""
    return (
        "SELECT kind, device_id, device_name, measurement, value, text, unit, quality, epoch_us(event_time) "
        f"FROM ({both}) {some} ORDER BY event_time, position"
    )


def _micros(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _minute(at: int) -> str:
    return iso(at)[:16].replace("T", " ")

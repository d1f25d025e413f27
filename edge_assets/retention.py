"""Retention as plain data: which rows are too old, and what a table says of those that it has given up.

The stream writer deletes (`edge_assets.stream.expiry`); rollups, `edge verify` and backfills read what was deleted from
the table itself: its property `edge.expired` (`Expired`). It is written before the rows go, so that whoever sees a
table without them sees the property, too. The commit that deletes is marked in its metadata (`MARK`): it is no change
of what was measured, and whoever follows a table's commits passes over it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from edge_assets.log_record import Place
from edge_assets.settings import RetentionRule

PROPERTY = "edge.expired"
MARK = "retention"

Span = tuple[date, date]
"""first and last day"""


@dataclass(frozen=True, slots=True)
class Expired:
    """What a table has given up."""

    before: date | None = None
    """of partitions before this day rows are gone, in part or as a whole; None: nothing has gone yet"""
    spans: tuple[Span, ...] = ()
    """UTC days of event time of which rows are gone"""
    offsets: Mapping[Place, int] = field(default_factory=dict)
    """of bronze.events: the offset after the last that has gone; what lies below it proves nothing any more"""
    done: Mapping[str, date] = field(default_factory=dict)
    """by rule that takes some rows of a day only: the last day that it was applied to"""

    def encode(self) -> str:
        return json.dumps(
            {
                "before": self.before and self.before.isoformat(),
                "spans": [[first.isoformat(), last.isoformat()] for first, last in self.spans],
                "offsets": [[*place, offset] for place, offset in sorted(self.offsets.items())],
                "done": {rule: day.isoformat() for rule, day in self.done.items()},
            }
        )

    @classmethod
    def of(cls, properties: Mapping[str, str | None]) -> Expired:
        """From a table's properties."""
        raw: dict[str, Any] = json.loads(properties.get(PROPERTY) or "{}")
        return cls(
            date.fromisoformat(raw["before"]) if raw.get("before") else None,
            tuple((date.fromisoformat(first), date.fromisoformat(last)) for first, last in raw.get("spans", ())),
            {(log_id, topic, partition): offset for log_id, topic, partition, offset in raw.get("offsets", ())},
            {rule: date.fromisoformat(day) for rule, day in raw.get("done", {}).items()},
        )

    def holds(self, day: date) -> bool:
        """Whether rows with event times of this UTC day have gone."""
        return any(first <= day <= last for first, last in self.spans)


def with_days(spans: Iterable[Span], days: Iterable[date]) -> tuple[Span, ...]:
    """Spans with more days, joined where they touch."""
    found: list[Span] = []
    for first, last in sorted([*spans, *((day, day) for day in days)]):
        if found and first <= found[-1][1] + timedelta(days=1):
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return tuple(found)


def is_marked(metadata: str | None) -> bool:
    """Whether a commit with this metadata of a user's (`userMetadata`) gave up rows for their age."""
    try:
        return bool(json.loads(metadata or "{}").get(MARK))
    except (ValueError, AttributeError):
        return False


# --- rules -----------------------------------------------------------------------------------------------------------


def last_day(today: date, days: int) -> date:
    """The youngest day that is too old: with 2 days, today's and yesterday's rows stay, and those of the day before."""
    return today - timedelta(days=days + 1)


def key(rule: RetentionRule) -> str:
    return json.dumps([rule.device, rule.measurement])


def for_rooms(rules: Iterable[RetentionRule]) -> list[RetentionRule]:
    """The rules that count for raw messages of rooms: one row holds all measurements."""
    return [rule for rule in rules if rule.measurement == "*"]


def matches_all(rule: RetentionRule) -> bool:
    return rule.device == "*" and rule.measurement == "*"


def too_old(rules: Iterable[RetentionRule], old: Iterable[RetentionRule], device: str, measurement: str | None) -> str:
    """SQL (Spark's and DuckDB's): whether the first rule that matches a row is one of `old`. "true" where each row's is
    and "false" where none's can be. `device` names the columns that a device's pattern is held against, with commas."""
    cases, old_keys = [], {key(rule) for rule in old}
    otherwise = "false"
    for rule in rules:
        answer = "true" if key(rule) in old_keys else "false"
        if matches_all(rule):
            otherwise = answer
            break
        cases.append((_matches(rule, device, measurement), answer))
    while cases and cases[-1][1] == otherwise:
        cases.pop()
    if not cases:
        return otherwise
    return f"CASE {' '.join(f'WHEN {condition} THEN {answer}' for condition, answer in cases)} ELSE {otherwise} END"


def _matches(rule: RetentionRule, device: str, measurement: str | None) -> str:
    parts = []
    if rule.device != "*":
        names = (f"coalesce({name.strip()}, '') LIKE {_like(rule.device)}" for name in device.split(","))
        parts.append(f"({' OR '.join(names)})")
    if rule.measurement != "*" and measurement:
        parts.append(f"coalesce({measurement}, '') LIKE {_like(rule.measurement)}")
    return " AND ".join(parts) or "true"


def _like(pattern: str) -> str:
    """A pattern with `*` and `?` in the words of SQL's LIKE. Backslashes are one of its ordinary signs: Spark takes one
    in a text for an escape and DuckDB does not, so it stands for any one sign, as do the quotes."""
    signs = {"*": "%", "?": "_", "\\": "_", "'": "_", "%": "!%", "_": "!_", "!": "!!"}
    return "'" + "".join(signs.get(sign, sign) for sign in pattern) + "' ESCAPE '!'"

"""What the cheap checks say: from samples of the services' counters to verdicts. No Dagster storage, no engine.

Each judge takes samples in the order of time, at least one, and says whether it is well, why, and what to do if not;
with the rows that are concerned, or the command that lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from edge_assets.defs.samples import Sample, growth, steps
from edge_assets.platform import disk
from edge_assets.stream.losses import NEXT_STEP

WINDOW_SECONDS = 3600.0
"""the share of dead letters is taken over this time"""

DEAD_LETTER_SHARE = 0.01
DEAD_LETTER_COUNT = 10
"""fewer than these are looked at by a person some day; no alarm"""

LAG_RECORDS = 100_000
"""a batch at its largest"""

SILENT_SECONDS = 300.0

IMPLAUSIBLE_SHARE = 0.05
IMPLAUSIBLE_COUNT = 10

LOW_SPACE = 5
"""with less than so many times the stream writer's reserve free, somebody should make room"""

FULL_DAYS = 7.0
"""a disk that is full sooner than this at today's growth needs somebody"""
MEASURED_SECONDS = 12 * 3600.0
"""growth is told from so long a stretch at least: in shorter ones it is files that are joined and dropped"""

DROP_SECONDS = 24 * 3600.0
"""a drop stays visible for this time: it is a loss, and nothing mends it"""

NEW_SECONDS = 24 * 3600.0
"""a column is called new for this time"""

BACKUP_DAYS = 2.0
"""a nightly backup, and one that was missed"""

SHOWN = 20
"""rows of a table in a check's metadata"""

DAY_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check says: whether it passes, why, and its figures."""

    passed: bool
    words: str
    figures: Mapping[str, Any]
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN
    rows: Sequence[Mapping[str, Any]] = ()
    """what is concerned"""
    look: str = ""
    """the command that lists what is concerned"""


def metadata(verdict: Verdict) -> dict[str, dg.MetadataValue]:
    """A verdict's figures, rows and command as Dagster shows them."""
    found: dict[str, dg.MetadataValue] = {
        name: dg.MetadataValue.float(float(value)) for name, value in verdict.figures.items()
    }
    if verdict.rows:
        found["rows"] = dg.MetadataValue.md(markdown(verdict.rows))
    if verdict.look:
        found["look"] = dg.MetadataValue.text(verdict.look)
    return found


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table of the first rows, which all have the same columns."""
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([_cell(row[name]) for name in names] for row in rows[:SHOWN])]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return table + (f"\n\nand {len(rows) - SHOWN:,} more" if len(rows) > SHOWN else "")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


# --- what is on its way ----------------------------------------------------------------------------------------------

_DEAD_LETTERS = (
    'edge sql "select reason, key, count(*), max(received_at), any_value(detail) from bronze.dead_letters '
    'where date >= current_date - 1 group by all order by 3 desc"'
)


def judge_dead_letters(samples: Sequence[Sample]) -> Verdict:
    """Few of the window's records may be dead letters."""
    dead, records, share = _share(samples, lambda s: s.dead_letters, lambda s: s.records)
    passed = dead < DEAD_LETTER_COUNT or share <= DEAD_LETTER_SHARE
    words = f"{dead:,} of {records:,} records {_over(samples, 'in the last hour')} could not be read"
    if not passed:
        words += "; `edge sql` on bronze.dead_letters says why, `edge redrive` puts them through once mended"
    figures = {"dead letters": dead, "records": records, "share": share}
    rows = _grew(samples, WINDOW_SECONDS, "dead letters", lambda s: s.dead_letters)
    return Verdict(passed, words, figures, rows=rows, look=_DEAD_LETTERS)


def judge_drops(samples: Sequence[Sample]) -> Verdict:
    """The broker may drop nothing that was queued for the bridge."""
    dropped = growth(samples, samples[-1].at - DROP_SECONDS, lambda s: s.dropped)
    words = f"the broker dropped {dropped:,} messages {_over(samples, 'in the last day')}"
    if dropped:
        words += ": its queue for the bridge was full (EDGE_MQTT__QUEUE_MAX_MESSAGES, EDGE_MQTT__QUEUE_MAX_BYTES)"
    rows = _grew(samples, DROP_SECONDS, "messages dropped", lambda s: s.dropped)
    figures = {"messages dropped": dropped}
    return Verdict(not dropped, words, figures, dg.AssetCheckSeverity.ERROR, rows, "edge status --json")


def judge_clock(samples: Sequence[Sample]) -> Verdict:
    """This machine's clock is set: what is received is dated by it."""
    if samples[-1].clock_set:
        return Verdict(True, "this machine's clock is set", {})
    words = (
        "this machine's clock has not been set since its start, so that what is received is dated wrongly and has the "
        "quality clock_unsynchronised: does a time service run, and does it reach its servers? (EDGE_CLOCK__TRUST)"
    )
    return Verdict(False, words, {}, look="timedatectl")


def judge_expired(samples: Sequence[Sample]) -> Verdict:
    """Nothing may have expired in the log before it was read, in the last day."""
    now = samples[-1]
    recent = now.lost_at is not None and now.at - now.lost_at < DROP_SECONDS
    words = f"{now.lost:,} records have expired in the log before they were read, since the tables began"
    if recent:
        words += f"; the newest: {'; '.join(now.lost_ranges)}. {NEXT_STEP[0].upper()}{NEXT_STEP[1:]}"
    rows = [{"expired": one} for one in now.lost_ranges] if recent else []
    return Verdict(not recent, words, {"records expired": now.lost}, dg.AssetCheckSeverity.ERROR, rows, "edge verify")


def judge_lag(samples: Sequence[Sample]) -> Verdict:
    """The stream writer looks at the log again and again, and is less than a full batch behind."""
    now = samples[-1]
    figures = {"records behind": now.lag}
    if now.read_at is None:
        return Verdict(True, "the stream writer has not read from the log yet", figures)
    behind = sorted(now.unread.items(), key=lambda item: -item[1])
    rows = [{"partition": place, "records behind": records} for place, records in behind if records]
    silent = now.at - now.read_at
    if silent > SILENT_SECONDS:
        words = (
            f"the stream writer has not looked at the log for {silent / 60:,.0f} minutes; is its sensor switched on, "
            "and what does its run say?"
        )
        return Verdict(False, words, figures, dg.AssetCheckSeverity.ERROR, rows, "edge status")
    if now.lag > LAG_RECORDS:
        words = (
            f"{now.lag:,} records of the log are not in the tables yet: more comes in than this machine writes, or it "
            "was away and catches up"
        )
        return Verdict(False, words, figures, rows=rows, look="edge status --json")
    return Verdict(True, f"{now.lag:,} records of the log are not in the tables yet", figures)


# --- what was said ---------------------------------------------------------------------------------------------------

_IMPLAUSIBLE = (
    "select device_name, measurement, unit, min(value), max(value), count(*) from silver.readings "
    "where quality like '%implausible%' and date >= current_date - 1 group by all"
)
_REFUSED = (
    'edge sql "select key, sum(refused), max(received_at), max(decode(payload)) from bronze.events '
    'where refused > 0 and date >= current_date - 1 group by all order by 2 desc"'
)


def judge_plausible(samples: Sequence[Sample]) -> Verdict:
    """Few of the window's readings may lie beyond what their unit allows."""
    odd, readings, share = _share(samples, lambda s: s.implausible, lambda s: s.readings)
    passed = odd < IMPLAUSIBLE_COUNT or share <= IMPLAUSIBLE_SHARE
    words = f"{odd:,} of {readings:,} readings {_over(samples, 'in the last hour')} are beyond what their unit allows"
    if not passed:
        words += f'; which: edge sql "{_IMPLAUSIBLE}"'
    figures = {"implausible": odd, "readings": readings, "share": share}
    rows = _grew(samples, WINDOW_SECONDS, "implausible", lambda s: s.implausible)
    return Verdict(passed, words, figures, rows=rows, look=f'edge sql "{_IMPLAUSIBLE}"')


def judge_fields(samples: Sequence[Sample]) -> Verdict:
    """The last hour's fields of rooms have columns; and which columns are new."""
    now = samples[-1]
    refused = growth(samples, now.at - WINDOW_SECONDS, lambda s: s.beyond)
    new = new_columns(now.columns, now.at)
    words = f"new in the last day: {', '.join(new)}" if new else "no new columns in the last day"
    if refused:
        words = (
            f"{refused:,} values of rooms' messages {_over(samples, 'in the last hour')} have no column and are in "
            "bronze.events alone: their names cannot be a column's, or there are as many as "
            f"EDGE_STREAM__MAX_ROOM_FIELDS allows; {words}"
        )
    figures = {"refused": refused, "new columns": len(new), "columns": len(now.columns)}
    rows = [{"new column": name, "since": now.columns[name]} for name in new]
    return Verdict(not refused, words, figures, rows=rows, look=_REFUSED)


def new_columns(columns: Mapping[str, str], now: float) -> list[str]:
    """Of columns and the times since when they are there those of the last day, newest last."""
    times = {name: datetime.fromisoformat(since).timestamp() for name, since in columns.items() if since}
    return sorted((name for name, at in times.items() if at > now - NEW_SECONDS), key=lambda name: (times[name], name))


# --- what it stands on -----------------------------------------------------------------------------------------------

_DISK_STEP = "make room: delete what is not the platform's, or lower EDGE_KAFKA__RETENTION_HOURS"


def judge_disk(samples: Sequence[Sample]) -> Verdict:
    """More is free than the stream writer needs to go on, by far, and will be for days at the growth of today."""
    now = samples[-1]
    figures: dict[str, Any] = {"MB free": now.free_mb, "reserve, MB": now.reserve_mb}
    words, days = f"{now.free_mb:,} MB are free", None
    if (grown := _mb_a_day(samples)) is not None:
        figures["MB a day"] = grown
        if grown > 0:
            days = figures["days until full"] = max(now.free_mb - now.reserve_mb, 0) / grown
            words += f", enough for {days:,.0f} days at today's growth of {grown:,.0f} MB a day"
    look = "du -sh EDGE_HOME/*"
    if now.free_mb < now.reserve_mb * disk.RESUME:
        words += f"; below {now.reserve_mb} MB (EDGE_STREAM__MIN_FREE_MB) the stream writer stops: {_DISK_STEP}"
        return Verdict(False, words, figures, dg.AssetCheckSeverity.ERROR, look=look)
    if now.free_mb < now.reserve_mb * LOW_SPACE or (days is not None and days < FULL_DAYS):
        return Verdict(False, f"{words}: {_DISK_STEP}", figures, look=look)
    return Verdict(True, words, figures, look=look)


def _mb_a_day(samples: Sequence[Sample]) -> float | None:
    """By how much the free space shrinks; below zero it grows. None: it is not known for long enough."""
    now = samples[-1]
    begin = next(sample for sample in samples if sample.at >= now.at - DAY_SECONDS)
    if now.at - begin.at < MEASURED_SECONDS or not begin.free_mb:
        return None
    return (begin.free_mb - now.free_mb) / (now.at - begin.at) * DAY_SECONDS


def judge_backup(samples: Sequence[Sample]) -> Verdict:
    """There is a backup, and it is not old."""
    now = samples[-1]
    if now.backup_at is None:
        words = (
            "there is no backup of this platform: a card that dies takes everything with it. Set "
            "EDGE_BACKUP__DESTINATION to a folder on another disk or to a bucket, and one is made each night; "
            "`edge backup` makes one now"
        )
        return Verdict(False, words, {}, look="edge backup --help")
    days = (now.at - now.backup_at) / DAY_SECONDS
    figures = {"days old": days, "MB": now.backup_bytes / 1e6}
    words = f"the last backup ended on {datetime.fromtimestamp(now.backup_at, UTC):%Y-%m-%d at %H:%M} UTC"
    if days > BACKUP_DAYS:
        words += f", {days:,.0f} days ago: is its disk or bucket there? What does its last run, or `edge backup`, say?"
    return Verdict(days <= BACKUP_DAYS, words, figures, look="edge backup --help")


# --- growth ----------------------------------------------------------------------------------------------------------


def _share(
    samples: Sequence[Sample], part: Callable[[Sample], int], whole: Callable[[Sample], int]
) -> tuple[int, int, float]:
    """By how much two counters grew within the window, and the ratio."""
    since = samples[-1].at - WINDOW_SECONDS
    some, all_ = growth(samples, since, part), growth(samples, since, whole)
    return some, all_, some / all_ if all_ else 0.0


def _grew(samples: Sequence[Sample], span: float, name: str, counter: Callable[[Sample], int]) -> list[dict[str, Any]]:
    """When a counter grew within a span, as rows."""
    found = steps(samples, samples[-1].at - span, counter)
    return [{"found at": datetime.fromtimestamp(at, UTC), name: count} for at, count in found]


def _over(samples: Sequence[Sample], window: str) -> str:
    return "so far" if len(samples) == 1 else window

"""What a person or a schedule asks of the stream writer when tables are to be recomputed or taken back.

The work itself is `edge_assets.stream.reprocess` and `edge_assets.stream.rollback`, in the writer's process.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from edge_assets.errors import LakeError
from edge_assets.settings import Settings
from edge_assets.stream.requests import Progress, ask
from edge_assets.tables import RECOMPUTED, gold_tables

Say = Callable[[str], None]

_AGO = re.compile(r"(\d+(?:\.\d+)?)([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def reprocess(
    settings: Settings,
    begin: str,
    end: str | None = None,
    table: str = "silver",
    from_log: bool = False,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Recompute what follows from the records that were received from `begin` to before `end` (None: until now), each a
    time as `moment` takes it; with `from_log` also `bronze.events` itself, from what Kafka still has of them.

    Returns the number of `records`, the rows `rewritten` by table, and of `from_log` how many offsets are `not_in_log`.
    Raises `LakeError`, `NotRunning`.
    """
    now = datetime.now(UTC)
    first, last = moment(begin, now), None if end is None else moment(end, now)
    if last is not None and last <= first:
        raise LakeError(
            f"reprocess: --from {first:%Y-%m-%d %H:%M:%S} is not before --to {last:%Y-%m-%d %H:%M:%S} (UTC)"
        )
    done = recompute(settings, first, last, table, from_log, _progress("reprocessing", say))
    if not done.get("records") and "records" in done:
        raise LakeError(f"reprocess: no records were received from {first:%Y-%m-%d %H:%M:%S} (UTC) on in that range")
    return done


def recompute(
    settings: Settings,
    begin: datetime,
    end: datetime | None,
    table: str = "silver",
    from_log: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The same with times that are known; no records in the range are no error."""
    names = [each.full_name for each in (*RECOMPUTED, *gold_tables(settings))]
    if table not in ("silver", "bronze", "gold", *names):
        raise LakeError(
            f"reprocess: {table!r} is no table to recompute; choose bronze, silver, gold, {', '.join(names)}"
        )
    if table == "bronze" and not from_log:
        raise LakeError("reprocess: all else follows from bronze; with --from-log it is read from Kafka again")
    from_us, to_us = _micros(begin), None if end is None else _micros(end)
    return ask(settings, "reprocess", progress=progress, table=table, from_us=from_us, to_us=to_us, from_log=from_log)


def rollback(settings: Settings, table: str, version: int, say: Say = lambda line: None) -> dict[str, Any]:
    """Take a table of silver back to a version. Returns as `reprocess` does what was derived again after it.

    Raises `LakeError` (there is no such version, or its files are no longer kept), `NotRunning`.
    """
    from edge_assets.warehouse.time_travel import at_version

    names = {each.full_name: (each.layer, each.name) for each in RECOMPUTED}
    if table.startswith("bronze."):
        raise LakeError(f"rollback: {table} is not taken back; `edge reprocess --from TIME --from-log` mends it")
    if table not in names:
        raise LakeError(f"rollback: {table!r} is no table that can be taken back; choose {', '.join(names)}")
    at_version(settings, names[table], version)
    return ask(settings, "rollback", progress=_progress("taking back", say), table=table, version=version)


def moment(said: str, now: datetime) -> datetime:
    """A time: ISO 8601 (UTC where it names no zone), or so long ago: `90m`, `2h`, `1d`, `1w`. Raises `LakeError`."""
    if ago := _AGO.fullmatch(said.strip()):
        return now - timedelta(**{_UNITS[ago[2]]: float(ago[1])})
    try:
        found = datetime.fromisoformat(said.strip())
    except ValueError:
        raise LakeError(f"expected a time as in 2026-03-01T12:00 (UTC) or 2h, 1d (ago), got {said!r}") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def said(done: dict[str, Any]) -> str:
    """An answer on one line, for a person."""
    rows = [f"{rows:,} rows of {table}" for table, rows in done.get("rewritten", {}).items()]
    if "records" not in done:
        return f"written: {', '.join(rows) or 'nothing, all was right'}"
    missing = f"; the log no longer has {done['not_in_log']:,} of the offsets" if done.get("not_in_log") else ""
    return f"{done.get('records', 0):,} records decoded again, written: {', '.join(rows) or 'nothing'}{missing}"


def _progress(doing: str, say: Say) -> Progress:
    def tell(told: dict[str, Any]) -> None:
        records = f", {told['records']:,} records" if "records" in told else ""
        say(f"{doing}: step {told['done']} of {len(told['steps'])}{records}")

    return tell


def _micros(at: datetime) -> int:
    return int((at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))

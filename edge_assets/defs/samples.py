"""What the cheap checks look at: the services' counters, remembered for a day in `EDGE_HOME/run/check_samples.json`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from edge_assets.platform import disk
from edge_assets.service import read_status, write_json
from edge_assets.settings import Settings
from edge_assets.tables import BRONZE_EVENTS, DEAD_LETTERS, ROOM_TELEMETRY

KEPT_SECONDS = 24 * 3600.0
BACKUP = "backup"
"""the file in `EDGE_HOME/run` that says when the last backup ended: `ended_at` (ISO 8601) and `bytes`"""


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters at one time (seconds since 1970). They start at 0 with their service."""

    at: float
    records: int = 0
    dead_letters: int = 0
    dropped: int = 0
    readings: int = 0
    implausible: int = 0
    lag: int = 0
    """records of the log that the tables do not hold yet"""
    unread: Mapping[str, int] = field(default_factory=dict)
    """the same by topic and partition"""
    read_at: float | None = None
    """when the stream writer last looked at the log; None: not since the platform's start"""
    lost: int = 0
    """records that expired before they were read, since the lake began"""
    lost_at: float | None = None
    """when the newest of them were found"""
    lost_ranges: tuple[str, ...] = ()
    """the newest of them, in words"""
    free_mb: int = 0
    """of the fuller one of the disks of home and lake"""
    reserve_mb: int = 0
    """below it the stream writer stops"""
    beyond: int = 0
    """fields of rooms for which there is no column"""
    columns: Mapping[str, str] = field(default_factory=dict)
    """columns that rooms have brought → when, ISO 8601"""
    clock_set: bool = True
    """whether the bridge believes this machine's clock"""
    backup_at: float | None = None
    """when the last backup ended; None: there was none"""
    backup_bytes: int = 0


def take_sample(settings: Settings, now: float | None = None) -> Sample:
    """The counters as the services' status files have them."""
    stream, bridge, backup = (read_status(settings, name) for name in ("stream_writer", "bridge", BACKUP))
    tables, written, progress, lost = (stream.get(name) or {} for name in ("tables", "written", "progress", "lost"))
    return Sample(
        time.time() if now is None else now,
        records=int((tables.get(BRONZE_EVENTS.full_name) or {}).get("rows") or 0),
        dead_letters=int((tables.get(DEAD_LETTERS.full_name) or {}).get("rows") or 0),
        dropped=int(bridge.get("dropped_by_broker") or 0),
        readings=int(written.get("readings") or 0),
        implausible=int(written.get("implausible") or 0),
        lag=int(progress.get("lag") or 0),
        unread=progress.get("unread") or {},
        read_at=_seconds(progress.get("at")),
        lost=int(lost.get("records") or 0),
        lost_at=lost.get("found_at"),
        lost_ranges=tuple(lost.get("ranges") or ()),
        free_mb=min(space.free_mb for space in disk.spaces(settings)),
        reserve_mb=settings.stream.min_free_mb,
        beyond=int(written.get("beyond") or 0),
        columns={name: about["since"] for name, about in more_columns(tables).items()},
        clock_set=bridge.get("clock_synchronised") is not False,
        backup_at=_seconds(backup.get("ended_at")),
        backup_bytes=int(backup.get("bytes") or 0),
    )


def more_columns(tables: Mapping[str, Any]) -> Mapping[str, Mapping[str, str]]:
    """The columns that rooms have brought, as the stream writer's status has them: name → type, description, since."""
    return (tables.get(ROOM_TELEMETRY.full_name) or {}).get("more_columns") or {}


def samples_path(settings: Settings) -> Path:
    return settings.home / "run" / "check_samples.json"


def samples_until_now(settings: Settings) -> list[Sample]:
    """What is remembered of the last day, with the last look before it, and a look now."""
    try:
        remembered = [Sample(**s) for s in json.loads(samples_path(settings).read_text())["samples"]]
    except (OSError, ValueError, TypeError, KeyError):
        remembered = []
    samples = [*remembered, take_sample(settings)]
    older = sum(1 for sample in samples if sample.at < samples[-1].at - KEPT_SECONDS)
    return samples[max(older - 1, 0) :]


def remember(settings: Settings, samples: Sequence[Sample]) -> None:
    """For the next look; of partitions only the newest look says something."""
    write_json(samples_path(settings), {"samples": [asdict(replace(sample, unread={})) for sample in samples]})


def growth(samples: Sequence[Sample], since: float, counter: Callable[[Sample], int]) -> int:
    """By how much a counter grew in the looks since then. A first look counts from 0; a fall is a new start."""
    if len(samples) == 1:
        return counter(samples[0])
    return sum(step for at, step in _steps(samples, counter) if at >= since)


def steps(samples: Sequence[Sample], since: float, counter: Callable[[Sample], int]) -> list[tuple[float, int]]:
    """When a counter grew, and by how much: (time of the look, growth), the newest first."""
    first = [(samples[0].at, counter(samples[0]))] if len(samples) == 1 else []
    return [(at, step) for at, step in reversed([*first, *_steps(samples, counter)]) if at >= since and step]


def _steps(samples: Sequence[Sample], counter: Callable[[Sample], int]) -> Iterator[tuple[float, int]]:
    for a, b in pairwise(samples):
        before, after = counter(a), counter(b)
        yield b.at, after - before if after >= before else after


def _seconds(text: Any) -> float | None:
    try:
        at = datetime.fromisoformat(text) if text else None
    except (TypeError, ValueError):
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() if at else None

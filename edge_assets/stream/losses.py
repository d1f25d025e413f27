"""Records that the log gave up before they were read: what is missing, and since when that is known.

A batch's first offset of a partition says it: our producers use no transactions and the topics are not compacted, so
each offset of a partition is a record, and an offset that is passed over is one that is lost. The ranges are kept in
the notes of `bronze.events` (`edge_assets.stream.lake.Note`), so that a gap which was announced can be told from one
that nobody can explain (`edge verify`), and a lake that is copied knows what it lacks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from edge_assets.log_record import Place

log = logging.getLogger(__name__)

KEPT = 200
"""ranges in a note; of more, the oldest are forgotten, and are gaps without a reason from then on"""
NEXT_STEP = "raise EDGE_KAFKA__RETENTION_HOURS, or find out why the stream writer was away or behind for so long"


@dataclass(frozen=True, slots=True)
class Loss:
    """Offsets `first` to `last` of a place, which expired before they were read."""

    place: Place
    first: int
    last: int
    found_us: int
    """when that was found, microseconds since 1970 UTC"""

    @property
    def records(self) -> int:
        return self.last - self.first + 1

    def encode(self) -> list[Any]:
        return [*self.place, self.first, self.last, self.found_us]

    @classmethod
    def decode(cls, raw: Sequence[Any]) -> Loss:
        log_id, topic, partition, first, last, found_us = raw
        return cls((log_id, topic, partition), first, last, found_us)

    def __str__(self) -> str:
        _, topic, partition = self.place
        found = datetime.fromtimestamp(self.found_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")
        return f"{topic}/{partition} offsets {self.first} to {self.last} ({self.records:,} records, found {found})"


def decoded(note: Mapping[str, Any]) -> tuple[Loss, ...]:
    """Those that a note tells of; a version that knew none told none."""
    return tuple(map(Loss.decode, note.get("lost") or ()))


def found(expected: Mapping[Place, int], firsts: Mapping[Place, int]) -> tuple[Loss, ...]:
    """What lies between the offsets that should have come next and those that came. A place without an expectation
    (a new topic) has lost nothing."""
    now = time.time_ns() // 1_000
    late = sorted(
        (place, expected[place], first) for place, first in firsts.items() if first > expected.get(place, first)
    )
    return tuple(Loss(place, begin, first - 1, now) for place, begin, first in late)


def announce(losses: Iterable[Loss]) -> None:
    for loss in losses:
        log.error("LOST: %s: the log no longer has them; %s", loss, NEXT_STEP)


def joined(known: Sequence[Loss], new: Iterable[Loss]) -> tuple[Loss, ...]:
    """All of them, without those that are known; a range that goes on where another ends is one with it, as retention
    that overtakes its reader does so again and again."""
    all_ = list(known)
    for loss in new:
        if any(one.place == loss.place and one.first <= loss.first and loss.last <= one.last for one in all_):
            continue
        before = next((one for one in all_ if one.place == loss.place and one.last + 1 == loss.first), None)
        if before:
            all_.remove(before)
            loss = Loss(loss.place, before.first, loss.last, loss.found_us)
        all_.append(loss)
    return tuple(all_[-KEPT:])


def told(losses: Sequence[Loss]) -> dict[str, Any]:
    """For the status: how many records, when the newest loss was found (seconds since 1970), and the newest ranges."""
    return {
        "records": sum(loss.records for loss in losses),
        "found_at": max((loss.found_us / 1e6 for loss in losses), default=None),
        "ranges": [str(loss) for loss in losses[-5:]],
    }

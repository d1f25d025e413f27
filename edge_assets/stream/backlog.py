"""What to read when there is much to catch up: so that a long backlog is no reason for live readings to wait for it.

Spark's Kafka source shares a batch out among its partitions in proportion to how far each is behind: beside a million
records of an import, a topic with five new ones gets none or one of them, batch after batch. So while more than a batch
is behind, the stream reads with several sources, each with a share of its own:

- one for all partitions that are not behind, which so get all that is new into each batch;
- one for each size of backlog. Within it shares in proportion are even ones, so that a topic that is a minute behind
  does not wait for one that is a day behind.

Otherwise one source reads everything: each further one costs every batch. Order within a partition is kept throughout,
so a live reading behind its own topic's backlog has to wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

Partition = tuple[str, int]
"""(Kafka topic, partition)"""

LIVE_RECORDS = 5_000
"""A partition with at most so many unread records is not behind: less than a second's work."""
TOO_MANY_LIVE = 4 * LIVE_RECORDS
"""One of those that were not behind is so by now: the shares are dealt out anew."""
SPREAD = 4
"""Backlogs of one source differ at most so many times in length."""


@dataclass(frozen=True, slots=True)
class Share:
    """Some partitions, and how many of their records a batch takes at most."""

    partitions: tuple[Partition, ...]
    records: int
    live: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What each source reads; empty: one source reads everything, as one share."""

    shares: tuple[Share, ...] = ()

    @property
    def catching_up(self) -> bool:
        return bool(self.shares)

    @property
    def live(self) -> frozenset[Partition]:
        return frozenset(partition for share in self.shares if share.live for partition in share.partitions)

    def outdated(self, unread: Mapping[Partition, int], batch_records: int) -> bool:
        """Whether to plan anew: a backlog has come up, or is gone, or what was live is behind by now."""
        if not self.catching_up:
            return plan(unread, batch_records).catching_up
        if unread and all(records <= LIVE_RECORDS for records in unread.values()):
            return True
        return any(unread.get(partition, 0) > TOO_MANY_LIVE for partition in self.live)


def plan(unread: Mapping[Partition, int], batch_records: int) -> Plan:
    """Share out batches of `batch_records` among partitions with so many unread records each."""
    behind = {partition: records for partition, records in unread.items() if records > LIVE_RECORDS}
    if not behind or sum(unread.values()) <= batch_records:
        return Plan()
    live = tuple(sorted(set(unread) - set(behind)))
    kept = batch_records // 4 if live else 0
    own = (batch_records - kept) / len(behind)
    shares = (Share(group, max(int(own * len(group)), 1)) for group in _alike(behind))
    return Plan((*([Share(live, max(kept, 1), live=True)] if live else ()), *shares))


def _alike(behind: Mapping[Partition, int]) -> list[tuple[Partition, ...]]:
    """Partitions in groups of backlogs of about one length, the shortest first."""
    groups: dict[int, list[Partition]] = {}
    for partition, records in sorted(behind.items()):
        groups.setdefault(int(math.log(records, SPREAD)), []).append(partition)
    return [tuple(group) for _, group in sorted(groups.items())]

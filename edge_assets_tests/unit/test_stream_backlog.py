"""How a batch is shared out when there is much to catch up with."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_assets.stream.backlog import LIVE_RECORDS, Partition, plan

BATCH = 100_000
partitions = st.tuples(st.sampled_from("abcdef"), st.integers(0, 2))


def test_what_fits_a_batch_needs_no_shares() -> None:
    assert not plan({("imports", 0): 99_000, ("sensor-events", 0): 5}, BATCH).catching_up


def test_live_topics_have_a_share_of_their_own() -> None:
    found = plan({("imports", 0): 1_000_000, ("sensor-events", 0): 5, ("telemetry.lab", 0): 0}, BATCH)
    live, behind = found.shares
    assert (live.live, live.partitions) == (True, (("sensor-events", 0), ("telemetry.lab", 0)))
    assert (behind.live, behind.partitions) == (False, (("imports", 0),))
    assert live.records >= LIVE_RECORDS * 4, "all that can be unread of a topic or two goes into each batch"


def test_a_short_backlog_does_not_wait_for_a_long_one() -> None:
    unread = {("imports", 0): 1_000_000, ("sensor-events", 0): 30_000}
    short, long = plan(unread, BATCH).shares
    assert short.partitions == (("sensor-events", 0),)
    assert short.records == long.records == BATCH // 2


def test_equal_backlogs_share_one_source() -> None:
    rooms = {(f"telemetry.{room}", 0): 172_800 for room in range(8)}
    (share,) = plan(rooms, BATCH).shares
    assert len(share.partitions) == 8 and share.records == BATCH


@given(st.dictionaries(partitions, st.integers(0, 10_000_000), max_size=12), st.integers(1, 200_000))
def test_each_partition_is_read_by_one_source_and_a_batch_keeps_its_bound(
    unread: dict[Partition, int], batch: int
) -> None:
    found = plan(unread, batch)
    read = [partition for share in found.shares for partition in share.partitions]
    assert sorted(read) == (sorted(unread) if found.catching_up else [])
    assert all(share.records >= 1 for share in found.shares)
    assert sum(share.records for share in found.shares) <= max(batch, len(found.shares))


@given(st.dictionaries(partitions, st.integers(0, 10_000_000), max_size=12), st.integers(1, 200_000))
def test_a_plan_does_not_ask_for_another_at_once(unread: dict[Partition, int], batch: int) -> None:
    assert not plan(unread, batch).outdated(unread, batch)


def test_it_is_planned_anew_when_a_backlog_comes_up_and_when_it_is_gone() -> None:
    quiet = {("imports", 0): 0, ("sensor-events", 0): 5}
    import_ = {**quiet, ("imports", 0): 1_000_000}
    assert plan(quiet, BATCH).outdated(import_, BATCH)
    assert plan(import_, BATCH).outdated(quiet, BATCH)
    assert not plan(import_, BATCH).outdated({**import_, ("imports", 0): 20_000}, BATCH), "it is read to its end"
    assert plan(import_, BATCH).outdated({**import_, ("sensor-events", 0): 50_000}, BATCH), "another one"

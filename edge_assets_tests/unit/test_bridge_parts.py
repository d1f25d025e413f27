"""The bridge's small parts: acknowledgements in order, the header at speed, pieces, the clock, the counter of drops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_assets.bridge import clock as clocks
from edge_assets.bridge.acks import Acks, Pending
from edge_assets.bridge.beginning import Incarnation, next_incarnation
from edge_assets.bridge.clock import Clock, has_hardware_clock, has_time_service, kernel_says_synchronised
from edge_assets.bridge.dead_letters import Piece, in_pieces
from edge_assets.bridge.drop_watch import dropped_since
from edge_assets.bridge.headers import Headers
from edge_assets.bridge.loop import check_identifier
from edge_assets.bridge.memory import Memory, load_memory
from edge_assets.bridge.redelivery import Logged, Verdict
from edge_assets.bridge.session import from_the_log
from edge_assets.bridge.tail import Event, Part, Tail, joined, unfenced
from edge_assets.errors import SettingsError
from edge_assets.log_record import Header
from edge_assets.settings import Settings


def test_a_message_waits_for_all_before_it():
    acks = Acks()
    first, second, third = (Pending(mid, 10, True) for mid in (7, 8, 9))
    for one in (first, second, third):
        acks.add(one)
        acks.bytes += one.size
    second(None, None)
    assert acks.settled() == []
    first(None, None)
    assert acks.settled() == [7, 8]
    assert (len(acks), acks.bytes) == (1, 10)
    assert acks.disconnected() == 1
    third(None, None)
    assert acks.settled() == []  # nobody waits for it any more
    assert not len(acks)


@given(
    st.integers(0, 15).filter(lambda flags: flags & 6 != 6),
    st.integers(0, 2**50),
    st.integers(0, 2**50),
    st.integers(0, 65_535),
    st.booleans(),
    st.booleans(),
)
def test_the_fast_header_is_the_contract(flags, at, mono, mid, sync, rep):
    start, ends = Headers("b", 3, "boot", "Büro 2").batch("e0", at, sync)
    contract = Header(
        "b", 3, "e0", at, sync, mono, "boot", flags >> 1 & 3, bool(flags & 1), bool(flags & 8), mid, rep, "Büro 2"
    )
    assert f"{start}{mono}{ends[flags]}{mid} rep={rep:d}".encode() == contract.encode()
    assert Header.decode(contract.encode()) == contract


@given(st.binary(max_size=100), st.integers(1, 40))
def test_pieces_hold_the_payload(payload, room):
    pieces = list(in_pieces(payload, "too_large", "sensor-events", room))
    assert b"".join(part for part, _ in pieces) == payload
    assert [piece.index for _, piece in pieces] == list(range(pieces[0][1].count))
    assert all(len(part) <= room and Piece.decode(piece.encode()) == piece for part, piece in pieces)


@pytest.mark.parametrize(("before", "now", "news"), [(-1, 50, 0), (50, 50, 0), (50, 70, 20), (50, 5, 5)])
def test_drops_are_counted_across_the_brokers_starts(before, now, news):
    assert dropped_since(before, now) == news


@pytest.mark.parametrize("identifier", ["", "a b", "ä", "a/b", "x" * 65])
def test_an_identifier_that_breaks_a_header_is_refused(identifier):
    with pytest.raises(SettingsError, match="EDGE_BRIDGE__ID"):
        check_identifier(identifier)


def machine(root: Path, *, hardware_clock: bool = False, service: str = "") -> Path:
    """A root folder of a machine."""
    (root / "proc/sys/kernel/random").mkdir(parents=True)
    (root / "proc/sys/kernel/random/boot_id").write_text("0a3f7ff4-3841-4f2e-9f5c-000000000000\n")
    (root / "sys/class/rtc").mkdir(parents=True)
    if hardware_clock:
        (root / "sys/class/rtc/rtc0").mkdir()
    if service:
        (root / "proc/812").mkdir()
        (root / "proc/812/comm").write_text(service + "\n")
    return root


@pytest.mark.parametrize(
    ("trust", "hardware_clock", "service", "trusted"),
    [
        ("auto", False, "chronyd", False),
        ("auto", True, "chronyd", True),
        ("auto", False, "", True),
        ("auto", False, "bash", True),
        ("always", False, "chronyd", True),
        ("kernel", True, "", False),
    ],
)
def test_when_an_unsynchronised_clock_is_doubted(tmp_path, trust, hardware_clock, service, trusted):
    root = machine(tmp_path, hardware_clock=hardware_clock, service=service)
    assert Clock(trust, root, kernel=lambda: False).synchronised == trusted
    assert Clock(trust, root, kernel=lambda: True).synchronised


def test_a_clock_becomes_synchronised_once(tmp_path, monkeypatch):
    monkeypatch.setattr(clocks, "CHECK_SECONDS", 0)
    answers = iter([False, False, True])
    clock = Clock("kernel", machine(tmp_path), kernel=lambda: next(answers))
    assert (clock.synchronised, clock.boot) == (False, "0a3f7ff43841")
    assert [clock.became_synchronised() for _ in range(3)] == [False, True, False]
    at, mono = clock.now()
    assert abs(at - mono - clock.offset_us()) < 1_000_000


def test_the_kernel_and_this_machine_answer():
    assert kernel_says_synchronised() in (True, False)
    assert has_hardware_clock() in (True, False)
    assert has_time_service() in (True, False)


def record(inc: int, order: int, mid: int, epoch: str = "e", **changes: object) -> Event:
    return Event(inc, order, epoch, Logged(mid, b"digest", False, inc, order, **changes), at=1_000 + order)  # type: ignore[arg-type]


def barrier(inc: int, order: int = 0, epoch: str = "e") -> Event:
    return Event(inc, order, epoch)


def test_late_records_of_a_dead_bridge_are_fenced():
    events = [barrier(1), record(1, 1, 1), barrier(2), record(1, 2, 2), record(2, 1, 2), record(1, 3, 3)]
    assert unfenced(events) == [events[0], events[1], events[2], events[4]]


def test_a_record_of_a_later_incarnation_shows_the_barrier_that_was_not_read():
    events = [record(2, 1, 2), record(1, 3, 3)]
    assert unfenced(events) == [events[0]]


def test_only_the_last_epoch_counts_and_says_whether_it_is_whole():
    tail = joined([Part([record(1, 1, 1, "old"), barrier(2, 1, "new"), record(2, 2, 5, "new")], begins=None)], 4)
    assert (tail.incarnation, tail.epoch, tail.whole, tail.cut_off) == (2, "new", True, False)
    assert [one.mid for one in tail.records] == [5]
    assert tail.last_at_us == 1_002


def test_a_log_that_retention_cut_is_known_as_such():
    tail = joined([Part([record(3, 1, 1)], begins=700)], 4)
    assert (tail.whole, tail.cut_off) == (False, True)
    assert not joined([Part([record(3, 1, 1)], begins=0)], 4).cut_off


def test_marked_records_do_not_use_up_the_window():
    events = [record(1, order, order, marked=order > 4) for order in range(1, 40)]
    assert {one.mid for one in joined([Part(events, begins=0)], 2).records} == set(range(1, 40))


def test_a_dead_letter_counts_when_all_its_pieces_are_there():
    def piece(index: int, order: int) -> Event:
        logged = Logged(order, b"digest", False, 1, order)
        return Event(1, order, "e", logged, at=1, piece=Piece("too_large", "x", index, 2, 900, "00"))

    tail = joined([Part([piece(0, 1), piece(1, 1), piece(0, 2)], begins=0)], 4)
    assert [one.order for one in tail.records] == [1]


def test_an_old_memory_gives_way_to_the_log(settings):
    memory = Memory(incarnation=3, epoch="old", filters=["a"], settled=True)
    assert next_incarnation(memory, barrier(3, epoch="old")) == Memory(4, "old", filters=["a"], settled=True)
    known = next_incarnation(memory, barrier(7, epoch="new"))
    assert (known.incarnation, known.epoch, known.filters, known.settled) == (8, "new", [], False)


def test_memory_survives_and_a_broken_file_is_no_memory(settings):
    Memory(incarnation=5, filters=["z/#"]).save(settings)
    assert load_memory(settings) == Memory(incarnation=5, filters=["z/#"])
    path = settings.home / "bridge" / f"{settings.bridge.id}.json"
    path.write_text(path.read_text()[:20])
    assert load_memory(settings) == Memory()


@pytest.mark.parametrize(
    ("memory", "verdict"),
    [
        (Memory(epoch="old", filters=["z/#"]), Verdict.MAYBE),  # a restored home: the log that had it is gone
        (Memory(epoch="named"), Verdict.NEW),  # killed before its first SUBSCRIBE: nothing was ever sent
    ],
)
def test_a_log_that_does_not_know_the_session_excuses_nothing_and_proves_nothing(
    settings: Settings, memory: Memory, verdict: Verdict
) -> None:
    out: Any = None  # nothing is sent
    incarnation = Incarnation(settings, memory, Clock("always"), out, {}, Tail())
    assert from_the_log(incarnation).judge(1, b"z/door", b"{}") is verdict

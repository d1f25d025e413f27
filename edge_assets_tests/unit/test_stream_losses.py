"""What expired unread: found, kept, told."""

from __future__ import annotations

from edge_assets.stream import losses
from edge_assets.stream.lake import Note
from edge_assets.stream.losses import KEPT, Loss

PLACE = ("log", "sensor-events", 0)
OTHER = ("log", "telemetry.lab", 1)


def loss(first: int, last: int, found_us: int = 1_800_000_000_000_000) -> Loss:
    return Loss(PLACE, first, last, found_us)


def test_what_lies_before_the_first_that_came_is_lost() -> None:
    (found,) = losses.found({PLACE: 10, OTHER: 5}, {PLACE: 15, OTHER: 5, ("log", "new", 0): 7})
    assert (found.place, found.first, found.last, found.records) == (PLACE, 10, 14, 5)


def test_a_range_that_goes_on_is_one_and_one_that_is_known_is_not_counted_twice() -> None:
    known = losses.joined((), [loss(10, 14)])
    assert losses.joined(known, [loss(10, 14)]) == known
    assert losses.joined(known, [loss(12, 13)]) == known
    assert [(one.first, one.last) for one in losses.joined(known, [loss(15, 19)])] == [(10, 19)]
    assert [(one.first, one.last) for one in losses.joined(known, [loss(30, 31)])] == [(10, 14), (30, 31)]


def test_a_note_stays_small() -> None:
    many = losses.joined((), [loss(number * 10, number * 10 + 1) for number in range(KEPT + 50)])
    assert len(many) == KEPT and many[-1].first == (KEPT + 49) * 10
    assert len(Note(lost=many).encode()) < 20_000


def test_a_note_is_read_back_and_an_old_one_knew_of_none() -> None:
    note = Note(batch=3, lost=(loss(10, 14), Loss(OTHER, 0, 0, 7)))
    assert Note.decode(note.encode()) == note
    assert losses.decoded({"batch": 1}) == ()


def test_it_is_told_with_place_range_and_time() -> None:
    told = losses.told([loss(10, 14), loss(20, 20)])
    assert told["records"] == 6 and told["found_at"] == 1_800_000_000
    assert told["ranges"][0] == "sensor-events/0 offsets 10 to 14 (5 records, found 2027-01-15 08:00 UTC)"
    assert losses.told([]) == {"records": 0, "found_at": None, "ranges": []}

"""Each check of the proof holds on a sound lake, and fails when its fault is put in. Nothing is mocked: the tables
are Delta tables, the ends of the log are numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from deltalake import DeltaTable

from edge_assets.log_record import Place
from edge_assets.settings import Settings
from edge_assets.stream.losses import Loss
from edge_assets.tables import BRONZE_EVENTS, DEAD_LETTERS, DEVICE_STATES, READINGS, Table
from edge_assets.warehouse import lake
from edge_assets.warehouse.log_ends import LogEnds
from edge_assets.warehouse.proof import BUCKET, Problem, Tables, Tally, prove
from edge_assets.warehouse.sql import run_sql
from edge_assets_tests.lake_tables import LOG_ID, TOPIC, dead_letter, event, position, reading, sound_lake, state, write

PLACE: Place = (LOG_ID, TOPIC, 0)
OTHER_LOG = "another-log"


def proved(
    settings: Settings, begin: int = 0, end: int = 20, bucket: int = BUCKET, lost: tuple[Loss, ...] = ()
) -> tuple[dict[Place, Tally], list[Problem]]:
    events, dead_letters, readings, rooms, states, alerts = (lake.snapshot(settings, name) for name in NAMES)
    tables = Tables(events, dead_letters, readings, rooms, states, alerts, bucket)
    with lake.connection(settings) as opened:
        tallies, problems = prove(opened, tables, LogEnds({PLACE: begin}, {PLACE: end}), lost)
    return {tally.place: tally for tally in tallies}, problems


NAMES = (
    *(("bronze", "events"), ("bronze", "dead_letters")),
    *(("silver", "readings"), ("silver", "room_telemetry"), ("silver", "device_states"), ("silver", "alerts")),
)


def test_a_sound_lake_holds(settings: Settings) -> None:
    sound_lake(settings)
    tallies, problems = proved(settings)
    assert problems == []
    tally = tallies[PLACE]
    assert (tally.first, tally.last, tally.total("records"), tally.gaps, tally.lag) == (0, 19, 20, 0, 0)
    outcomes = {name: tally.outcome(name) for name in ("read", "dead_letter", "tombstone", "ignored")}
    assert outcomes == {"read": 16, "dead_letter": 2, "tombstone": 0, "ignored": 2}
    assert (tally.total("reading_rows"), tally.total("dead_letter_rows")) == (32, 2)


def test_an_empty_lake_holds(settings: Settings) -> None:
    assert proved(settings, end=0)[1] == []
    tallies, problems = proved(settings, begin=3, end=7)
    assert problems == [] and tallies[PLACE].lag == 4


def test_a_log_that_retention_has_cut_holds(settings: Settings) -> None:
    """Its first record is gone from the log, and in the table; or was gone before the table began."""
    sound_lake(settings, start=100)
    for begin in (100, 105, 120):
        assert proved(settings, begin=begin, end=120)[1] == []


def test_lag_is_no_fault(settings: Settings) -> None:
    sound_lake(settings)
    tallies, problems = proved(settings, end=25)
    assert problems == [] and tallies[PLACE].lag == 5


def test_places_are_told_apart(settings: Settings) -> None:
    """The same offsets in another log, topic or partition are other records."""
    for changes in ({}, {"log_id": OTHER_LOG}, {"topic": "other"}, {"partition": 1}):
        rows = [event(n, readings=1) | position(n, **changes) for n in range(3)]
        write(settings, BRONZE_EVENTS, rows)
        write(settings, READINGS, [reading(n, "contact") | position(n, **changes) for n in range(3)])
    tallies, problems = proved(settings, end=3)
    assert problems == [] and len(tallies) == 4
    assert tallies[(OTHER_LOG, TOPIC, 0)].lag is None, "a log that is gone has no lag"


Fault = Callable[[Settings], None]


def removed(table: Table, condition: str) -> Fault:
    def apply(settings: Settings) -> None:
        _delta(settings, table).delete(condition)

    return apply


def added(table: Table, *rows: dict[str, Any]) -> Fault:
    return lambda settings: write(settings, table, rows)


def changed(table: Table, condition: str, **values: str) -> Fault:
    def apply(settings: Settings) -> None:
        _delta(settings, table).update(updates=values, predicate=condition)

    return apply


FAULTS: dict[str, tuple[Fault, str, int, tuple[int, ...]]] = {
    # name: (the fault, the kind of problem, how many, the first offsets)
    "one record missing": (removed(BRONZE_EVENTS, "kafka_offset = 10"), "gap", 1, (10,)),
    "the log's first missing": (removed(BRONZE_EVENTS, "kafka_offset = 0"), "gap", 1, (0,)),
    "one record twice": (added(BRONZE_EVENTS, event(10, "ignored")), "repeat", 1, (10,)),
    "twice with another outcome": (added(BRONZE_EVENTS, event(10, "tombstone")), "repeat", 1, (10,)),
    "three times": (added(BRONZE_EVENTS, event(10, "ignored"), event(10, "ignored")), "repeat", 2, (10,)),
    "no outcome": (changed(BRONZE_EVENTS, "kafka_offset = 10", outcome="NULL"), "outcome", 1, (10,)),
    "an outcome that is none": (changed(BRONZE_EVENTS, "kafka_offset = 10", outcome="'lost'"), "outcome", 1, (10,)),
    "a reading missing": (
        removed(READINGS, "kafka_offset = 3 AND measurement = 'battery'"),
        "reading_missing",
        1,
        (3,),
    ),
    "all readings of a record missing": (removed(READINGS, "kafka_offset = 3"), "reading_missing", 1, (3,)),
    "a reading more": (added(READINGS, reading(3, "voltage")), "reading_extra", 1, (3,)),
    "a reading twice": (added(READINGS, reading(3, "contact")), "reading_doubled", 1, (3,)),
    "a reading of a dead letter": (added(READINGS, reading(7, "contact")), "reading_extra", 1, (7,)),
    "a reading of an ignored record": (added(READINGS, reading(10, "contact")), "reading_extra", 1, (10,)),
    "one reading in another's place": (
        changed(READINGS, "kafka_offset = 3 AND measurement = 'battery'", measurement="'contact'"),
        "reading_doubled",
        1,
        (3,),
    ),
    "a reading of no log at all": (
        added(READINGS, reading(3, "contact", log_id=OTHER_LOG)),
        "reading_orphan",
        1,
        (3,),
    ),
    "a reading behind the log's end": (added(READINGS, reading(20, "contact")), "reading_orphan", 1, (20,)),
    "a reading without a position": (
        added(READINGS, reading(3, "contact", kafka_offset=None)),
        "no_position",
        1,
        (),
    ),
    "a dead letter missing": (removed(DEAD_LETTERS, "kafka_offset = 7"), "dead_letter_missing", 1, (7,)),
    "a dead letter twice": (added(DEAD_LETTERS, dead_letter(7)), "dead_letter_repeated", 1, (7,)),
    "a dead letter that was read": (added(DEAD_LETTERS, dead_letter(3)), "dead_letter_wrong", 1, (3,)),
    "a state of a record that was read": (added(DEVICE_STATES, state(3, "contact")), "state_wrong", 1, (3,)),
    "a state of no record": (added(DEVICE_STATES, state(99, "contact")), "state_orphan", 1, (99,)),
    "a dead letter of no record": (added(DEAD_LETTERS, dead_letter(99)), "dead_letter_orphan", 1, (99,)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_and_shown(settings: Settings, name: str) -> None:
    fault, kind, count, offsets = FAULTS[name]
    sound_lake(settings)
    fault(settings)
    _, problems = proved(settings)
    assert [(problem.kind, problem.count, problem.offsets) for problem in problems] == [(kind, count, offsets)]
    if problems[0].query:
        shown = json.loads(run_sql(settings, problems[0].query, "json"))
        assert shown, "the query shows what is wrong"
        if offsets:
            assert offsets[0] in shown[0].values()


def test_an_outcome_that_does_not_fit_is_found_from_both_sides(settings: Settings) -> None:
    """A record said to be ignored, with its readings there; and one said to be a dead letter, with none."""
    sound_lake(settings)
    changed(BRONZE_EVENTS, "kafka_offset = 3", outcome="'ignored'")(settings)
    changed(BRONZE_EVENTS, "kafka_offset = 10", outcome="'dead_letter'")(settings)
    kinds = {(problem.kind, problem.offsets) for problem in proved(settings)[1]}
    assert kinds == {("reading_extra", (3,)), ("dead_letter_missing", (10,))}


def test_an_event_that_is_missing_makes_orphans_of_what_followed_from_it(settings: Settings) -> None:
    sound_lake(settings)
    removed(BRONZE_EVENTS, "kafka_offset IN (3, 7)")(settings)
    kinds = {(problem.kind, problem.offsets) for problem in proved(settings)[1]}
    assert kinds == {("gap", (3, 7)), ("reading_orphan", (3,)), ("dead_letter_orphan", (7,))}


def test_records_that_left_the_log_unread(settings: Settings) -> None:
    sound_lake(settings)
    problem = proved(settings, begin=25, end=30)[1][0]
    assert (problem.kind, problem.count, problem.offsets) == ("expired", 5, (20,))


def test_a_loss_that_was_announced_is_told_from_a_gap_that_nobody_knows(settings: Settings) -> None:
    sound_lake(settings)
    for table in (BRONZE_EVENTS, DEAD_LETTERS, READINGS):
        removed(table, "kafka_offset IN (3, 4, 5, 9)")(settings)
    lost = (Loss(PLACE, 3, 5, 0),)
    found = [(problem.kind, problem.count, problem.offsets) for problem in proved(settings, lost=lost)[1]]
    assert found == [("expired", 3, ()), ("gap", 1, (9,))]
    assert [(p.kind, p.count) for p in proved(settings)[1]] == [("gap", 4)]


def test_a_log_that_lost_its_tail(settings: Settings) -> None:
    """After a power cut Kafka may end before the tables do, and will give offsets out a second time."""
    sound_lake(settings)
    problem = proved(settings, end=15)[1][0]
    assert (problem.kind, problem.count, problem.offsets) == ("beyond_log", 5, (15,))


def test_rows_of_a_batch_that_is_being_written_are_no_orphans(settings: Settings) -> None:
    """The tables are looked at one after another; what is behind the last event is newer than the look."""
    sound_lake(settings)
    added(READINGS, reading(21, "contact"))(settings)
    added(DEAD_LETTERS, dead_letter(22))(settings)
    assert proved(settings, end=30)[1] == []
    assert {problem.kind for problem in proved(settings, end=22)[1]} == {"dead_letter_orphan"}


def test_an_unfinished_batch_is_said_to_be_one(settings: Settings) -> None:
    sound_lake(settings)
    write(settings, BRONZE_EVENTS, [event(20, batch=2), event(21, "dead_letter", batch=2)])
    problems = proved(settings, end=22)[1]
    assert {(problem.kind, problem.latest_batch) for problem in problems} == {
        ("reading_missing", True),
        ("dead_letter_missing", True),
    }
    assert all(problem.derived and "latest batch" in str(problem) for problem in problems)


def test_many_buckets(settings: Settings) -> None:
    """The same faults, with the log cut into buckets of eight: at their edges, within, and whole ones missing."""
    sound_lake(settings, records=100)
    assert proved(settings, end=100, bucket=8)[1] == []
    removed(BRONZE_EVENTS, "kafka_offset IN (7, 8, 40) OR kafka_offset BETWEEN 56 AND 71")(settings)
    removed(READINGS, "kafka_offset IN (8, 40) OR kafka_offset BETWEEN 56 AND 71")(settings)
    removed(DEAD_LETTERS, "kafka_offset IN (7, 56, 63)")(settings)
    added(BRONZE_EVENTS, event(23, "read"), event(24, "read"))(settings)
    added(READINGS, reading(95, "extra"), reading(96, "contact"))(settings)
    found = {problem.kind: (problem.count, problem.offsets) for problem in proved(settings, end=100, bucket=8)[1]}
    assert found == {
        "gap": (19, (7, 40, 56)),
        "repeat": (2, (23, 24)),
        "reading_extra": (1, (95,)),
        "reading_doubled": (1, (96,)),
    }


def test_an_absurd_offset_costs_no_time_or_memory(settings: Settings) -> None:
    sound_lake(settings)
    write(settings, BRONZE_EVENTS, [event(2**62, "ignored")])
    _, problems = proved(settings, end=2**62 + 1)
    assert [(problem.kind, problem.count) for problem in problems] == [("gap", 2**62 - 20)]
    assert problems[0].offsets == (20,)


def _delta(settings: Settings, table: Table) -> DeltaTable:
    return DeltaTable((settings.lake_path / table.layer / table.name).as_uri())

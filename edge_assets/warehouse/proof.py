"""The checks of completeness, over one snapshot of the tables. Knows no Kafka client and no clock.

What is proved of each place (log id, topic, partition):

1. `bronze.events` holds each offset from the first to the last once;
   (what is missing because it expired before it was read, and was announced as lost, is told apart);
2. its first is the log's first or was before it, its last is not beyond the log's end; the rest is lag;
3. each record has one outcome, and that is one of the four;
4. a record with the outcome `dead_letter` has one row in `bronze.dead_letters`, and no other record has one;
5. a record that was `read` has as many rows in `silver.readings` as its `readings` says, no other has any, and no
   measurement is there twice for one record;
6. a row of `silver.device_states` is of a message that was ignored as retained, and no measurement is there twice.

Rows that were given up for their age are known from the tables themselves (`edge_assets.retention.Expired`): below the
offset that `bronze.events` names for a place nothing is looked at, and of days of which silver has given up rows none
is missed there.

Memory stays bounded however long the log is: offsets are counted in bitmaps, `BUCKET` of them each, and the tables are
joined bucket by bucket, each time only from the files that may hold it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from edge_assets.log_record import Place
from edge_assets.retention import Expired
from edge_assets.stream.losses import Loss
from edge_assets.tables import OUTCOMES
from edge_assets.warehouse.duck_types import text
from edge_assets.warehouse.lake import Snapshot
from edge_assets.warehouse.log_ends import LogEnds

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

BUCKET = 131_072
SHOWN = 5
"""So many offending offsets are named with a problem."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that does not hold in one place."""

    kind: str
    says: str
    place: Place | None
    count: int
    offsets: tuple[int, ...] = ()
    """the first few that are concerned"""
    query: str | None = None
    """shows them all: for `edge sql`"""
    derived: bool = False
    """about tables that the stream writer fills after `bronze.events`: may be mended by its next commit"""
    latest_batch: bool = False
    """all of it is in the latest batch, which may not be finished"""

    def __str__(self) -> str:
        where = f"{self.place[1]}[{self.place[2]}] of log {self.place[0]}: " if self.place else ""
        first = f", first at {', '.join(map(str, self.offsets))}" if self.offsets else ""
        late = " (all in the latest batch: its writer may have died in it, and finishes it when it starts)"
        return f"{where}{self.says}{first}{late if self.latest_batch else ''}"


@dataclass(slots=True)
class Bucket:
    """Counts of the rows of one place whose offsets lie in [number * size, (number + 1) * size)."""

    records: int = 0
    distinct: int = 0
    first: int = 0
    last: int = -1
    outcomes: dict[str, int] = field(default_factory=dict)
    invalid: int = 0
    refused: int = 0
    dead_letter_rows: int = 0
    reading_rows: int = 0
    state_rows: int = 0


@dataclass(slots=True)
class Tally:
    """All that is known of one place."""

    place: Place
    buckets: dict[int, Bucket] = field(default_factory=dict)
    begin: int | None = None
    end: int | None = None
    lost: tuple[Loss, ...] = ()
    """what the stream writer has announced"""
    kept_from: int = 0
    """what lies below this offset was given up for its age, and is counted nowhere"""

    @property
    def held(self) -> list[int]:
        """The numbers of the buckets of which `bronze.events` has rows, in order."""
        return sorted(number for number, bucket in self.buckets.items() if bucket.records)

    @property
    def first(self) -> int | None:
        return self.buckets[self.held[0]].first if self.held else None

    @property
    def last(self) -> int | None:
        return self.buckets[self.held[-1]].last if self.held else None

    def total(self, name: str) -> int:
        return sum(getattr(bucket, name) for bucket in self.buckets.values())

    def outcome(self, name: str) -> int:
        return sum(bucket.outcomes.get(name, 0) for bucket in self.buckets.values())

    @property
    def gaps(self) -> int:
        """Offsets that are missing: between the first and the last, and at the head of what the log still holds."""
        if self.first is None or self.last is None:
            return 0
        return self.last - self.first + 1 - self.total("distinct") + self.missing_head

    @property
    def missing_head(self) -> int:
        """Records that the log holds before the table's first."""
        begin = self.kept_from or self.begin
        return max(0, self.first - begin) if self.first is not None and begin is not None else 0

    @property
    def expired(self) -> int:
        """Records that the log gave up before they were read."""
        return max(0, self.begin - self.reached) if self.reached is not None and self.begin is not None else 0

    @property
    def reached(self) -> int | None:
        """The offset after the last that the table holds, or has given up for its age."""
        return self.last + 1 if self.last is not None else self.kept_from or None

    @property
    def announced(self) -> int:
        """Of the missing offsets between the first and the last, those that were announced as lost."""
        first, last = self.first or 0, -1 if self.last is None else self.last
        ranges = sum(max(0, min(loss.last, last) - max(loss.first, first) + 1) for loss in self.lost)
        return min(ranges, self.gaps - self.missing_head)

    @property
    def beyond(self) -> int:
        """Records of the table that the log does not have (any more)."""
        return max(0, self.reached - self.end) if self.reached is not None and self.end is not None else 0

    @property
    def lag(self) -> int | None:
        """Records of the log that are not in the table yet; None: the log is not there to compare."""
        if self.end is None or self.begin is None:
            return None
        return max(0, self.end - max(self.begin, self.reached or 0))

    @property
    def frontier(self) -> int | None:
        """Rows of other tables behind this offset belong to a batch that is being written, and prove nothing."""
        if self.reached is not None:
            return self.reached - 1
        return None if self.begin is None else self.begin - 1


@dataclass(frozen=True, slots=True)
class Tables:
    """One snapshot of the tables, `events` taken first: what it holds, the others must follow."""

    events: Snapshot
    dead_letters: Snapshot
    readings: Snapshot
    rooms: Snapshot
    states: Snapshot
    alerts: Snapshot
    bucket: int = BUCKET
    """offsets that are looked at in one go"""

    @property
    def expired(self) -> Expired:
        """What `bronze.events` has given up for its age."""
        return Expired.of(self.events.properties)

    @property
    def complete_from(self) -> date:
        """The first day of which silver has given up nothing."""
        given_up = (Expired.of(table.properties).before for table in (self.readings, self.rooms, self.alerts))
        return max(filter(None, given_up), default=date.min)


def prove(
    opened: DuckDBPyConnection, tables: Tables, ends: LogEnds, lost: Iterable[Loss] = ()
) -> tuple[list[Tally], list[Problem]]:
    """Count and check everything. Each place that the tables or the log have gives a tally."""
    tallies = _tallies(opened, tables, ends)
    for loss in lost:
        if loss.place in tallies:
            tallies[loss.place].lost += (loss,)
    problems = list(_without_position(opened, tables))
    latest = _value(opened, f"SELECT max(batch) FROM ({tables.events.select()})")
    for tally in tallies.values():
        problems += _check_offsets(opened, tables, tally)
        problems += _check_outcomes(tables, tally, opened)
        problems += _check_derived(opened, tables, tally, latest, ends.problem is not None)
    return sorted(tallies.values(), key=lambda tally: (tally.place[1], tally.place[2], tally.place[0])), problems


# --- counting ------------------------------------------------------------------------------------------------------


def _tallies(opened: DuckDBPyConnection, tables: Tables, ends: LogEnds) -> dict[Place, Tally]:
    gone = tables.expired.offsets
    tallies: dict[Place, Tally] = {place: Tally(place) for place in [*ends.ends, *gone]}
    _show_horizon(opened, gone)

    def bucket(row: Mapping[str, Any]) -> Bucket:
        place = (row["log_id"], row["kafka_topic"], row["kafka_partition"])
        return tallies.setdefault(place, Tally(place)).buckets.setdefault(row["bucket"], Bucket())

    for row in _rows(opened, _COUNT_EVENTS.format(table=tables.events.select(), size=tables.bucket)):
        found = bucket(row)
        found.records, found.distinct, found.invalid = row["records"], row["distinct_offsets"], row["invalid"]
        found.first, found.last, found.refused = row["first"], row["last"], row["refused"]
        found.outcomes = {name: row[name] for name in OUTCOMES}
    for row in _rows(opened, _COUNT_ROWS.format(table=tables.dead_letters.select(), size=tables.bucket)):
        bucket(row).dead_letter_rows = row["records"]
    for table in (tables.readings, tables.rooms, tables.alerts):
        for row in _rows(opened, _COUNT_ROWS.format(table=table.select(), size=tables.bucket)):
            bucket(row).reading_rows += row["records"]
    for row in _rows(opened, _COUNT_ROWS.format(table=tables.states.select(), size=tables.bucket)):
        bucket(row).state_rows = row["records"]
    for place, tally in tallies.items():
        tally.begin, tally.end = ends.begins.get(place), ends.ends.get(place)
        tally.kept_from = gone.get(place, 0)
    return tallies


_HAS_POSITION = (
    "log_id IS NOT NULL AND kafka_topic IS NOT NULL AND kafka_partition IS NOT NULL AND kafka_offset IS NOT NULL"
)
_BUCKET_OF = "log_id, kafka_topic, kafka_partition, kafka_offset // {size} AS bucket"

_KEPT = f"""{_HAS_POSITION} AND kafka_offset >= coalesce((
    SELECT max(h.kept_from) FROM horizon h WHERE h.log_id = t.log_id AND h.kafka_topic = t.kafka_topic
    AND h.kafka_partition = t.kafka_partition), 0)"""

_COUNT_EVENTS = f"""
SELECT {_BUCKET_OF}, count(*) AS records,
    bit_count(bitstring_agg(kafka_offset % {{size}}, 0, {{size}} - 1)) AS distinct_offsets,
    min(kafka_offset) AS first, max(kafka_offset) AS last,
    {", ".join(f"count_if(outcome = '{name}') AS {name}" for name in OUTCOMES)},
    count_if(outcome IS NULL OR outcome NOT IN {OUTCOMES}) AS invalid,
    coalesce(sum(refused), 0)::BIGINT AS refused
FROM ({{table}}) AS t WHERE {_KEPT} GROUP BY ALL"""

_COUNT_ROWS = f"SELECT {_BUCKET_OF}, count(*) AS records FROM ({{table}}) AS t WHERE {_KEPT} GROUP BY ALL"


def _show_horizon(opened: DuckDBPyConnection, gone: Mapping[Place, int]) -> None:
    """The offsets below which nothing is looked at, as a table of their own."""
    opened.execute(
        "CREATE OR REPLACE TEMP TABLE horizon "
        "(log_id VARCHAR, kafka_topic VARCHAR, kafka_partition INTEGER, kept_from BIGINT)"
    )
    for place, offset in gone.items():
        opened.execute("INSERT INTO horizon VALUES (?, ?, ?, ?)", [*place, offset])


def _without_position(opened: DuckDBPyConnection, tables: Tables) -> Iterator[Problem]:
    for table in (tables.events, tables.dead_letters, tables.readings, tables.rooms, tables.states, tables.alerts):
        name = ".".join(table.name)
        count = _value(opened, f"SELECT count(*) FROM ({table.select()}) WHERE NOT ({_HAS_POSITION})")
        if count:
            query = f"SELECT * FROM {name} WHERE NOT ({_HAS_POSITION})"
            yield Problem("no_position", f"{count} rows of {name} have no position in the log", None, count, (), query)


# --- offsets ---------------------------------------------------------------------------------------------------------


def _check_offsets(opened: DuckDBPyConnection, tables: Tables, tally: Tally) -> Iterator[Problem]:
    if tally.announced:
        ranges = "; ".join(map(str, tally.lost))
        says = f"{tally.announced} records expired before they were read, as was announced: {ranges}"
        yield Problem("expired", says, tally.place, tally.announced)
    if inner := tally.gaps - tally.missing_head - tally.announced:
        query = _gaps_query(tally.place)
        shown = _first_missing(opened, tables, tally)
        yield Problem("gap", f"{inner} offsets are missing in bronze.events", tally.place, inner, shown, query)
    if repeats := tally.total("records") - tally.total("distinct"):
        query = _repeats_query(tally.place)
        numbers = [number for number in tally.held if tally.buckets[number].records > tally.buckets[number].distinct]
        shown = _first_rows(opened, tables, tally, query, numbers)
        yield Problem("repeat", f"{repeats} rows of bronze.events are repeats", tally.place, repeats, shown, query)
    if tally.missing_head:
        begin = tally.kept_from or tally.begin or 0
        says = f"the log begins at {begin}, bronze.events only at {tally.first}"
        if tally.kept_from:
            says = f"rows before {begin} were given up for their age, and bronze.events begins at {tally.first}"
        yield Problem("gap", says, tally.place, tally.missing_head, (begin,))
    if tally.expired:
        says = f"{tally.expired} records left the log unread: its retention is shorter than the stream's absence was"
        yield Problem("expired", says, tally.place, tally.expired, (tally.reached or 0,))
    if tally.beyond:
        says = (
            f"bronze.events holds {tally.beyond} records that the log does not: it ends at {tally.end}. Kafka lost its "
            "tail, and the offsets will be given out a second time"
        )
        yield Problem("beyond_log", says, tally.place, tally.beyond, (tally.end or 0,))


def _first_missing(opened: DuckDBPyConnection, tables: Tables, tally: Tally) -> tuple[int, ...]:
    """The first offsets after which something is missing: within buckets, and between them."""
    found: list[int] = []
    for before, after in pairwise([tally.held[0], *tally.held]):
        ends = tally.buckets[before].last + 1
        if before != after and tally.buckets[after].first > ends:
            found.append(ends)
        bucket = tally.buckets[after]
        if bucket.distinct < bucket.last - bucket.first + 1:
            found += _first_rows(opened, tables, tally, _gaps_query(tally.place), [after])
        found = [offset for offset in found if not any(loss.first <= offset <= loss.last for loss in tally.lost)]
        if len(found) >= SHOWN:
            break
    return tuple(found[:SHOWN])


def _gaps_query(place: Place) -> str:
    return (
        "SELECT kafka_offset + 1 AS first_missing, next - 1 AS last_missing FROM (SELECT kafka_offset, "
        f"lead(kafka_offset) OVER (ORDER BY kafka_offset) AS next FROM bronze.events WHERE {_at(place)}) "
        "WHERE next > kafka_offset + 1 ORDER BY 1"
    )


def _repeats_query(place: Place) -> str:
    return (
        f"SELECT kafka_offset, count(*) AS times FROM bronze.events WHERE {_at(place)} "
        "GROUP BY kafka_offset HAVING count(*) > 1 ORDER BY 1"
    )


# --- outcomes --------------------------------------------------------------------------------------------------------


def _check_outcomes(tables: Tables, tally: Tally, opened: DuckDBPyConnection) -> Iterator[Problem]:
    if count := tally.total("invalid"):
        query = (
            f"SELECT kafka_offset, outcome FROM bronze.events WHERE {_at(tally.place)} "
            f"AND (outcome IS NULL OR outcome NOT IN {OUTCOMES}) ORDER BY 1"
        )
        numbers = [number for number in tally.held if tally.buckets[number].invalid]
        shown = _first_rows(opened, tables, tally, query, numbers)
        says = f"{count} records have none of the outcomes {', '.join(OUTCOMES)}"
        yield Problem("outcome", says, tally.place, count, shown, query)


# --- what follows from the records -----------------------------------------------------------------------------------

_KINDS = {
    "reading_missing": "{count} read records have fewer rows in silver than they gave",
    "reading_extra": "{count} records have more rows in silver than they gave",
    "reading_doubled": "{count} records have a measurement twice in silver",
    "reading_orphan": "{count} positions in silver have no record in bronze.events",
    "dead_letter_missing": "{count} dead letters of bronze.events are not in bronze.dead_letters",
    "dead_letter_repeated": "{count} dead letters are in bronze.dead_letters more than once",
    "dead_letter_wrong": "{count} rows of bronze.dead_letters belong to records with another outcome",
    "dead_letter_orphan": "{count} rows of bronze.dead_letters have no record in bronze.events",
    "state_doubled": "{count} retained messages have a measurement twice in silver.device_states",
    "state_wrong": "{count} positions in silver.device_states are of records that were not ignored as retained",
    "state_orphan": "{count} positions in silver.device_states have no record in bronze.events",
}

_READINGS = """WITH
  record AS (
    SELECT kafka_offset, max(batch) AS batch, min(date) AS date,
      max(CASE WHEN outcome = 'read' THEN coalesce(readings, 0) ELSE 0 END) AS gave
    FROM bronze.events WHERE {place} GROUP BY kafka_offset),
  measured AS (
    SELECT kafka_offset, measurement, count(*) AS times FROM silver.readings WHERE {place} GROUP BY ALL
    UNION ALL
    SELECT kafka_offset, 'the room', count(*) FROM silver.room_telemetry WHERE {place} GROUP BY ALL
    UNION ALL
    SELECT kafka_offset, 'the alert', count(*) FROM silver.alerts WHERE {place} GROUP BY ALL),
  found AS (SELECT kafka_offset, sum(times) AS has, max(times) AS most FROM measured GROUP BY kafka_offset)
SELECT kafka_offset, batch, gave, coalesce(has, 0) AS has,
  CASE WHEN gave IS NULL THEN 'reading_orphan'
       WHEN coalesce(has, 0) < gave AND date >= {complete_from} THEN 'reading_missing'
       WHEN most > 1 THEN 'reading_doubled'
       WHEN has > gave THEN 'reading_extra' END AS problem
FROM record FULL JOIN found USING (kafka_offset) WHERE problem IS NOT NULL ORDER BY kafka_offset"""

_DEAD_LETTERS = """WITH
  record AS (
    SELECT kafka_offset, max(batch) AS batch, max(outcome) AS outcome, true AS known
    FROM bronze.events WHERE {place} GROUP BY kafka_offset),
  found AS (SELECT kafka_offset, count(*) AS has FROM bronze.dead_letters WHERE {place} GROUP BY kafka_offset)
SELECT kafka_offset, batch, outcome, coalesce(has, 0) AS has,
  CASE WHEN known IS NULL THEN 'dead_letter_orphan'
       WHEN outcome = 'dead_letter' AND has IS NULL THEN 'dead_letter_missing'
       WHEN has IS NOT NULL AND outcome IS DISTINCT FROM 'dead_letter' THEN 'dead_letter_wrong'
       WHEN has > 1 THEN 'dead_letter_repeated' END AS problem
FROM record FULL JOIN found USING (kafka_offset) WHERE problem IS NOT NULL ORDER BY kafka_offset"""


_STATES = """WITH
  record AS (
    SELECT kafka_offset, max(batch) AS batch, max(reason) AS reason, true AS known
    FROM bronze.events WHERE {place} GROUP BY kafka_offset),
  measured AS (
    SELECT kafka_offset, measurement, count(*) AS times FROM silver.device_states WHERE {place} GROUP BY ALL),
  found AS (SELECT kafka_offset, max(times) AS most FROM measured GROUP BY kafka_offset)
SELECT kafka_offset, batch, reason, most,
  CASE WHEN known IS NULL THEN 'state_orphan'
       WHEN reason IS DISTINCT FROM 'retained' THEN 'state_wrong'
       WHEN most > 1 THEN 'state_doubled' END AS problem
FROM found LEFT JOIN record USING (kafka_offset) WHERE problem IS NOT NULL ORDER BY kafka_offset"""


def _check_derived(
    opened: DuckDBPyConnection, tables: Tables, tally: Tally, latest_batch: int | None, log_away: bool
) -> Iterator[Problem]:
    """Join bucket by bucket. `latest_batch` is the number of the newest batch in `bronze.events`."""
    found: dict[str, Problem] = {}
    for number, bucket in sorted(tally.buckets.items()):
        queries: list[tuple[str, tuple[Snapshot, ...]]] = []
        if bucket.records or bucket.reading_rows:
            queries.append((_READINGS, (tables.readings, tables.rooms, tables.alerts)))
        if bucket.outcomes.get("dead_letter") or bucket.dead_letter_rows:
            queries.append((_DEAD_LETTERS, (tables.dead_letters,)))
        if bucket.state_rows:
            queries.append((_STATES, (tables.states,)))
        for template, derived in queries:
            query = template.format(place=_at(tally.place), complete_from=f"DATE '{tables.complete_from}'")
            _show_bucket(opened, tally, number, tables, tables.events, *derived)
            for row in _rows(opened, _GROUPED.format(query=query, ahead=_ahead(tally, log_away), shown=SHOWN)):
                kind = row["problem"]
                found[kind] = _joined(found.get(kind), row, tally.place, query, latest_batch)
    yield from found.values()


_GROUPED = """
SELECT problem, count(*) AS count, min(batch) AS first_batch,
  list(kafka_offset ORDER BY kafka_offset)[1:{shown}] AS first
FROM ({query}) WHERE NOT (ends_with(problem, 'orphan') AND ({ahead})) GROUP BY problem"""


def _ahead(tally: Tally, log_away: bool) -> str:
    """The condition of rows that are of a batch newer than the snapshot of `bronze.events`: real records of the log,
    behind the last that `bronze.events` holds. Where the log cannot be asked they are taken for such."""
    if tally.frontier is None or (tally.end is None and not log_away):
        return "true" if log_away else "false"
    until = f" AND kafka_offset < {tally.end}" if tally.end is not None else ""
    return f"kafka_offset > {tally.frontier}{until}"


def _joined(
    before: Problem | None, row: Mapping[str, Any], place: Place, query: str, latest_batch: int | None
) -> Problem:
    """A bucket's finding, added to what earlier buckets found of the same kind."""
    latest = latest_batch is not None and row["first_batch"] == latest_batch
    count = row["count"] + (before.count if before else 0)
    return Problem(
        kind=row["problem"],
        says=_KINDS[row["problem"]].format(count=count),
        place=place,
        count=count,
        offsets=((*before.offsets, *row["first"]) if before else tuple(row["first"]))[:SHOWN],
        query=query,
        derived=True,
        latest_batch=latest and (before is None or before.latest_batch),
    )


# --- asking ----------------------------------------------------------------------------------------------------------


def _show_bucket(opened: DuckDBPyConnection, tally: Tally, number: int, tables: Tables, *shown: Snapshot) -> None:
    """Let the tables' names stand for one bucket of them, so that the queries which people run serve here, too."""
    high = (number + 1) * tables.bucket - 1
    low = max(number * tables.bucket, tally.kept_from)
    for table in shown:
        select = f"FROM ({table.select(low, high)}) WHERE kafka_offset BETWEEN {low} AND {high}"
        opened.execute(f"CREATE OR REPLACE VIEW {table.sql_name} AS {select}")


def _first_rows(
    opened: DuckDBPyConnection, tables: Tables, tally: Tally, query: str, numbers: Iterable[int]
) -> tuple[int, ...]:
    """The first column of the first rows of a query of `bronze.events`, asked bucket by bucket."""
    found: list[int] = []
    for number in numbers:
        _show_bucket(opened, tally, number, tables, tables.events)
        found += [row[0] for row in opened.execute(query).fetchmany(SHOWN)]
        if len(found) >= SHOWN:
            break
    return tuple(found[:SHOWN])


def _at(place: Place) -> str:
    log_id, topic, partition = place
    return f"log_id = {text(log_id)} AND kafka_topic = {text(topic)} AND kafka_partition = {partition}"


def _rows(opened: DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    result = opened.execute(query)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _value(opened: DuckDBPyConnection, query: str) -> Any:
    row = opened.execute(query).fetchone()
    return row[0] if row else None

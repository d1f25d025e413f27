"""From SQL to what columns are made of: by cases that a person can check, and against what views really answer."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from edge_assets.settings import Settings
from edge_assets.tables import all_tables
from edge_assets.warehouse.duck_types import from_spark
from edge_assets.warehouse.lineage import FILE, columns
from edge_assets.warehouse.lineage.derive import base, derive
from edge_assets.warehouse.lineage.relations import text
from edge_assets.warehouse.rollups import publish
from edge_assets.warehouse.rollups.model import DEVICE_HEALTH, HEALTH_AT_QUERY, ROLLUPS
from edge_assets.warehouse.views import lake_views, views

RELATIONS = {"a": base("a", ["x", "y", "z"]), "s.b": base("s.b", ["x", "w"])}


@pytest.fixture
def opened() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT x, y AS why FROM a", {"x": "a.x", "why": "a.y"}),
        ("FROM a", {"x": "a.x", "y": "a.y", "z": "a.z"}),
        ("SELECT * EXCLUDE (x, z) FROM a", {"y": "a.y"}),
        ("SELECT x + coalesce(y, 1) AS v FROM a WHERE z > 0", {"v": "a.x a.y"}),
        ("SELECT CASE WHEN x > 1 THEN y ELSE 0 END AS v FROM a", {"v": "a.x a.y"}),
        ("SELECT sum(x) FILTER (y > 0) AS v, count(*) AS n FROM a GROUP BY z", {"v": "a.x", "n": ""}),
        ("SELECT arg_max(x, y) AS v FROM a", {"v": "a.x"}),
        ("SELECT lag(x) OVER (PARTITION BY y ORDER BY z) AS v FROM a", {"v": "a.x"}),
        ("SELECT x AS v, v + 1 AS more FROM a", {"v": "a.x", "more": "a.x"}),
        ("WITH c AS (SELECT x AS v FROM a) SELECT v FROM (FROM c) d", {"v": "a.x"}),
        ("SELECT a.y, b.w FROM a JOIN s.b USING (x)", {"y": "a.y", "w": "s.b.w"}),
        ("SELECT x FROM a LEFT JOIN s.b USING (x)", {"x": "a.x s.b.x"}),
        ("SELECT * FROM a SEMI JOIN s.b USING (x)", {"x": "a.x", "y": "a.y", "z": "a.z"}),
        ("SELECT x AS v FROM a UNION ALL SELECT w FROM s.b", {"v": "a.x s.b.w"}),
        ("SELECT x, y FROM a UNION ALL BY NAME SELECT w AS y, x FROM s.b", {"x": "a.x s.b.x", "y": "a.y s.b.w"}),
        ("SELECT f.v FROM (SELECT unnest([{'n': 'x', 'v': x}, {'n': 'y', 'v': y}]) AS f FROM a)", {"v": "a.x a.y"}),
        ("SELECT f.n FROM (SELECT unnest([{'n': 'x', 'v': x}]) AS f FROM a)", {"n": ""}),
    ],
)
def test_what_a_column_is_made_of(opened: duckdb.DuckDBPyConnection, sql: str, expected: dict[str, str]) -> None:
    assert {name: " ".join(sorted(o.sources)) for name, o in derive(opened, sql, RELATIONS).items()} == expected


@pytest.mark.parametrize("sql", ["SELECT nothing FROM a", "SELECT 1 FROM elsewhere", "SELECT (", "FROM range(3)"])
def test_what_it_does_not_understand_is_no_answer(opened: duckdb.DuckDBPyConnection, sql: str) -> None:
    with pytest.raises(ValueError):
        derive(opened, sql, RELATIONS)


def test_the_file_says_what_the_sql_says() -> None:
    assert FILE.read_text() == text(), "run `python -m edge_assets.warehouse.lineage`"


def test_every_column_has_its_words() -> None:
    assert not [(relation, one.name) for relation, made in columns().items() for one in made if not one.words]


class Rows:
    """Tables of random rows, of which a column can be made to say something else."""

    MEASUREMENTS = ("contact", "battery", "power", "linkquality", "temperature", "energy")

    def __init__(self, opened: duckdb.DuckDBPyConnection) -> None:
        self.opened = opened
        self.random = random.Random(11)
        self.now = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
        self.types: dict[str, dict[str, str]] = {}
        opened.execute("CREATE SCHEMA silver; CREATE SCHEMA gold; CREATE SCHEMA bronze")
        for table in all_tables(Settings.model_construct()):
            self.make(table.full_name, {c.name: from_spark(c.type) for c in table.columns})
        for rollup in ROLLUPS:
            more = HEALTH_AT_QUERY if rollup is DEVICE_HEALTH else ()
            self.make(rollup.name, {c.name: from_spark(c.type) for c in (*rollup.columns, *more)})
        opened.execute("CREATE TABLE settings AS SELECT 'home' AS site, 0.3 AS energy_price_per_kwh, 'EUR' AS currency")
        opened.execute(f"CREATE VIEW {publish.STATES} AS {publish.states('SELECT * FROM silver.device_states')}")
        for view in (*views(), *lake_views()):
            opened.execute(f"CREATE VIEW {view.name} AS {view.sql}")

    def make(self, name: str, types: dict[str, str]) -> None:
        self.types[name] = {column: kind for column, kind in types.items() if not kind.startswith(("MAP", "BLOB"))}
        self.opened.execute(f"CREATE TABLE {name} ({', '.join(f'{c} {k}' for c, k in self.types[name].items())})")
        for number in range(24):
            row = [self.value(column, kind, number) for column, kind in self.types[name].items()]
            self.opened.execute(f"INSERT INTO {name} VALUES ({', '.join('?' * len(row))})", row)

    def value(self, column: str, kind: str, number: int) -> object:
        """Few devices and alerts, so that rows belong together; times of the last hours."""
        words = {"measurement": self.MEASUREMENTS, "transition": ("firing", "cleared", "notified", "acknowledged")}
        few = {"kind": ("device",), "device_id": ("d1", "d2", "d3"), "alert_id": ("a1", "a2", "a3"), "rule": ("r1",)}
        if column in words:
            return words[column][number % len(words[column])]
        if column in few:
            return few[column][number % len(few[column])]
        if column == "room_name" and number % 4 == 0:
            return None  # its identifier stands in
        if kind == "VARCHAR":
            return f"{column} {self.random.randrange(10**6)}"
        if kind == "BOOLEAN":
            return True if column == "silent" else number % 2 == 0
        if kind == "DATE":
            return self.now.date() - timedelta(days=number % 5)
        if kind == "TIMESTAMPTZ":
            return self.now - timedelta(minutes=number * 7)
        return self.random.randrange(1, 10**4) if kind == "BIGINT" else round(self.random.uniform(0.01, 0.99), 6)

    def changes(self, table: str, column: str) -> Iterator[str]:
        """What a column could say in the place of what it says: something else in each row, or nothing."""
        kind = self.types[table][column]
        other = {
            "VARCHAR": f"{column} || '!'",
            "BOOLEAN": f"NOT {column}",
            "DATE": f"{column} - 1",
            "TIMESTAMPTZ": f"{column} - INTERVAL 1 SECOND * (1 + rowid * 61)",
        }.get(kind, f"CAST({column} * 3 + 1 AS {kind})")
        yield from (f"UPDATE {table} SET {column} = {changed}" for changed in (other, "NULL"))

    def told(self, view: str, column: str) -> list[tuple[object, ...]]:
        return self.opened.execute(f"SELECT {column} FROM {view} ORDER BY 1").fetchall()

    def moves(self, view: str, column: str, source: str) -> bool:
        """Whether the view's column answers otherwise when the source says something else."""
        table, _, changed = source.rpartition(".")
        before, moved = self.told(view, column), False
        for change in self.changes(table, changed):
            self.opened.execute(f"BEGIN; {change}")
            moved = moved or self.told(view, column) != before
            self.opened.execute("ROLLBACK")
        return bool(before) and moved


def test_what_a_view_answers_changes_with_what_its_columns_are_made_of(opened: duckdb.DuckDBPyConnection) -> None:
    """Each column that is said to be made of a table's column answers otherwise when that one says something else."""
    rows = Rows(opened)
    made = {view.name: columns()[view.name] for view in (*views(), *lake_views())}
    lines = {(view, one.name, source) for view, of in made.items() for one in of for source in one.sources}
    of_tables = sorted(line for line in lines if line[2].rpartition(".")[0] in rows.types)
    assert len(of_tables) > 120
    assert [line for line in of_tables if not rows.moves(*line)] == []

"""Types of the contract and of Delta's logs in DuckDB's words."""

from __future__ import annotations

import duckdb
import pytest

from edge_assets.tables import TABLES
from edge_assets.warehouse.duck_types import from_delta, from_spark, quoted, text


@pytest.mark.parametrize("kind", sorted({column.type for table in TABLES for column in table.columns}))
def test_duckdb_knows_each_type_of_the_contract(kind: str) -> None:
    duckdb.execute(f"SELECT CAST(NULL AS {from_spark(kind)})")


def test_nested_types() -> None:
    expected = 'MAP(VARCHAR, STRUCT("unit" VARCHAR, "high" DOUBLE))'
    assert from_spark("map<string,struct<unit:string,high:double>>") == expected
    assert from_spark("array<decimal(9, 2)>") == "DECIMAL(9, 2)[]"
    fields = [{"name": "unit", "type": "string"}, {"name": "high", "type": "double"}]
    struct = {"type": "struct", "fields": fields}
    assert from_delta({"type": "map", "keyType": "string", "valueType": struct}) == expected
    assert from_delta({"type": "array", "elementType": "long"}) == "BIGINT[]"


def test_a_time_without_a_zone_is_another_type() -> None:
    assert from_delta("timestamp") == "TIMESTAMPTZ"
    assert from_delta("timestamp_ntz") == "TIMESTAMP"


def test_names_and_texts_are_quoted() -> None:
    assert quoted('a"b') == '"a""b"'
    assert text("it's") == "'it''s'"

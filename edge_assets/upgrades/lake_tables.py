"""Columns that the contract has gained since a table was made: added at the end, null in the rows that are there.

By deltalake, since it happens before any Spark. The stream writer does the same at each of its starts
(`edge_assets.stream.lake.Lake.create_tables`), for a lake that could not be reached now or comes from elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_assets import object_store
from edge_assets.errors import LakeError
from edge_assets.settings import Settings
from edge_assets.stream.durability import carried
from edge_assets.tables import Column, Table, all_tables
from edge_assets.warehouse.duck_types import from_delta, from_spark

if TYPE_CHECKING:
    from deltalake import DeltaTable

_DELTA = {"int": "integer", "bigint": "long"}
"""Spark SQL's names of types where Delta has others"""


@dataclass(frozen=True, slots=True)
class Widening:
    """What a table of the lake lacks."""

    table: Table
    missing: tuple[Column, ...]
    delta: DeltaTable


def wanted(settings: Settings) -> list[Widening]:
    """The tables that lack columns. Raises `LakeError` where one cannot be read, or has a column of another type."""
    return [found for table in all_tables(settings) if (found := _widening(settings, table))]


def widen(settings: Settings, widening: Widening) -> None:
    """Add the columns: one commit without rows, which carries the table's last note on. Raises `LakeError`."""
    from deltalake import CommitProperties, Field
    from deltalake.exceptions import DeltaError
    from deltalake.schema import PrimitiveType

    fields = [
        Field(
            column.name, PrimitiveType(_DELTA.get(column.type, column.type)), metadata={"comment": column.description}
        )
        for column in widening.missing
    ]
    folder = settings.lake_path / widening.table.layer / widening.table.name
    note = CommitProperties(custom_metadata={"userMetadata": carried(folder)})
    try:
        widening.delta.alter.add_columns(fields, commit_properties=note)
    except (DeltaError, OSError) as error:
        raise LakeError(
            f"adding columns to {widening.table.full_name} in {folder}: {str(error).splitlines()[0]}; "
            "`edge up` tries again"
        ) from error


def _widening(settings: Settings, table: Table) -> Widening | None:
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    folder = settings.lake_path / table.layer / table.name
    with object_store.in_words(settings):
        if not any((folder / "_delta_log").glob("*.json")):
            return None
    try:
        delta = DeltaTable(folder.as_uri(), storage_options=object_store.deltalake_options(settings))
        there = {about["name"]: from_delta(about["type"]) for about in json.loads(delta.schema().to_json())["fields"]}
    except (DeltaError, OSError) as error:
        raise LakeError(
            f"reading {table.full_name} in {folder}: {str(error).splitlines()[0]}; `edge doctor` says more"
        ) from error
    for column, kind in _of_another_type(table, there):
        raise LakeError(
            f"{table.full_name} in {folder} has a column {column.name} of type {kind}, and this version writes "
            f"{column.type}: who else has made it? Move the table away, and it is made anew from the log"
        )
    missing = tuple(column for column in table.columns if column.name not in there)
    return Widening(table, missing, delta) if missing else None


def _of_another_type(table: Table, there: dict[str, str]) -> Iterator[tuple[Column, str]]:
    for column in table.columns:
        if column.name in there and there[column.name] != from_spark(column.type):
            yield column, there[column.name]

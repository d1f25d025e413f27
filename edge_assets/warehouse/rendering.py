"""Rows of a query as a table for a person, as JSON, or as CSV.

Times are ISO 8601, those with a zone in UTC with a Z. Bytes are shown as the text that they are; where they are no
UTF-8, as `base64:` and their base64. What JSON cannot say (NaN, Infinity) is a text there.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Format = Literal["table", "json", "csv"]
FORMATS: tuple[str, ...] = get_args(Format)
TABLE_ROWS = 200
CELL_WIDTH = 60
FETCH_ROWS = 10_000


def render(result: DuckDBPyConnection, form: str) -> str:
    """All rows of an executed query in one of `FORMATS`; a table stops after `TABLE_ROWS` and says so."""
    columns = [column[0] for column in result.description or ()]
    if form == "json":
        return _json(columns, _rows(result))
    if form == "csv":
        return _csv(columns, _rows(result))
    rows = result.fetchmany(TABLE_ROWS)
    return table_of(columns, rows, more=bool(result.fetchmany(1)))


def plain(value: Any) -> Any:
    """A value of DuckDB's as JSON can say it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return value.isoformat() if value.tzinfo is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return _text_of(bytes(value))
    if isinstance(value, dict):
        return {str(plain(key)): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return float(value) if isinstance(value, Decimal) else str(value)


def _text_of(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(raw).decode("ascii")


def _rows(result: DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while rows := result.fetchmany(FETCH_ROWS):
        yield from rows


def _json(columns: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> str:
    """An array of objects, one a line."""
    lines = (
        json.dumps(dict(zip(columns, map(plain, row), strict=True)), ensure_ascii=False, allow_nan=False)
        for row in rows
    )
    return "[" + ",\n ".join(lines) + "]"


def _csv(columns: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue().removesuffix("\n")


def table_of(columns: Sequence[str], rows: Sequence[tuple[Any, ...]], more: bool = False) -> str:
    """Columns under each other, numbers to the right; and how many rows that are, or that there are more."""
    cells = [[_short(_cell(value)) for value in row] for row in rows]
    widths = [max([len(name), *(len(row[index]) for row in cells)]) for index, name in enumerate(columns)]
    numbers = [
        all(isinstance(row[index], int | float | Decimal | None) for row in rows) for index in range(len(widths))
    ]
    lines = [_line(columns, widths, numbers), "  ".join("-" * width for width in widths)]
    lines += [_line(row, widths, numbers) for row in cells]
    if more:
        return "\n".join([*lines, f"(the first {len(rows)} rows; there are more: add a LIMIT, or take --format csv)"])
    return "\n".join([*lines, f"({len(rows)} {'row' if len(rows) == 1 else 'rows'})"])


def _line(cells: Sequence[str], widths: Sequence[int], numbers: Sequence[bool]) -> str:
    padded = (
        cell.rjust(width) if number else cell.ljust(width)
        for cell, width, number in zip(cells, widths, numbers, strict=True)
    )
    return "  ".join(padded).rstrip()


def _cell(value: Any) -> str:
    """A value as one text: what is nested as JSON, true and false in small letters, null as nothing."""
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, bool | dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _short(cell: str) -> str:
    line = " ".join(cell.split())
    return line if len(line) <= CELL_WIDTH else line[: CELL_WIDTH - 1] + "…"

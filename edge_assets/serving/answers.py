"""Rows as JSON, written by DuckDB itself: it does so outside of Python's lock, and the live page's loop goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edge_assets.warehouse.duck_types import quoted, text

TimeFormat = Literal["iso", "ms"]

Rows = Sequence[tuple[Any, ...]]
Made = Callable[[Rows], tuple[bytes, bool]]
"""rows of a query → (body, whether something was left out)"""

CACHE_SECONDS = 5

_WHOLE = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
_REAL = ("DOUBLE", "FLOAT", "DECIMAL", "HUGEINT", "UHUGEINT", "UBIGINT")


@dataclass(frozen=True, slots=True)
class Answer:
    """A body of JSON, and what is said of it in headers."""

    body: bytes
    etag: str
    truncated: bool = False

    @property
    def headers(self) -> dict[str, str]:
        found = {"ETag": self.etag, "Cache-Control": f"private, max-age={CACHE_SECONDS}"}
        return found | {"X-Truncated": "true"} if self.truncated else found


def of_value(value: Any) -> Answer:
    """Plain data as an answer."""
    body = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return Answer(body, etag(body))


def etag(*parts: Any) -> str:
    """A weak one: bodies of the same tag mean the same, and may be packed differently on the way."""
    digest = hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()
    return f'W/"{digest[:24]}"'


def listed(rows: Rows) -> tuple[bytes, bool]:
    """Rows of one text of JSON each as one list."""
    return b"[" + ",\n".join(row for (row,) in rows).encode() + b"]", False


def newest(limit: int) -> Made:
    """The same of the last so many rows, where there may be one more."""

    def made(rows: Rows) -> tuple[bytes, bool]:
        body, _ = listed(rows[-limit:])
        return body, len(rows) > limit

    return made


def row(columns: Mapping[str, str], time: TimeFormat) -> str:
    """SQL: a row as the text of a JSON object. `columns`: DuckDB's type of each."""
    pairs = ", ".join(f"{text(name)}, {value(quoted(name), kind, time)}" for name, kind in columns.items())
    return f"CAST(json_object({pairs}) AS VARCHAR)"


def value(column: str, kind: str, time: TimeFormat) -> str:
    """SQL: a value as JSON has it. Times in UTC; what JSON has no word for (infinity) is null."""
    if kind.startswith("TIMESTAMP"):
        return f"epoch_ms({column})" if time == "ms" else f"strftime({column}, '%Y-%m-%dT%H:%M:%S.%gZ')"
    if kind == "DATE":
        return f"epoch_ms({column}::TIMESTAMP)" if time == "ms" else f"strftime({column}, '%Y-%m-%d')"
    if kind.startswith(_REAL):
        return number(column)
    return column if kind in _WHOLE or kind in ("VARCHAR", "BOOLEAN") else f"to_json({column})"


def number(expression: str) -> str:
    """SQL: a number as JSON has it."""
    return f"CASE WHEN isfinite(({expression})::DOUBLE) THEN ({expression})::DOUBLE END"

"""Delta's types (as its log writes them) and Spark SQL's (as `edge_assets.tables` writes them) in DuckDB's words."""

from __future__ import annotations

import re
from typing import Any

_PRIMITIVES = {
    "string": "VARCHAR",
    "binary": "BLOB",
    "boolean": "BOOLEAN",
    "byte": "TINYINT",
    "tinyint": "TINYINT",
    "short": "SMALLINT",
    "smallint": "SMALLINT",
    "integer": "INTEGER",
    "int": "INTEGER",
    "long": "BIGINT",
    "bigint": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "date": "DATE",
    "timestamp": "TIMESTAMPTZ",
    "timestamp_ntz": "TIMESTAMP",
}
_TOKEN = re.compile(r"decimal\(\d+,\s*\d+\)|\w+|[<>:,]")


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def from_delta(kind: Any) -> str:
    """A type of a Delta schema (JSON: a word, or an object with `type`). Raises `KeyError` for one that is new."""
    if isinstance(kind, str):
        return kind.upper() if kind.startswith("decimal") else _PRIMITIVES[kind]
    if kind["type"] == "array":
        return f"{from_delta(kind['elementType'])}[]"
    if kind["type"] == "map":
        return f"MAP({from_delta(kind['keyType'])}, {from_delta(kind['valueType'])})"
    fields = (f"{quoted(field['name'])} {from_delta(field['type'])}" for field in kind["fields"])
    return f"STRUCT({', '.join(fields)})"


def from_spark(ddl: str) -> str:
    """A type as Spark SQL writes it: `map<string,struct<unit:string>>`."""
    return _spark(_TOKEN.findall(ddl))


def _spark(tokens: list[str]) -> str:
    """Takes one type off the front of `tokens`."""
    word = tokens.pop(0)
    if word.startswith("decimal("):
        return word.upper()
    if word not in ("array", "map", "struct"):
        return _PRIMITIVES[word]
    parts = []
    while tokens.pop(0) != ">":  # the < at first, then each comma
        name = f"{quoted(tokens.pop(0))} " if word == "struct" else ""
        if name:
            tokens.pop(0)  # the colon
        parts.append(name + _spark(tokens))
    return f"{parts[0]}[]" if word == "array" else f"{word.upper()}({', '.join(parts)})"

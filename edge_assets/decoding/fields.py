"""Fields of rooms' messages that the contract does not name: which of them become columns, and of which type.

The first message that is read with such a field gives the table a column, in the order of the log:

| first value | type of the column | later values |
|---|---|---|
| a number | double | as in any field of that type |
| `true`, `false` | boolean | as in any field of that type |
| a text, also one that looks like a number | string | a text or a list |
| a list | string: its members joined by commas | a text or a list |
| an object | none: its own fields become columns, `contract.NESTING` levels deep | |
| `null`, an empty object or list, `NaN` | none yet | |

The type is that of the table from then on. A value of another type makes its message a dead letter (`wrong_type`), and
so does an object where a value was, or a value where an object was.

A field within an object is named by its path, joined by `LEVEL`, which no name of a field may hold: `{"air": {"pm25":
3}}` is the column `air__pm25`, and the measurement `air.pm25`. So two fields never share a column.

A field is refused (counted, its bytes are in bronze) where its name is not `NAME`, is longer than `LENGTH` or differs
by case alone from a column that is there, and where `stream.max_room_fields` columns have been added already.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from edge_assets.decoding import contract
from edge_assets.tables import ROOM_TELEMETRY

Path = tuple[str, ...]
"""names from the message's own field inwards"""

LEVEL = "__"

_PART = r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+){0,31}"
NAME = rf"^{_PART}({contract.LEVEL_MARK}{_PART}){{0,{contract.NESTING}}}$"
"""A field's path, with `contract.LEVEL_MARK` between its names: letters of ASCII, digits, single underscores within."""

LENGTH = 63
"""Signs of a column's name: what PostgreSQL takes."""

TYPES = ("double", "bigint", "boolean", "string")
"""Types of columns that a field can be written to. Another one, which somebody else has added, is left alone."""

RESERVED = frozenset(
    {column.name for column in ROOM_TELEMETRY.columns} | {"room_name", "floor", "room_type"} | {*contract.ROOM_ABOUT}
)
"""Names that no field takes: the table's own columns, and what else is known of a room."""


def column_of(path: Path) -> str:
    return LEVEL.join(path)


def path_of(column: str) -> Path:
    return tuple(column.split(LEVEL))


def measurement_of(column: str) -> str:
    """As nested values are named everywhere else."""
    return column.replace(LEVEL, ".")


def key_of(path: Path) -> str:
    """The path as decoders carry it."""
    return contract.LEVEL_MARK.join(path)


def known(room_fields: Mapping[str, str]) -> dict[Path, str]:
    """path → type of each field that has a column: the contract's, and those that have come up."""
    own: dict[Path, str] = {(name,): kind for name, (kind, _) in contract.ROOM_FIELDS.items()}
    return own | {path_of(name): room_fields[name] for name in written(room_fields)}


def written(room_fields: Mapping[str, str]) -> list[str]:
    """The columns that have come up which messages fill."""
    return [name for name, kind in room_fields.items() if kind in TYPES]


def prefixes(paths: Collection[Path]) -> list[Path]:
    """The paths of the objects that hold these fields, outer ones first."""
    return sorted({path[:size] for path in paths for size in range(1, len(path))}, key=lambda path: (len(path), path))


def taken(room_fields: Mapping[str, str]) -> set[str]:
    """Names of columns in lower case, by which Spark and DuckDB tell them apart."""
    return {name.lower() for name in (*RESERVED, *room_fields)}


def may_be_named(path: Path) -> bool:
    """Whether a field can have a column of its name, as far as the name goes."""
    return len(column_of(path)) <= LENGTH and re.fullmatch(NAME, key_of(path)) is not None

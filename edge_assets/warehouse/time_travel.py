"""`silver.readings AT (VERSION => 12)`: a table as it was, within any query.

DuckDB's grammar has the clause, and its views refuse it. So it is taken out of the text before DuckDB sees that: the
name is led to a view of that version, which lies in a schema of its own, so that the table's name stays what the
query's other parts call it. Texts, quoted names and comments are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edge_assets.errors import LakeError
from edge_assets.settings import Settings
from edge_assets.warehouse import history, lake
from edge_assets.warehouse.duck_types import quoted
from edge_assets.warehouse.lake import TableName

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
      | (?P<text>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*')
      | (?P<dollars>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
      | (?P<name>"(?:[^"]|"")*"|[^\W\d]\w*)
      | (?P<number>\d+)
      | (?P<sign>=>|.)""",
    re.VERBOSE | re.DOTALL,
)
_FORM = "AT (VERSION => 12) or AT (TIMESTAMP => '2026-03-01 12:00')"


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    begin: int
    end: int

    @property
    def word(self) -> str:
        """A name as it is meant; of anything else its text."""
        return self.text[1:-1].replace('""', '"') if self.text.startswith('"') else self.text

    def is_word(self, *words: str) -> bool:
        return self.text.upper() in words


@dataclass(frozen=True, slots=True)
class At:
    """One use of the clause: a table, at a version or a time, and the part of the query that says so."""

    name: TableName
    at: int | datetime
    begin: int
    end: int

    @property
    def schema(self) -> str:
        said = f"version {self.at}" if isinstance(self.at, int) else self.at.isoformat()
        return f"{self.name[0]} at {said}"


def mentions(query: str) -> list[At]:
    """The uses of the clause in a query, in order. Raises `LakeError` where one cannot be understood."""
    tokens = [token for token in _tokens(query) if token.kind != "space"]
    found = []
    for number, token in enumerate(tokens):
        if token.is_word("AT") and number >= 1 and tokens[number - 1].kind == "name" and _opens(tokens, number):
            found.append(_at(tokens, number))
    return found


def prepared(opened: DuckDBPyConnection, settings: Settings, query: str) -> str:
    """The query as DuckDB understands it, with the views that it needs made. Raises `LakeError`."""
    for use in reversed(mentions(query)):
        _show(opened, settings, use)
        query = f"{query[: use.begin]}{quoted(use.schema)}.{quoted(use.name[1])}{query[use.end :]}"
    return query


def _tokens(query: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(query):
        kind = "dollars" if match.lastgroup == "tag" else match.lastgroup or "sign"
        yield _Token(kind, match.group(), match.start(), match.end())


def _opens(tokens: list[_Token], number: int) -> bool:
    """Whether `AT` is followed by `( VERSION` or `( TIMESTAMP`: elsewhere it may be a name."""
    following = tokens[number + 1 : number + 3]
    return len(following) == 2 and following[0].text == "(" and following[1].is_word("VERSION", "TIMESTAMP")


def _at(tokens: list[_Token], number: int) -> At:
    before = tokens[max(number - 3, 0) : number]
    if len(before) < 3 or before[1].text != "." or before[0].kind != "name":
        raise LakeError(
            f"sql: {before[-1].text} AT: expected a table of the lake with its layer, as in silver.readings AT …; "
            "rollups and views have no versions"
        )
    if number > 3 and tokens[number - 4].text == ".":
        raise LakeError(
            f"sql: {before[0].text}.{before[2].text} AT: expected a table of this site; others are seen as they are now"
        )
    clause = tokens[number + 1 : number + 7]
    values = clause[3:-1]
    if len(clause) > 3 and clause[2].text == "=>":
        if values and values[0].is_word("TIMESTAMP", "TIMESTAMPTZ"):  # as a typed literal
            clause, values = [*clause[:3], *tokens[number + 5 : number + 7]], tokens[number + 5 : number + 6]
        else:
            clause, values = clause[:5], clause[3:4]
        if len(clause) == 5 and clause[4].text == ")":
            moment = _value(clause[1].text.upper(), values[0])
            return At((before[0].word, before[2].word), moment, before[0].begin, clause[4].end)
    raise LakeError(f"sql: cannot understand {before[0].text}.{before[2].text} AT (…; expected {_FORM}")


def _value(kind: str, token: _Token) -> int | datetime:
    said = token.text.strip("'")
    if kind == "VERSION":
        if said.isdigit():
            return int(said)
        raise LakeError(f"sql: a version is a number, got {token.text}; `edge history TABLE` lists them")
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        raise LakeError(f"sql: expected a time as in '2026-03-01 12:00' (UTC), got {token.text}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _show(opened: DuckDBPyConnection, settings: Settings, use: At) -> None:
    known = {(layer.casefold(), name.casefold()): (layer, name) for layer, name in lake.names(settings)}
    name = known.get((use.name[0].casefold(), use.name[1].casefold()))
    if name is None:
        raise LakeError(f"sql: there is no table {'.'.join(use.name)} that could be asked AT a version")
    table = at_version(settings, name, use.at)
    opened.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(use.schema)}")
    lake.show_as(opened, table, f"{quoted(use.schema)}.{quoted(use.name[1])}")


def at_version(settings: Settings, name: TableName, at: int | datetime) -> lake.Snapshot:
    """The table as it was. Raises `LakeError` where that version is not, or its files are no longer there."""
    version = at if isinstance(at, int) else history.version_at(settings, name, at)
    there = [int(commit["version"]) for commit in history.commits(settings, name)]
    full_name = ".".join(name)
    if version not in there:
        raise LakeError(
            f"{full_name} has no version {version}: the log holds {there[-1]} to {there[0]}; "
            f"`edge history {full_name}` lists them"
        )
    table = lake.snapshot(settings, name, version)
    gone = [file.path for file in table.files if "://" not in file.path and not Path(file.path).exists()]
    if gone:
        raise LakeError(
            f"{full_name} at version {version}: {len(gone)} of its {len(table.files)} files are no longer kept; what "
            f"was replaced stays for EDGE_STREAM__VACUUM_HOURS ({settings.stream.vacuum_hours:g})"
        )
    return table

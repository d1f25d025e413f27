"""From a query to the columns that each of its columns is made of, by DuckDB's own parse of it. Nothing is run.

What counts is what a value is made of: arguments and branches of an expression. What only chooses rows or puts them in
order does not: WHERE, FILTER, GROUP BY, joins' conditions, windows' partitions, and the second argument of `arg_max`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

CHOOSES = ("filter", "filter_expr", "order_bys", "orders", "partitions", "arg_orders")
"""parts of a call that choose rows or put them in order"""

FIRST_OF = ("arg_max", "arg_min")


@dataclass(frozen=True, slots=True)
class Origin:
    """What a column is made of: `relation.column`, each."""

    sources: frozenset[str]
    plain: bool = False
    """it is that one column, under a name of its own or not"""

    def __or__(self, other: Origin) -> Origin:
        return Origin(self.sources | other.sources, self.plain and other.plain and self.sources == other.sources)


Columns = Mapping[str, Origin]
Scope = Sequence[tuple[str, Columns]]


def base(relation: str, names: Sequence[str]) -> Columns:
    """The columns of a relation that is taken as it is."""
    return {name: Origin(frozenset([f"{relation}.{name}"]), True) for name in names}


def derive(opened: DuckDBPyConnection, sql: str, relations: Mapping[str, Columns]) -> dict[str, Origin]:
    """The query's columns in their order. `relations`: what its FROM may name (`readings_1m`, `silver.readings`).

    Raises `ValueError` where DuckDB does not parse it, or where it names something that is not there.
    """
    row = opened.execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
    parsed: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    if parsed["error"]:
        raise ValueError(f"parsing {sql[:80]!r}: {parsed.get('error_message')}")
    return _query(parsed["statements"][0]["node"], relations)


def _query(node: Mapping[str, Any], relations: Mapping[str, Columns]) -> dict[str, Origin]:
    known = dict(relations)
    for cte in node["cte_map"]["map"]:
        known[cte["key"]] = _query(cte["value"]["query_node"], known)
    if node["type"] == "SET_OPERATION_NODE":
        return _united([_query(child, known) for child in node["children"]], "BY_NAME" in node["setop_type"])
    if node["type"] != "SELECT_NODE":
        raise ValueError(f"a query of the kind {node['type']} is not known here")
    scope = _scope(node["from_table"], known)
    found: dict[str, Origin] = {}
    for number, expression in enumerate(node["select_list"]):
        if expression["class"] == "STAR":
            found |= _star(expression, scope)
        else:
            found |= _named(expression, scope, found, known, number)
    return found


def _united(parts: Sequence[dict[str, Origin]], by_name: bool) -> dict[str, Origin]:
    """Columns of a UNION: by their names, else by their places under the names of the first."""
    first, *others = parts
    found = dict(first)
    for other in others:
        pairs = other.items() if by_name else zip(first, other.values(), strict=True)
        for name, origin in pairs:
            found[name] = found[name] | origin if name in found else origin
    return found


def _scope(item: Mapping[str, Any], known: Mapping[str, Columns]) -> list[tuple[str, Columns]]:
    kind = item["type"]
    if kind == "EMPTY":
        return []
    if kind == "JOIN":
        right = [] if item["join_type"] in ("SEMI", "ANTI") else _scope(item["right"], known)
        return [*_scope(item["left"], known), *right]
    if kind == "SUBQUERY":
        return [(item["alias"], _query(item["subquery"]["node"], known))]
    if kind != "BASE_TABLE":
        raise ValueError(f"a source of the kind {kind} is not known here")
    name = ".".join(filter(None, (item["schema_name"], item["table_name"])))
    if name not in known:
        raise ValueError(f"{name} is not there; known are {', '.join(sorted(known))}")
    return [(item["alias"] or item["table_name"], known[name])]


def _star(expression: Mapping[str, Any], scope: Scope) -> dict[str, Origin]:
    left_out = {name for each in expression["exclude_list"] for name in ([each] if isinstance(each, str) else each)}
    found: dict[str, Origin] = {}
    for alias, columns in scope:
        if expression["relation_name"] in ("", alias):
            found |= {name: origin for name, origin in columns.items() if name not in left_out | found.keys()}
    return found


def _named(
    expression: Mapping[str, Any], scope: Scope, before: Columns, known: Mapping[str, Columns], number: int
) -> dict[str, Origin]:
    """A column under its name; one of structs also with each of their fields, as `name.field`."""
    reads = _Reads(scope, before, known)
    column = expression["column_names"][-1] if expression["class"] == "COLUMN_REF" else f"column {number + 1}"
    name = expression["alias"] or column
    fields: dict[str, Origin] = {}
    for struct in _calls(expression, "struct_pack"):
        for argument in struct["arguments"]:
            field = f"{name}.{argument['name']}"
            told = reads.all_of(argument["expression"])
            fields[field] = fields[field] | told if field in fields else told
    plain = expression["class"] in ("COLUMN_REF", "CAST")
    sources = reads.all_of(expression)
    return {name: sources if plain else Origin(sources.sources), **fields}


def _calls(node: Any, function: str) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, Mapping):
        if node.get("function_name") == function:
            yield node
        else:
            for value in node.values():
                yield from _calls(value, function)
    elif isinstance(node, list):
        for value in node:
            yield from _calls(value, function)


@dataclass(frozen=True, slots=True)
class _Reads:
    """Which columns an expression reads, where these relations are in sight."""

    scope: Scope
    before: Columns
    """columns that stand before it in the same SELECT, which it may name"""
    known: Mapping[str, Columns]

    def all_of(self, expression: Any) -> Origin:
        found = list(self._origins(expression))
        if len(found) == 1:
            return found[0]
        return Origin(frozenset().union(*(origin.sources for origin in found)))

    def _origins(self, node: Any) -> Iterator[Origin]:
        if isinstance(node, list):
            for value in node:
                yield from self._origins(value)
        elif isinstance(node, Mapping):
            if node.get("class") == "COLUMN_REF":
                yield self._column(node["column_names"])
            elif node.get("class") == "SUBQUERY":
                yield from _query(node["subquery"]["node"], self.known).values()
            elif node.get("function_name") in FIRST_OF:
                yield from self._origins(node["arguments"][0])
            else:
                for key, value in node.items():
                    if key not in CHOOSES:
                        yield from self._origins(value)

    def _column(self, names: Sequence[str]) -> Origin:
        """`column`, `relation.column`, or `column.field`."""
        if len(names) > 1:
            for alias, columns in self.scope:
                if alias == names[0] and names[1] in columns:
                    return columns[names[1]]
        for name in (".".join(names), names[0]):
            found = [columns[name] for _, columns in self.scope if name in columns]
            if found:  # several: the sides of a JOIN … USING
                return found[0] if len(found) == 1 else Origin(frozenset().union(*(each.sources for each in found)))
        if names[0] in self.before:
            return self.before[names[0]]
        raise ValueError(f"the column {'.'.join(names)} is not there")

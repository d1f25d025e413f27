"""All sites of a shared lake, read together: `sites.silver.readings` is what each of them has of `silver.readings`.

Every table of every site, by its name with `sites.` before it, and in front the column `site`: the folder's name,
which is what its platform has as EDGE_SITE. Sites need not be of one version: columns are matched by name, and one that
a site does not have is null. Where sites differ in a column's type it is a text, unless all of them are numbers.

Each query sees each table of each site at one version. Rollups are made by each platform for itself, in its home.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from edge_assets import object_store
from edge_assets.errors import LakeError
from edge_assets.settings import Settings, is_site_folder
from edge_assets.tables import SITE
from edge_assets.warehouse import lake
from edge_assets.warehouse.duck_types import quoted, text
from edge_assets.warehouse.lake import Snapshot, TableName

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

CATALOG = "sites"
_NUMBERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE"}


def names(settings: Settings) -> list[str]:
    """The sites of a shared lake, this one among them, whether it has written yet or not. Raises `LakeError`."""
    with object_store.in_words(settings):
        root = settings.lake_root
        there = {path.name for path in root.iterdir() if path.is_dir()} if root.exists() else set()
    return sorted({settings.site, *filter(is_site_folder, there)})


def of(settings: Settings, site: str) -> Settings:
    """The settings with which a site of the same lake is read."""
    return settings.model_copy(update={"site": site})


def tables(settings: Settings) -> list[TableName]:
    """The tables that any site has, and those of the contract."""
    return sorted({name for site in names(settings) for name in lake.names(of(settings, site))})


def show(opened: DuckDBPyConnection, settings: Settings, wanted: Iterable[TableName]) -> None:
    """Show tables of all sites as `sites.layer.name`. Raises `LakeError`, which names the site that cannot be read."""
    opened.execute(f"ATTACH IF NOT EXISTS ':memory:' AS {CATALOG}")
    there = names(settings)
    for layer, name in wanted:
        opened.execute(f"CREATE SCHEMA IF NOT EXISTS {CATALOG}.{quoted(layer)}")
        view = f"{CATALOG}.{quoted(layer)}.{quoted(name)}"
        opened.execute(f"CREATE OR REPLACE VIEW {view} AS {_union(settings, there, (layer, name))}")


def _union(settings: Settings, there: Iterable[str], name: TableName) -> str:
    found = {site: _snapshot(settings, site, name) for site in there}
    written = {site: table for site, table in found.items() if table and table.version is not None}
    if not written:  # empty, with the contract's columns
        written = {settings.site: lake.snapshot(settings, name)}
    mixed = _mixed(written.values())
    return " UNION ALL BY NAME ".join(_part(site, table, mixed) for site, table in written.items())


def _snapshot(settings: Settings, site: str, name: TableName) -> Snapshot | None:
    """None: the site has no such table, and the contract does not know it."""
    own = of(settings, site)
    if lake.contract_table(own, name) is None and name not in lake.names(own):
        return None
    return lake.snapshot(own, name)


def _mixed(found: Iterable[Snapshot]) -> set[str]:
    """Columns whose types differ between sites so that not all of them are numbers."""
    types: dict[str, set[str]] = {}
    for table in found:
        for column, kind in table.columns.items():
            types.setdefault(column, set()).add(kind)
    return {column for column, kinds in types.items() if len(kinds) > 1 and not kinds <= _NUMBERS}


def _part(site: str, table: Snapshot, mixed: set[str]) -> str:
    columns = (
        f"CAST({quoted(name)} AS VARCHAR) AS {quoted(name)}" if name in mixed else quoted(name)
        for name in table.columns
        if name != SITE.name
    )
    try:
        rows = table.select()
    except LakeError as error:
        raise LakeError(f"site {site!r}: {error}") from error
    return f"SELECT {text(site)} AS {SITE.name}, {', '.join(columns)} FROM ({rows})"

"""The tables that rollups come from, each at one version, as parts of `measurements`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

from edge_assets.errors import LakeError
from edge_assets.retention import Expired
from edge_assets.settings import Settings
from edge_assets.warehouse import lake
from edge_assets.warehouse.rollups import changes, times
from edge_assets.warehouse.rollups.measurements import READINGS, ROOMS, relation

TABLES = (READINGS, ROOMS)
KINDS = {READINGS: "device", ROOMS: "room"}


def table_path(settings: Settings, name: lake.TableName) -> Path:
    return settings.lake_path / name[0] / name[1]


def there(settings: Settings) -> list[lake.TableName]:
    """The tables that have a log; the rooms' may be absent, and so may both before the first reading."""
    return [name for name in TABLES if changes.exists(table_path(settings, name))]


class Silver:
    """A snapshot of the tables: as they are now, or those of `versions` (by full name) as they were then."""

    def __init__(self, settings: Settings, versions: Mapping[str, int] | None = None) -> None:
        self._settings = settings
        if versions is None:
            self._tables = {name: lake.snapshot(settings, name) for name in there(settings)}
        else:
            known = [name for name in TABLES if ".".join(name) in versions]
            self._tables = {name: lake.snapshot(settings, name, versions[".".join(name)]) for name in known}
        self._expired = {name: Expired.of(table.properties) for name, table in self._tables.items()}
        for name, table in self._tables.items():
            if table.delta is not None:
                raise LakeError(
                    f"rolling up {'.'.join(name)}: it has deletion vectors or column mapping, which its one "
                    "writer does not use; who else has written to it?"
                )

    def expired_kinds(self, day: date) -> set[str]:
        """Of which kinds of series (device, room) raw rows of this UTC day have gone for their age."""
        return {KINDS[name] for name, expired in self._expired.items() if expired.holds(day)}

    def between(self, low: datetime, high: datetime) -> str:
        """`measurements` with event times from `low` to before `high`, from the files only that may hold them."""
        where = f"event_time >= {times.literal(low)} AND event_time < {times.literal(high)}"
        parts = {name: table.only(lambda file: file.may_be_between(low, high)) for name, table in self._tables.items()}
        return _relation({name: part for name, part in parts.items() if part.files}, where)

    def all(self) -> str:
        """`measurements`, whole."""
        return _relation(self._tables)

    def of_files(self, name: lake.TableName, paths: Iterable[Path | str]) -> str:
        """`measurements` of some files of a table, whether they are active still or not."""
        files = tuple(lake.DataFile(str(path)) for path in paths)
        return _relation({name: replace(self._tables[name], files=files)})

    def days(self) -> list[date]:
        """The UTC days that rows can be of, in order, as the files' statistics have it."""
        found: set[date] = set()
        for begins, ends in self._spans():
            found.update(days_between(begins, ends))
        return sorted(found)

    def _spans(self) -> Iterator[tuple[datetime, datetime]]:
        for name, table in self._tables.items():
            for file in table.files:
                if file.begins and file.ends:
                    yield file.begins, file.ends
                else:  # a writer that keeps no statistics: the file itself says it
                    query = f"SELECT min(event_time), max(event_time) FROM ({self.of_files(name, [file.path])})"
                    with lake.connection(self._settings) as asked:
                        low, high = asked.execute(query).fetchone() or (None, None)
                    if low:
                        yield low, high


def days_between(low: datetime, high: datetime) -> list[date]:
    """The UTC days from one time to another, both included."""
    first, last = times.floor(low, "day").date(), times.floor(high, "day").date()
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _relation(tables: dict[lake.TableName, lake.Snapshot], where: str = "true") -> str:
    rooms = tables.get(ROOMS)
    readings = tables.get(READINGS)
    return relation(
        readings.select() if readings else None,
        rooms.select() if rooms else None,
        rooms.columns if rooms else None,
        where,
    )

"""A file → entries (one line with a time each) and bad lines, in the file's order. The same each time it is read."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from edge_assets.decoding import contract
from edge_assets.sources.history import columns
from edge_assets.sources.history.columns import Layout, Options, cells_of, fitted, is_text, spoken
from edge_assets.sources.history.times import TimeReader, iso
from edge_assets.sources.history.values import MISSING, json_value_of, value_of

RAW_KEPT = 10_000
"""Characters of a bad line that are kept."""
NAME_BYTES = 1_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A line with a time: what a device measured then."""

    number: int
    device: str
    at: int
    """microseconds since 1970 UTC"""
    measurements: dict[str, Any]
    """those that the file did not have before for this device and time; may be empty"""
    repeated: int = 0
    """how many the file did have before"""


@dataclass(frozen=True, slots=True)
class BadLine:
    number: int
    problem: str
    raw: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"line {self.number}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a line may be: times in microseconds since 1970, and the bytes of a record."""

    latest: int
    record_bytes: int


def measurement_of(name: str) -> str | None:
    """What a column's measurement is called: its name, with `_` for dots, which stand for levels in a measurement.

    None where a reading cannot be called so: such columns are passed over.
    """
    clean = name.strip().replace(".", "_")
    return None if not clean or clean in contract.NOT_MEASUREMENTS else clean


def read(file: IO[str], layout: Layout, options: Options, bounds: Bounds) -> Iterator[Entry | BadLine]:
    """All lines but blank ones, comments and the names."""
    reader = _Reader(layout, options, bounds)
    number = 0
    try:
        while line := file.readline(columns.LINE_CHARACTERS):
            number += 1
            line = line.rstrip("\n")
            if number > layout.header_line and line.strip() and not (layout.form == "csv" and line.startswith("#")):
                yield reader.entry(number, line)
    except (EOFError, OSError, zlib.error, UnicodeError) as error:  # cut off, damaged, or not of this encoding
        yield BadLine(number + 1, f"the file cannot be read further: {error}")


class _Reader:
    """Knows what the file said before: each device's last time, and what is there already."""

    def __init__(self, layout: Layout, options: Options, bounds: Bounds) -> None:
        self._layout = layout
        self._bounds = bounds
        self._times = TimeReader(options.time_format, options.timezone)
        self._last: dict[str, int] = {}
        # (device → time → names): about 130 bytes a line, as equal sets of names are one.
        self._seen: dict[str, dict[int, frozenset[str]]] = {}
        self._sets: dict[frozenset[str], frozenset[str]] = {}
        apart = (columns.UNNAMED, layout.time_column, layout.device_column, *options.skip)
        self._apart = frozenset(name for name in apart if name is not None)
        self._measurements = {name: measurement_of(name) for name in layout.names if name not in self._apart}
        self._devices: set[str] = set()

    def entry(self, number: int, line: str) -> Entry | BadLine:
        try:
            if not is_text(line):
                raise ValueError(f"not {spoken(self._layout.encoding)}; say --encoding where the file has another")
            said = self._cells(line) if self._layout.form == "csv" else self._members(line)
            device = self._device(said)
            at = self._time(said, device)
            measurements = self._values(said)
            self._check_size(device, measurements)
            return self._new(number, device, at, measurements)
        except json.JSONDecodeError as error:
            return BadLine(number, f"not JSON: {error.msg} at character {error.pos}", line[:RAW_KEPT])
        except (ValueError, RecursionError) as error:
            return BadLine(number, str(error), line[:RAW_KEPT])

    def _cells(self, line: str) -> dict[str, Any]:
        names = self._layout.names
        return dict(zip(names, fitted(cells_of(line, self._layout.separator), names), strict=True))

    def _members(self, line: str) -> dict[str, Any]:
        found = json.loads(line, object_pairs_hook=_once)
        if not isinstance(found, dict):
            raise ValueError("expected a JSON object")
        return found

    def _device(self, said: dict[str, Any]) -> str:
        if self._layout.device is not None:
            device = self._layout.device
        else:
            column = self._layout.device_column
            assert column is not None
            device = str(said.get(column) or "").strip()
        if device not in self._devices:
            check_device(device)
            self._devices.add(device)
        return device

    def _time(self, said: dict[str, Any], device: str) -> int:
        cell = said.get(self._layout.time_column)
        if cell is None or isinstance(cell, bool | dict | list):
            raise ValueError(f"no time in {self._layout.time_column!r}")
        at = self._times.micros(str(cell), self._last.get(device))
        if not 0 <= at <= self._bounds.latest:
            raise ValueError(f"{cell!r} is {'before 1970' if at < 0 else 'in the future'}")
        self._last[device] = at
        return at

    def _values(self, said: dict[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        csv, mark = self._layout.form == "csv", self._layout.decimal
        for name, cell in said.items():
            if name in self._apart:
                continue
            measurement = self._measurements[name] if csv else measurement_of(name)
            if measurement is None:
                continue
            try:
                value = value_of(cell, mark) if csv else json_value_of(cell)
            except ValueError as error:
                raise ValueError(f"column {name!r}: {error}") from error
            if value is not MISSING:
                values[measurement] = value
        return values

    def _check_size(self, device: str, measurements: dict[str, Any]) -> None:
        room = self._bounds.record_bytes
        if len(payload_of(0, measurements)) + len(device.encode()) > room:
            raise ValueError(f"it would be a record of more than the log's limit of {room:,} bytes")

    def _new(self, number: int, device: str, at: int, measurements: dict[str, Any]) -> Entry:
        names = frozenset(measurements)
        names = self._sets.setdefault(names, names)
        times = self._seen.setdefault(device, {})
        before = times.get(at)
        if before is None:
            times[at] = names
            return Entry(number, device, at, measurements)
        union = before | names
        times[at] = self._sets.setdefault(union, union)
        new = {name: value for name, value in measurements.items() if name not in before}
        return Entry(number, device, at, new, len(measurements) - len(new))


def payload_of(at: int, measurements: dict[str, Any]) -> bytes:
    """The value of a record: JSON as Zigbee2MQTT would write it. Raises `ValueError` where JSON cannot have it."""
    said = {**measurements, contract.TIME_PROPERTY: iso(at)}
    return json.dumps(said, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def check_device(name: str) -> None:
    """Raises `ValueError` where a name would not be read as a device's: see `edge_assets.decoding.contract`."""
    topic = f"/{name}"
    problem = (
        "no device"
        if not name
        else "is longer than 1,000 bytes"
        if len(name.encode(errors="replace")) > NAME_BYTES
        else "holds one of + # NUL or what is no text"
        if any(sign in name for sign in "+#\0") or contract.NOT_TEXT in name or not is_text(name)
        else "is a topic of Zigbee2MQTT itself"
        if name == "bridge" or name.startswith("bridge/")
        else "begins or ends with /"
        if name.strip("/") != name
        else "ends like a command or an availability"
        if topic.endswith((*contract.COMMANDS, f"/{contract.AVAILABILITY}"))
        or any(f"{command}/" in topic for command in contract.COMMANDS)
        else None
    )
    if problem:
        raise ValueError(f"device {name!r}: {problem}" if name else "no device")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("it names a property twice")
    return found

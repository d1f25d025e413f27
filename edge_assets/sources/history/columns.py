"""What a file is like, found out from its beginning: `look` → `Layout`. What the options say is not found out.

A CSV file has one line of names. Its lines may have one cell more than there are names: a number of the line in
front, as R and pandas write it, or nothing behind, after a separator at the end. One line of the file is one line
of the table: a quoted cell cannot go on in the next, so that a quote that was forgotten spoils one line.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

from edge_assets.errors import HistoryError
from edge_assets.sources.history.times import TimeReader
from edge_assets.sources.history.values import DecimalMark, has_decimals

SEPARATORS = {",": ",", ";": ";", "\t": "tab", "|": "|"}
SAMPLE_LINES = 200
LINE_CHARACTERS = 1_000_000
GZIP_MAGIC = b"\x1f\x8b"
TIME_NAMES = ("time", "timestamp", "date", "datetime", "ts", "event_time", "last_seen", "zeit", "datum", "zeitstempel")
UNNAMED = ""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user says; None: found out."""

    device: str | None = None
    device_column: str | None = None
    time_column: str | None = None
    time_format: str | None = None
    timezone: str = "UTC"
    separator: str | None = None
    decimal: DecimalMark | None = None
    encoding: str | None = None
    skip: tuple[str, ...] = ()
    """columns to leave out"""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a file is like."""

    form: Literal["csv", "jsonl"]
    encoding: str
    device: str | None
    """the one device of all lines, else `device_column` has it"""
    device_column: str | None
    time_column: str
    separator: str = ","
    decimal: DecimalMark = "."
    names: tuple[str, ...] = ()
    """of the cells of a line, `UNNAMED` for those that have none; of a CSV file only"""
    header_line: int = 0


@contextmanager
def opened(path: Path, encoding: str | None = None) -> Iterator[tuple[IO[bytes], IO[str], str]]:
    """The file (for its progress), its text, and the encoding: unpacked where it is packed by gzip, a byte order mark
    taken off, all line ends as `\\n`. Bytes that are no text become surrogates. Raises `HistoryError`."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise HistoryError(f"importing {path}: {error.strerror}; expected a file of CSV or JSON lines") from error
    with file:
        packed: Any = gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == GZIP_MAGIC else file
        unpacked = io.BufferedReader(packed) if packed is not file else packed
        try:
            used = encoding or _by_mark(unpacked.peek(4)[:4])
            text = io.TextIOWrapper(unpacked, encoding=used, errors="surrogateescape")
        except LookupError as error:
            raise HistoryError(f"--encoding: {encoding!r} is not known; expected one like utf-8 or cp1252") from error
        except (OSError, EOFError, zlib.error) as error:
            raise HistoryError(f"importing {path}: it cannot be unpacked: {error}") from error
        yield file, text, used


def look(path: Path, options: Options) -> Layout:
    """Find out what a file is like. Raises `HistoryError`, one line, with the option that would help."""
    with opened(path, options.encoding) as (_, text, encoding):
        try:
            lines = list(islice(_bounded(text), SAMPLE_LINES))
        except (OSError, EOFError, zlib.error, UnicodeError) as error:
            raise HistoryError(f"importing {path}: it cannot be read: {error}; --encoding names another") from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise HistoryError(f"importing {path}: it is empty")
    try:
        if numbered[0][1].lstrip().startswith("{"):
            return _json_layout(path, options, encoding, [line for _, line in numbered])
        return _csv_layout(path, options, encoding, numbered)
    except ValueError as error:
        raise HistoryError(f"importing {path}: {error}") from error


def cells_of(line: str, separator: str) -> list[str]:
    """The cells of one line. Raises `ValueError`."""
    if '"' not in line:
        return line.split(separator)
    try:
        return next(csv.reader([line], delimiter=separator, strict=True, skipinitialspace=True))
    except csv.Error as error:
        said = "a quote is not closed" if "unexpected end" in str(error) else str(error)
        raise ValueError(f"its cells cannot be told apart: {said}") from error


def fitted(cells: list[str], names: Sequence[str]) -> list[str]:
    """As many cells as there are names: an empty one behind is none. Raises `ValueError`."""
    if len(cells) == len(names):
        return cells
    if len(cells) == len(names) + 1 and not cells[-1].strip():
        return cells[:-1]
    raise ValueError(f"expected {len(names)} cells, got {len(cells)}")


def is_text(line: str) -> bool:
    """Whether all of its bytes were text in the file's encoding."""
    return line.isascii() or not any("\udc80" <= sign <= "\udcff" for sign in line)


def spoken(encoding: str) -> str:
    """An encoding's name for a person."""
    return encoding.removesuffix("-sig").upper()


def _by_mark(first: bytes) -> str:
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8-sig"


def _bounded(text: IO[str]) -> Iterator[str]:
    while line := text.readline(LINE_CHARACTERS):
        yield line.rstrip("\n")


# -- CSV -----------------------------------------------------------------------------------------------------------


def _csv_layout(path: Path, options: Options, encoding: str, numbered: list[tuple[int, str]]) -> Layout:
    if numbered[0][1].lstrip().startswith("["):
        raise ValueError("it begins with [: expected CSV, or JSON with one object a line")
    said = _said_separator(numbered[0][1])
    body = [(number, line) for number, line in numbered if not line.startswith("#")][1 if said else 0 :]
    if not body:
        raise ValueError("it has no line of names")
    (header_line, header), lines = body[0], [line for _, line in body[1:]]
    if not is_text(header):
        raise ValueError(f"line {header_line}: not {spoken(encoding)}; say --encoding cp1252, or what it is")
    if options.separator is not None and (len(options.separator) != 1 or options.separator in '"\r\n'):
        raise ValueError(f"--separator: expected one character (or `tab`), got {options.separator!r}")
    separator = options.separator or said or _separator(header, lines)
    rows = [cells for line in lines if (cells := _cells_or_none(line, separator))]
    names = _names(cells_of(header, separator), rows, header_line, options)
    columns = _by_name(names, rows)
    time_column = _time_column(options, columns)
    device_column, device = _device(path, options, columns)
    data = [values for name, values in columns.items() if name not in (time_column, device_column)]
    return Layout(
        "csv",
        encoding,
        device,
        device_column,
        time_column,
        separator,
        options.decimal or _decimal(separator, data),
        names,
        header_line,
    )


def _said_separator(line: str) -> str | None:
    """Excel's `sep=;` on the first line."""
    return line[4] if line.lower().startswith("sep=") and len(line) == 5 else None


def _separator(header: str, lines: list[str]) -> str:
    """The one that gives the line of names the most cells, with which the other lines agree."""
    best, most = "", (0.0, 0)
    for separator in SEPARATORS:
        names = _cells_or_none(header, separator)
        if not names or len(names) < 2:
            continue
        counts = [len(_cells_or_none(line, separator) or ()) for line in lines]
        agreeing = sum(count - len(names) in (0, 1) for count in counts) / len(counts) if counts else 1.0
        if (agreeing, len(names)) > most:
            best, most = separator, (agreeing, len(names))
    if not best:
        known = " ".join(SEPARATORS.values())
        raise ValueError(f"no separator ({known}) gives its first line two names or more; say --separator")
    return best


def _cells_or_none(line: str, separator: str) -> list[str] | None:
    with suppress(ValueError):
        return cells_of(line, separator)
    return None


def _names(header: list[str], rows: list[list[str]], line: int, options: Options) -> tuple[str, ...]:
    """The names of the cells. Where lines have one cell more than there are names, it is in front or behind."""
    names = tuple(name.strip() for name in header)
    for name, times in Counter(filter(None, names)).items():
        if times > 1:
            raise ValueError(f"line {line}: the name {name!r} is there {times} times: rename one")
    longer = [row for row in rows if len(row) == len(names) + 1]
    if 2 * len(longer) <= len(rows):
        return names
    behind = all(not row[-1].strip() for row in longer)
    in_front = all(row[0].strip().isdigit() for row in longer)
    shifted = (UNNAMED, *names)
    if behind and in_front:  # a number in front, or seconds since 1970: the one of the two that has a time
        return names if _has_time(options, _by_name(names, rows)) else shifted
    if not behind and not in_front:
        raise ValueError(
            f"line {line} names {len(names)} columns and most lines have {len(names) + 1} cells, "
            "of which the first is not the line's number: which column has no name?"
        )
    return names if behind else shifted


def _by_name(names: Sequence[str], rows: list[list[str]]) -> dict[str, list[str]]:
    """The sample's cells by column."""
    fitting = [row for row in rows if len(row) - len(names) in (0, 1)]
    return {name: [row[n] for row in fitting] for n, name in enumerate(names) if name}


def _decimal(separator: str, columns: list[list[str]]) -> DecimalMark:
    if separator == ",":
        return "."
    cells = [cell for column in columns for cell in column]
    commas = any(has_decimals(cell, ",") for cell in cells)
    return "," if commas and not any(has_decimals(cell, ".") for cell in cells) else "."


# -- JSON lines ----------------------------------------------------------------------------------------------------


def _json_layout(path: Path, options: Options, encoding: str, lines: list[str]) -> Layout:
    columns: dict[str, list[str]] = {}
    for line in lines:
        with suppress(ValueError, RecursionError):
            found = json.loads(line)
            for name, value in found.items() if isinstance(found, dict) else ():
                columns.setdefault(name, []).append(str(value))
    if {"topic", "payload"} <= columns.keys():
        raise ValueError("its lines have `topic` and `payload`: it is a recording, which `edge replay` publishes")
    time_column = _time_column(options, columns)
    device_column, device = _device(path, options, columns)
    return Layout("jsonl", encoding, device, device_column, time_column)


# -- both ----------------------------------------------------------------------------------------------------------


def _time_column(options: Options, columns: dict[str, list[str]]) -> str:
    if options.time_column is not None:
        return _known(options.time_column, columns, "--time-column")
    named = [name for name in columns if name.strip().lower() in TIME_NAMES]
    rest = [] if named else [name for name in columns if not _bare_numbers(columns[name])]
    for name in (*named, *rest):
        if name not in options.skip and _are_times(options, columns[name]):
            return name
    if named:  # its name says what it is, and each line will say why it cannot be read
        return named[0]
    listed = ", ".join(columns) or "none"
    raise ValueError(f"no column is known as the time; say --time-column, one of: {listed}")


def _bare_numbers(cells: list[str]) -> bool:
    """A column of numbers may look like seconds since 1970; only its name makes it a time."""
    return all(cell.strip().replace(".", "").isdigit() for cell in cells)


def _has_time(options: Options, columns: dict[str, list[str]]) -> bool:
    with suppress(ValueError):
        return _are_times(options, columns[_time_column(options, columns)])
    return False


def _are_times(options: Options, cells: list[str]) -> bool:
    """Whether most of the sample can be read as a time."""
    read, good = TimeReader(options.time_format, options.timezone), 0
    for cell in cells:
        with suppress(ValueError):
            read.micros(cell)
            good += 1
    return good > len(cells) / 2


def _device(path: Path, options: Options, columns: dict[str, list[str]]) -> tuple[str | None, str | None]:
    """(its column, its name): one of them."""
    if options.device_column is not None and options.device is None:
        return _known(options.device_column, columns, "--device-column"), None
    stem = path.name.removesuffix(".gz")
    return options.device_column, options.device or Path(stem).stem


def _known(name: str, columns: dict[str, list[str]], option: str) -> str:
    if name not in columns:
        raise ValueError(f"{option}: there is no column {name!r}; there are: {', '.join(columns) or 'none'}")
    return name

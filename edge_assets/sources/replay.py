"""`edge replay FILE`: publish a recording, line by line.

A recording is a text file (or one packed by gzip) with one JSON object a line:

| name | what |
|---|---|
| `topic` | MQTT topic, not a filter |
| `payload` or `payload_base64` | the payload as text, or as base64 where it is not text |
| `qos`, `retain` | as recorded; 0 and false where they are missing |
| `ts` or `tst` | when it was published: ISO 8601 with a zone, or seconds or milliseconds since 1970; may be missing |

So what `mosquitto_sub -F %j` writes is a recording. Other names are passed over. Lines are checked as they are read,
since a recording may be of any size; a line that is none is counted and named in the result, never silently dropped,
and does not hold up the others.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import re
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from edge_assets.errors import EdgeError
from edge_assets.settings import Settings
from edge_assets.sources.message import Message
from edge_assets.sources.publisher import Publisher

TIME_NAMES = ("ts", "tst")
PROBLEMS_KEPT = 20
PROGRESS_SECONDS = 0.25
GZIP_MAGIC = b"\x1f\x8b"

Progress = Callable[[int, int], None]
"""Called now and then with the bytes of the file that are done, and its size."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no message: its number (the first is 1) and why."""

    number: int
    problem: str

    def __str__(self) -> str:
        return f"line {self.number}: {self.problem}"


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What became of a recording's lines (blank ones are not counted)."""

    published: int
    skipped_lines: int
    problems: tuple[BadLine, ...]
    """the first lines that were skipped, `PROBLEMS_KEPT` at most"""
    connections_lost: int
    """how often the broker went away: each time QoS 0 messages may be lost and QoS 1 messages be there twice"""
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether each line is certain to have been published once."""
        return not self.skipped_lines and not self.connections_lost


def replay_file(
    settings: Settings,
    path: Path,
    speed: float | None = None,
    progress: Progress | None = None,
    qos: int | None = None,
) -> ReplayResult:
    """Publish a recording and return when the broker has taken all of it.

    `speed` None publishes as fast as the broker takes it; N publishes N times as fast as the recording's own clock,
    where lines have a `ts` (one that goes back begins a new stretch without a pause). `qos` overrides what was
    recorded. Raises `EdgeError` where the file cannot be read, `PlatformError` where the broker stays away.
    """
    if qos not in (None, 0, 1, 2):
        raise EdgeError(f"replaying {path}: the QoS must be 0, 1 or 2, not {qos}; leave it out for what was recorded")
    if speed is not None and not speed > 0:
        raise EdgeError(f"replaying {path}: the speed must be above 0, not {speed}; leave it out for full speed")
    begin, clock = time.monotonic(), _Clock(speed)
    published, skipped = 0, 0
    problems: list[BadLine] = []
    with _opened(path) as (packed, lines), Publisher(settings, "edge-replay") as publisher:
        for entry in _with_progress(read_lines(lines, qos), packed, path, progress):
            if isinstance(entry, BadLine):
                skipped += 1
                problems = [*problems, entry][:PROBLEMS_KEPT]
                continue
            clock.wait_for(entry.at_seconds)
            publisher.publish(entry.message)
            published += 1
        publisher.flush()
    return ReplayResult(published, skipped, tuple(problems), publisher.connections_lost, time.monotonic() - begin)


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is a message; `at_seconds` is its `ts` since 1970, None where it has none."""

    message: Message
    at_seconds: float | None


def read_lines(lines: IO[bytes], qos: int | None = None) -> Iterator[Line | BadLine]:
    """The messages and the bad lines of a recording; blank lines are nothing. `qos` overrides what was recorded."""
    number = 0
    try:
        for number, raw in enumerate(lines, start=1):
            if raw.strip():
                yield _line(number, raw, qos)
    except (EOFError, OSError, zlib.error) as error:  # a packed file that was cut off or damaged
        yield BadLine(number + 1, f"the file cannot be read further: {error}")


def _line(number: int, raw: bytes, qos: int | None) -> Line | BadLine:
    try:
        return parse_line(raw, qos)
    except UnicodeDecodeError as error:
        return BadLine(number, f"not UTF-8 at byte {error.start}")
    except json.JSONDecodeError as error:
        return BadLine(number, f"not JSON: {error.msg} at character {error.pos}")
    except (ValueError, RecursionError) as error:
        return BadLine(number, str(error))


def parse_line(raw: bytes, qos: int | None = None) -> Line:
    """One line of a recording. Raises `ValueError` that says what is wrong with it."""
    record = json.loads(raw.decode("utf-8"))
    if not isinstance(record, dict):
        raise ValueError(f"expected a JSON object, got {_kind(record)}")
    recorded = record.get("qos", 0)
    if type(recorded) is not int or recorded not in (0, 1, 2):
        raise ValueError(f"`qos` must be 0, 1 or 2, not {recorded!r}")
    retain = record.get("retain", False)
    if not isinstance(retain, bool) and (type(retain) is not int or retain not in (0, 1)):
        raise ValueError(f"`retain` must be true or false, not {retain!r}")
    at = next((_seconds(name, record[name]) for name in TIME_NAMES if record.get(name) is not None), None)
    return Line(Message(0.0, _topic(record), _payload(record), recorded if qos is None else qos, bool(retain)), at)


def _topic(record: dict[str, Any]) -> str:
    topic = record.get("topic")
    if not isinstance(topic, str) or not topic:
        raise ValueError("no `topic`" if topic is None else f"`topic` must be a text, not {topic!r}")
    if any(sign in topic for sign in "+#\0"):
        raise ValueError(f"`topic` {topic!r} holds one of + # NUL, which only filters may")
    if topic.startswith("$"):
        raise ValueError(f"`topic` {topic!r} begins with $: such topics are the broker's own")
    if len(topic.encode()) > 65_535:
        raise ValueError("`topic` is longer than the 65,535 bytes of MQTT")
    return topic


def _payload(record: dict[str, Any]) -> bytes:
    if ("payload" in record) == ("payload_base64" in record):
        raise ValueError("expected one of `payload` and `payload_base64`")
    if "payload" in record:
        if not isinstance(record["payload"], str):
            raise ValueError(f"`payload` must be a text (JSON written as a string), not {_kind(record['payload'])}")
        return record["payload"].encode()
    try:
        return base64.b64decode(record["payload_base64"], validate=True)
    except (binascii.Error, TypeError) as error:
        raise ValueError(f"`payload_base64` is not base64: {error}") from error


def _seconds(name: str, ts: Any) -> float:
    """Seconds since 1970. Only differences count, so a text without a zone is taken as UTC."""
    if isinstance(ts, str):
        try:
            # Mosquitto 2.0 writes a Z and the offset behind it.
            time_of = datetime.fromisoformat(re.sub(r"Z([+-])", r"\1", ts))
        except ValueError as error:
            raise ValueError(f"`{name}` {ts!r} is no ISO 8601 time") from error
        return (time_of if time_of.tzinfo else time_of.replace(tzinfo=UTC)).timestamp()
    if isinstance(ts, bool) or not isinstance(ts, int | float) or not abs(ts) < 1e14:
        raise ValueError(f"`{name}` must be a time, not {ts!r}")
    return ts / 1_000 if ts > 1e11 else float(ts)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


class _Clock:
    """Waits until a line's time has come, at `speed` times the recording's own pace."""

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._origin: tuple[float, float] | None = None
        self._latest = 0.0

    def wait_for(self, at: float | None) -> None:
        if self._speed is None or at is None:
            return
        now = time.monotonic()
        if self._origin is None or at < self._latest:  # the first line, or a clock that went back: a new stretch
            self._origin = (now, at)
        self._latest = at
        due = self._origin[0] + (at - self._origin[1]) / self._speed
        time.sleep(max(0.0, due - now))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The file, and its lines: unpacked where it is packed by gzip, whatever its name."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise EdgeError(f"replaying {path}: {error.strerror}; expected a recording, one JSON object a line") from error
    with file:
        packed = file.peek(2)[:2] == GZIP_MAGIC
        yield file, gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[misc]


def _with_progress(
    entries: Iterator[Line | BadLine], file: IO[bytes], path: Path, progress: Progress | None
) -> Iterator[Line | BadLine]:
    size = path.stat().st_size
    told = 0.0
    for entry in entries:
        yield entry
        if progress and time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            progress(file.tell(), size)
    if progress:
        progress(size, size)

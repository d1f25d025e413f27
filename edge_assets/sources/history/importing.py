"""`edge import FILE`, from the file to the log. `import_file` is its order:

1. look at the beginning of the file: `columns.look`
2. go through all of it once: `survey.survey`; bad lines go to `FILE.rejected`, with `strict` they end it here
3. wait until the tables hold all that earlier imports have sent: `known.wait_until_written`
4. go through it again, and send what neither the ledger nor the lake has

A kill between any two of these, or within the last, costs nothing: run again, it sends what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from edge_assets.errors import HistoryError, NotRunning
from edge_assets.platform import endpoints, log
from edge_assets.service import service_lock
from edge_assets.settings import Settings
from edge_assets.sources.history import columns, known, lines, record
from edge_assets.sources.history.columns import Layout, Options
from edge_assets.sources.history.ledger import FOLDER, Ledger, just_interrupted, sha256_of
from edge_assets.sources.history.lines import BadLine, Bounds, Entry
from edge_assets.sources.history.sending import Sender
from edge_assets.sources.history.survey import Survey, survey
from edge_assets.warehouse import log_ends

CHUNK_LINES = 10_000
SAVE_SECONDS = 1.0
SETTLE_SECONDS = 2.0
"""What a killed import had on its way lands within this, or never."""
RECORD_OVERHEAD_BYTES = 1_024
"""Header and framing of a record, with some to spare."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Examined:
    """What is known of a file before anything is sent: what `--dry-run` shows."""

    path: Path
    layout: Layout
    survey: Survey

    def as_dict(self) -> dict[str, Any]:
        layout = asdict(self.layout)
        passed_over = [name for name in layout.pop("names") if name and lines.measurement_of(name) is None]
        return {"file": str(self.path), "read_as": layout, "passed_over": passed_over, **self.survey.as_dict()}


@dataclass(slots=True)
class Counts:
    """What became of the good lines. Counts of lines, but for `readings_there`."""

    sent: int = 0
    """records that are in the log now, one a line"""
    sent_before: int = 0
    """lines that an earlier import of this file had sent"""
    there: int = 0
    """other lines of which the lake had every reading"""
    readings_there: int = 0
    """readings that the lake had, of lines that were sent in part"""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What became of a file."""

    examined: Examined
    counts: Counts
    rejected: Path | None
    """where the bad lines are"""
    seconds: float

    @property
    def complete(self) -> bool:
        return not self.examined.survey.bad

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.examined.as_dict(),
            **asdict(self.counts),
            "rejected": None if self.rejected is None else str(self.rejected),
            "seconds": round(self.seconds, 3),
            "complete": self.complete,
        }


def examine(
    settings: Settings,
    path: Path,
    options: Options,
    progress: Progress,
    on_bad: Callable[[BadLine], None] = lambda bad: None,
) -> Examined:
    """Go through the whole file, sending nothing. Needs no platform. Raises `HistoryError`."""
    layout = columns.look(path, options)
    if layout.device is not None:
        _check_device(path, layout.device)
    with columns.opened(path, options.encoding) as (packed, text, _):
        entries = lines.read(text, layout, options, _bounds(settings))
        found = survey(_with_progress(entries, packed, path, "reading", progress), on_bad)
    return Examined(path, layout, found)


def import_file(
    settings: Settings, path: Path, options: Options, strict: bool = False, progress: Progress = lambda line: None
) -> ImportResult:
    """Import a file; returns when Kafka has confirmed all of it.

    Raises `HistoryError` where nothing was imported, since the file cannot be understood or, with `strict`, has bad
    lines; `NotRunning` where the platform is needed and does not run; `AlreadyRunning` beside another import;
    `LogError` where Kafka goes away: what it has is not sent again.
    """
    begin = time.monotonic()
    settings = endpoints.remembered(settings)
    with service_lock(settings, "import"):
        with Rejected(settings, path, keep=not strict) as rejected:
            examined = examine(settings, path, options, progress, rejected.add)
        _refuse(settings, examined, strict)
        counts = _Import(settings, examined, options, progress).run()
    return ImportResult(examined, counts, rejected.path, time.monotonic() - begin)


class _Import:
    """The second way through a file."""

    def __init__(self, settings: Settings, examined: Examined, options: Options, progress: Progress) -> None:
        self._settings = settings
        self._examined = examined
        self._options = options
        self._progress = progress
        self._counts = Counts()
        self._saved = 0.0
        self._told = 0

    def run(self) -> Counts:
        path, topic = self._examined.path, self._settings.history.topic
        sha256 = sha256_of(path)
        if just_interrupted(self._settings):
            time.sleep(SETTLE_SECONDS)
        ends = self._ends()
        log_id = log.log_ids(self._settings, [topic])[topic]
        layout, bad = self._examined.layout, self._examined.survey.bad
        now = {number: end for (_, _, number), end in ends.ends.items()}
        self._ledger = Ledger(self._settings, path, sha256, log_id, now, layout, self._options, bad)
        self._sent_before = self._ledger.lines_sent
        known.wait_until_written(self._settings, ends, self._progress)
        self._records = record.Records(self._settings, sha256[:12])
        self._known = known.Known(self._settings, self._examined.survey.devices)
        self._sender = Sender(self._settings)
        try:
            self._save()  # from here on a kill leaves an interrupted import behind
            self._send_all()
            self._save(done=True)
        finally:
            self._sender.close()
            self._known.close()
        return self._counts

    def _send_all(self) -> None:
        path = self._examined.path
        with columns.opened(path, self._options.encoding) as (packed, text, _):
            entries = lines.read(text, self._examined.layout, self._options, _bounds(self._settings))
            entries = _with_progress(entries, packed, path, "importing", self._progress)
            while chunk := list(islice(entries, CHUNK_LINES)):
                self._send_chunk(chunk)
                self._sender.poll()
                self._save_now_and_then()
        self._sender.flush(self._save_now_and_then)

    def _send_chunk(self, chunk: list[Entry | BadLine]) -> None:
        good = [entry for entry in chunk if isinstance(entry, Entry) and entry.measurements]
        fresh = [entry for entry in good if entry.number > self._sent_before]
        self._counts.sent_before += len(good) - len(fresh)
        news = {entry.number: new for entry, new in zip(fresh, self._known.new(fresh), strict=True)}
        headers = self._records.headers()
        for entry in chunk:
            new = news.get(entry.number)
            if isinstance(entry, Entry) and new:
                self._counts.sent += 1
                self._counts.readings_there += len(entry.measurements) - len(new)
                key, value = record.key_of(entry.device), lines.payload_of(entry.at, new)
                self._sender.send(entry.number, key, value, headers)
            else:
                self._counts.there += new is not None
                self._sender.passed(entry.number)

    def _ends(self) -> log_ends.LogEnds:
        """Where the imports' topic ends now; made where it is missing."""
        topic = self._settings.history.topic
        if log.answers(self._settings) is None:
            raise NotRunning(
                f"importing {self._examined.path}: no Kafka answers at {log.bootstrap(self._settings)}; "
                "start the platform with `edge up`, then import again"
            )
        log.ensure_topic(self._settings, topic)
        ends = log_ends.ask(self._settings, [topic])
        if ends.problem:
            raise NotRunning(f"importing {self._examined.path}: {ends.problem}")
        return ends

    def _save_now_and_then(self) -> None:
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self._save()

    def _save(self, done: bool = False) -> None:
        self._saved = time.monotonic()
        news, self._told = self._sender.confirmed - self._told, self._sender.confirmed
        self._ledger.save(self._sender.settled_line, news, self._sender.ends, done)


class Rejected:
    """The file of bad lines, made with the first of them: number, reason and the line, with tabs between."""

    def __init__(self, settings: Settings, path: Path, keep: bool = True) -> None:
        self.path: Path | None = None
        self._places = [path.with_name(f"{path.name}.rejected"), settings.home / FOLDER / f"{path.name}.rejected"]
        self._keep = keep
        self._file: IO[str] | None = None

    def __enter__(self) -> Rejected:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._file:
            self._file.close()

    def add(self, bad: BadLine) -> None:
        if not self._keep:
            return
        if self._file is None:
            self._file = self._open()
        self._file.write(f"{bad.number}\t{bad.problem}\t{bad.raw}\n")

    def _open(self) -> IO[str]:
        beside, home = self._places
        try:
            file = beside.open("w", encoding="utf-8", errors="surrogateescape")
            self.path = beside
        except OSError:  # a folder that is not ours to write to
            home.parent.mkdir(parents=True, exist_ok=True)
            file = home.open("w", encoding="utf-8", errors="surrogateescape")
            self.path = home
        return file


def _refuse(settings: Settings, examined: Examined, strict: bool) -> None:
    found, path = examined.survey, examined.path
    total = found.good + found.bad + found.empty + found.repeated
    if found.bad and strict:
        raise HistoryError(
            f"importing {path}: {found.bad} of {total} lines are bad, the first: {found.problems[0]}; nothing was "
            "imported (--strict); `edge import --dry-run` shows what would be"
        )
    if not found.good:
        why = f"; the first: {found.problems[0]}" if found.problems else ""
        raise HistoryError(f"importing {path}: none of its {total} lines can be imported{why}")


def _check_device(path: Path, device: str) -> None:
    try:
        lines.check_device(device)
    except ValueError as error:
        raise HistoryError(f"importing {path}: {error}; name another with --device") from error


def _bounds(settings: Settings) -> Bounds:
    latest = time.time() + settings.stream.event_time_future_seconds
    return Bounds(int(latest * 1e6), settings.kafka.max_message_bytes - RECORD_OVERHEAD_BYTES)


def _with_progress(
    entries: Iterator[Entry | BadLine], file: IO[bytes], path: Path, doing: str, progress: Progress
) -> Iterator[Entry | BadLine]:
    size, told = max(path.stat().st_size, 1), time.monotonic()
    for count, entry in enumerate(entries, start=1):
        yield entry
        if count % 256 == 0 and time.monotonic() - told > 0.25:
            told = time.monotonic()
            progress(f"{doing} {path}: {file.tell() / size:.0%} of {size / 1e6:.1f} MB")

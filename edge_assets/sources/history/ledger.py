"""What this home has sent of a file: `EDGE_HOME/imports/<sha256 of the file>.json`.

It holds one entry per way of reading the file (device, time column and so on), with the number of the last line of
which Kafka has confirmed all up to it. It is written now and then, so it may know less than the log, never more.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_assets.errors import HistoryError
from edge_assets.service import write_json
from edge_assets.settings import Settings
from edge_assets.sources.history.columns import Layout, Options

FOLDER = "imports"
INTERRUPTED_SECONDS = 60.0


def sha256_of(path: Path) -> str:
    """Raises `HistoryError`."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise HistoryError(f"importing {path}: {error.strerror}; expected a file of CSV or JSON lines") from error


def just_interrupted(settings: Settings) -> bool:
    """Whether an import of any file ended midway so lately that it may have records on their way to the log.

    To be asked by who holds the lock of the imports: none is running then.
    """
    for path in (settings.home / FOLDER).glob("*.json"):
        if abs(time.time() - path.stat().st_mtime) < INTERRUPTED_SECONDS and '"sending"' in path.read_text():
            return True
    return False


class Ledger:
    """The entry of one file, read in one way, in one log.

    `ends` is where the partitions of the log end now (number → offset). Where that is before what Kafka had confirmed,
    a power cut has taken records: then this knows nothing, and the lake is asked for every line.
    """

    def __init__(
        self,
        settings: Settings,
        path: Path,
        sha256: str,
        log_id: str,
        ends: Mapping[int, int],
        layout: Layout,
        options: Options,
        bad: int,
    ) -> None:
        self._path = settings.home / FOLDER / f"{sha256}.json"
        self._book = self._read()
        self._book |= {"sha256": sha256, "file": str(path.absolute())}
        way = {
            "log_id": log_id,
            "topic": settings.history.topic,
            "read_as": json.loads(json.dumps(asdict(layout))),
            "time_format": options.time_format,
            "timezone": options.timezone,
            "skip": sorted(options.skip),
            "bad_lines": bad,  # a line can become good, when its time has come
        }
        found = next((each for each in self._book["imports"] if way.items() <= each.items()), None)
        if found is None:
            found = {**way, "state": "new", "lines_sent": 0, "records": 0, "ends": {}, "started_at": _now()}
            self._book["imports"].append(found)
        self._entry: dict[str, Any] = found
        if any(ends.get(int(number), 0) < end for number, end in found["ends"].items()):
            found |= {"lines_sent": 0, "ends": {}}

    @property
    def lines_sent(self) -> int:
        """All lines up to this one are in the log or need not be."""
        return self._entry["lines_sent"]

    def save(self, lines_sent: int, records: int, ends: Mapping[int, int], done: bool = False) -> None:
        """`records` is how many the log has confirmed since the last call, `ends` what of each partition it has."""
        self._entry["lines_sent"] = max(self._entry["lines_sent"], lines_sent)
        self._entry["records"] += records
        self._entry["ends"] |= {str(number): end for number, end in ends.items()}
        self._entry["state"] = "done" if done else "sending"
        self._entry["updated_at"] = _now()
        write_json(self._path, self._book)

    def _read(self) -> dict[str, Any]:
        try:
            book = json.loads(self._path.read_text())
            return book if isinstance(book, dict) and isinstance(book.get("imports"), list) else {"imports": []}
        except (FileNotFoundError, ValueError):  # what the lake has is still known without it
            return {"imports": []}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

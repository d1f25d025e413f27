"""Asking the stream writer for work on the tables that only it may commit to.

A request is a JSON file in `EDGE_HOME/stream/requests`; the writer carries it out between two batches and puts its
answer beside it. The file goes only when the work is done, so a request survives a kill of either side. Long work is
done in steps, a step at a time; how far it is lies beside the request, too.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_assets.errors import LakeError, NotRunning
from edge_assets.service import lock_holder, write_json
from edge_assets.settings import Settings

CHORE_SECONDS = 6 * 3600.0
"""so long an answer is waited for, where much is to be done in small slices"""


@dataclass(frozen=True, slots=True)
class Request:
    """One piece of work: `kind` and its arguments."""

    path: Path
    kind: str
    arguments: dict[str, Any]

    def answer(self, **result: Any) -> None:
        write_json(self.path.with_suffix(".answer"), result)
        self.path.unlink()
        _progress_of(self.path).unlink(missing_ok=True)

    @property
    def progress(self) -> dict[str, Any]:
        """How far the work is, as `remember` was told; nothing: it was not begun."""
        return _read(_progress_of(self.path))

    def remember(self, progress: dict[str, Any]) -> None:
        """Keep how far it is: for whoever waits, and for the writer that goes on with it after a kill."""
        write_json(_progress_of(self.path), progress)


Progress = Callable[[dict[str, Any]], None]


def _progress_of(request: Path) -> Path:
    return request.with_suffix(".progress")


def _read(path: Path) -> dict[str, Any]:
    with suppress(FileNotFoundError):
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    return {}


def folder(settings: Settings) -> Path:
    return settings.home / "stream" / "requests"


def waiting(settings: Settings) -> Iterator[Request]:
    """The requests that wait, oldest first."""
    for path in sorted(folder(settings).glob("*.json")):
        raw = json.loads(path.read_text())
        yield Request(path, raw["kind"], raw["arguments"])


def ask(
    settings: Settings, kind: str, timeout_seconds: float = 600, progress: Progress | None = None, **arguments: Any
) -> dict[str, Any]:
    """Hand the writer a request and wait for its answer; `progress` is told how far it is, whenever that changes.

    Raises `NotRunning` where no writer is there to answer, `LakeError` with what the writer says it could not do, or
    when nothing was heard for `timeout_seconds`.
    """
    if lock_holder(settings, "stream_writer") is None:
        raise NotRunning(
            f"{kind}: the stream writer of {settings.home} does not run; start it with `edge up`, or where that has "
            "been done, try again in a minute: what has just ended is started anew"
        )
    path = folder(settings) / f"{time.time_ns()}-{uuid.uuid4().hex[:8]}.json"
    write_json(path, {"kind": kind, "arguments": arguments})
    _wait(path, kind, timeout_seconds, progress)
    answer = path.with_suffix(".answer")
    result: dict[str, Any] = json.loads(answer.read_text())
    answer.unlink()
    if "error" in result:
        raise LakeError(f"{kind}: {result['error']}")
    return result


def _wait(path: Path, kind: str, timeout_seconds: float, progress: Progress | None) -> None:
    deadline = time.monotonic() + timeout_seconds
    told: dict[str, Any] = {}
    while not path.with_suffix(".answer").exists():
        if (now := _read(_progress_of(path))) and now != told:
            told, deadline = now, time.monotonic() + timeout_seconds
            if progress:
                progress(now)
        if time.monotonic() > deadline:
            raise LakeError(f"{kind}: no answer in {timeout_seconds:.0f} s; it stays queued: see `edge status`")
        time.sleep(0.1)


def redrive(settings: Settings, reason: str | None = None) -> dict[str, Any]:
    """Decode the dead letters again (those of one reason, or all). Returns how many were looked at and what became
    of them: `{"looked_at": …, "read": …, "tombstone": …, "ignored": …}`."""
    return ask(settings, "redrive", reason=reason)


def maintain(settings: Settings) -> dict[str, Any]:
    """Join small files, drop replaced ones, cut the logs. Returns each table's files and bytes, before and after, and
    how long batches had to wait: `{"tables": {name: {"before": …, "after": …}}, "turns": {"longest_seconds": …}}`."""
    return ask(settings, "maintain", CHORE_SECONDS)


def expire(settings: Settings) -> dict[str, Any]:
    """Delete rows that `settings.retention` says are too old. Returns the days and rows that went, by table:
    `{"tables": {name: {"days": …, "rows": …, "postponed": […]}}, "turns": …}`."""
    return ask(settings, "expire", CHORE_SECONDS)

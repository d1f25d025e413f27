"""`edge bench writes`: what a home's load costs the disk, by trigger interval. An SD card lives on this figure.

The simulated network runs at its default load on a whole platform. Counted per process by the kernel (what was handed
to the block layer), and as files and bytes that the lake has taken up; scaled to a day. The reference: the bytes of
the payloads themselves.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from edge_assets.bench import whole_platform
from edge_assets.bench.latency import wait_for_services
from edge_assets.service import read_status
from edge_assets.settings import Settings

TRIGGERS = (1.0, 5.0, 10.0, 30.0, 60.0)
SECONDS = 180.0
DAY = 86_400


def run(settings: Settings, seconds: float = SECONDS) -> dict[str, Any]:
    """Megabytes and files per day, at each trigger."""
    found: dict[str, Any] = {"seconds_each": seconds}
    for trigger in TRIGGERS:
        found[f"trigger_{trigger:g}_s"] = _measure(settings, trigger, seconds)
    return found


def _measure(settings: Settings, trigger: float, seconds: float) -> dict[str, Any]:
    stream = settings.stream.model_copy(update={"trigger_seconds": trigger, "compact_minutes": 0})
    simulators = settings.simulators.model_copy(update={"rooms": 0})  # one home, not a building
    own = whole_platform.own_settings(settings, f"writes_{trigger:g}")
    own = own.model_copy(update={"stream": stream, "simulators": simulators})
    whole_platform.prepare(own)
    with whole_platform.running(own):
        wait_for_services(own)
        time.sleep(30)  # the first batches create tables and compile
        before = _Counts(own)
        time.sleep(seconds)
        after = _Counts(own)
    shutil.rmtree(own.home)
    return after.since(before)


class _Counts:
    """What has been written so far."""

    def __init__(self, settings: Settings) -> None:
        self._at = time.monotonic()
        self._written = {each.pid: _write_bytes(each) for each in whole_platform.processes(settings)}
        self._lake = _files(settings.lake_path)
        self._log = _files(settings.home / "kafka")
        self._records = read_status(settings, "stream_writer").get("written", {}).get("records", 0)

    def since(self, before: _Counts) -> dict[str, Any]:
        scale = DAY / (self._at - before._at)
        written = sum(number - before._written.get(pid, 0) for pid, number in self._written.items())

        def per_day(now: int, then: int) -> float:
            return round((now - then) * scale / 1e6, 1)

        return {
            "records_per_day": round((self._records - before._records) * scale),
            "disk_mb_per_day": per_day(written, 0),
            "lake_files_per_day": round((self._lake[0] - before._lake[0]) * scale),
            "lake_mb_per_day": per_day(self._lake[1], before._lake[1]),
            "log_mb_per_day": per_day(self._log[1], before._log[1]),
        }


def _write_bytes(process: Any) -> int:
    import psutil

    try:
        return process.io_counters().write_bytes
    except psutil.Error:
        return 0


def _files(folder: Path) -> tuple[int, int]:
    """(files, bytes that they take); files that vanish meanwhile do not count."""
    number = size = 0
    for path in folder.rglob("*"):
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        if path.is_file():
            number += 1
            size += min(found.st_size, found.st_blocks * 512)  # Kafka's indexes are sparse
    return number, size

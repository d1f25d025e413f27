"""`edge bench cockpit`: what Dagster costs while it stands: memory over time, its storage, a scrape, its first page.

A whole platform with the simulated network. What grows is told as growth in a day, by a straight line through the
samples behind the first third; an hour says little of a month, and housekeeping, which takes away each night what is
old, has not run in it. References of the same run: a Python that has imported Dagster, an HTTP server that hands out
the same scrape from memory, and the page's plain HTML.
"""

from __future__ import annotations

import http.server
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from edge_assets.bench import whole_platform
from edge_assets.bench.browser import Browser
from edge_assets.bench.figures import growth_per_day, timed
from edge_assets.bench.footprint import RUNS, by_part
from edge_assets.bench.latency import wait_for_services
from edge_assets.defs import purging
from edge_assets.defs.shutdown import wanted
from edge_assets.errors import PlatformError
from edge_assets.platform import endpoints, parts
from edge_assets.service import lock_holder, read_status
from edge_assets.settings import Settings

SECONDS = 3600.0
SAMPLES = 120
LEAST_SAMPLE_SECONDS = 5.0
SETTLING = 1 / 3
"""of the time, in which imports, caches and the first batches make everything grow"""
SCRAPES = 30
PAGES = 5
FOLDERS = {"dagster": "dagster", "lake": "lake", "log": "kafka", "logs": "logs"}


def run(settings: Settings, seconds: float = SECONDS) -> dict[str, Any]:
    """Megabytes (PSS, and on the disk), milliseconds, and growth in a day."""
    own = whole_platform.own_settings(settings, "cockpit")
    whole_platform.prepare(own)
    found: dict[str, Any] = {"seconds": seconds, "reference": {"dagster_imported_mb": _dagster_imported()}}
    with whole_platform.running(own):
        wait_for_services(own)
        services = {name: lock_holder(own, name) for name in wanted(own)}
        samples = list(_samples(own, seconds))
        found["memory"] = _grown([(sample.at, sample.memory) for sample in samples])
        found["disk"] = _grown([(sample.at, sample.disk) for sample in samples])
        found["messages_in_that_time"] = read_status(own, "bridge").get("logged")
        found["stream_writer"] = _stream_writer(own)
        found["services_restarted"] = sum(lock_holder(own, name) != pid for name, pid in services.items())
        found["lines_in_runs"] = _lines_in_runs(own)
        found["scrape"] = _scrape(endpoints.remembered(own))
        found["first_page"] = _first_page(endpoints.url(endpoints.remembered(own).dagster))
    shutil.rmtree(own.home)
    return found


@dataclass(frozen=True, slots=True)
class _Sample:
    """Megabytes, by name."""

    at: float
    memory: dict[str, float]
    disk: dict[str, float]


def _samples(settings: Settings, seconds: float) -> Iterator[_Sample]:
    begun, pause = time.monotonic(), max(seconds / SAMPLES, LEAST_SAMPLE_SECONDS)
    while (at := time.monotonic() - begun) < seconds:
        yield _Sample(at, by_part(settings), _disk(settings))
        time.sleep(pause)


def _disk(settings: Settings) -> dict[str, float]:
    sizes = {name: _folder_mb(settings.home / folder) for name, folder in FOLDERS.items()}
    return {**sizes, "dagster, in use": purging.used_bytes(parts.dagster_home(settings)) / 1e6}


def _folder_mb(folder: Path) -> float:
    size = 0
    for path in folder.rglob("*"):
        try:
            found = path.stat()
        except FileNotFoundError:  # files come and go
            continue
        size += found.st_blocks * 512  # Kafka's indexes are sparse
    return size / 1e6


def _grown(series: list[tuple[float, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """By name: the first, the last and the highest value, and the growth in a day once all had settled. Runs come and
    go: they have no growth."""
    (_, first), (end, last) = series[0], series[-1]
    settled = [(at, values) for at, values in series if at >= end * SETTLING]
    found = {}
    for name in sorted({name for _, values in series for name in values}):
        found[name] = {
            "first_mb": round(first.get(name, 0.0), 1),
            "last_mb": round(last.get(name, 0.0), 1),
            "most_mb": round(max(values.get(name, 0.0) for _, values in series), 1),
        }
        if name != RUNS:
            grown = growth_per_day([(at, values[name]) for at, values in settled if name in values])
            found[name]["mb_per_day"] = round(grown, 1)
    return found


def _stream_writer(settings: Settings) -> dict[str, Any]:
    """Whether it keeps up: records that it has not read, and what its JVM keeps because Python holds it."""
    status = read_status(settings, "stream_writer")
    return {"unread": status.get("progress", {}).get("lag"), "java_objects": status.get("java_objects")}


def _lines_in_runs(settings: Settings) -> dict[str, int]:
    """Of each service's run, the events that its page shows: what would grow with each message."""
    lines = {}
    for name in wanted(settings):
        run_id = read_status(settings, name).get("run_id")
        file = parts.dagster_home(settings) / "history" / "runs" / f"{run_id}.db"
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
            lines[name] = database.execute("SELECT count(*) FROM event_logs").fetchone()[0]
    return lines


def _scrape(settings: Settings) -> dict[str, Any]:
    """Milliseconds from asking to the last byte, and of the server's CPU."""
    url = f"{endpoints.url(settings.metrics)}/metrics"
    server = psutil.Process(lock_holder(settings, "live") or os.getpid())
    body = _get(url)
    before = server.cpu_times()
    taken = timed(lambda: _get(url), SCRAPES)
    after = server.cpu_times()
    cpu = (after.user + after.system - before.user - before.system) / SCRAPES
    with _handing_out(body) as plain:
        reference = timed(lambda: _get(plain), SCRAPES)
    return {
        "kilobytes": round(len(body) / 1e3),
        **taken,
        "cpu_ms": round(cpu * 1e3, 1),
        "reference_from_memory": reference,
    }


@contextmanager
def _handing_out(body: bytes) -> Iterator[str]:
    """An HTTP server of this process that answers everything with these bytes."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _first_page(url: str) -> dict[str, Any]:
    """Milliseconds: of its HTML alone, and in a browser until a person can read the page and the lineage."""
    found: dict[str, Any] = {"reference_html": timed(lambda: _get(url), PAGES)}
    try:
        with Browser(1600, 1000) as browser:
            for name in ("overview_cold", "overview_again"):
                found[f"{name}_ms"] = _seen(browser, url, "!!document.querySelector('a[href^=\"/runs\"]')")
            lineage = "document.body.innerText.includes('bronze')"
            found["lineage_ms"] = _seen(browser, f"{url}/asset-groups", lineage)
    except PlatformError as error:  # no Chromium on this machine
        found["browser"] = str(error)
    return found


def _seen(browser: Browser, url: str, script: str) -> float:
    """Until the expression is true in the page."""
    begun = time.perf_counter()
    browser.open(url)
    browser.wait_for(script)
    return round((time.perf_counter() - begun) * 1e3)


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        body: bytes = answer.read()
        return body


def _dagster_imported() -> int:
    child = subprocess.Popen(
        [sys.executable, "-c", "import dagster; print('ready', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.readline()
    size = round(whole_platform.pss_mb(psutil.Process(child.pid)))
    child.communicate(b"\n")
    return size

"""The job `reprocess`: a day that is selected becomes one request, and its run says what the answer was."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any

from edge_assets.definitions import build
from edge_assets.defs.reprocessing import STEP
from edge_assets.service import service_lock
from edge_assets.settings import Settings
from edge_assets.stream import requests

DAY = "2026-03-01"


def run(
    settings: Settings, config: dict[str, Any], answer: dict[str, Any], **days: Any
) -> tuple[list[dict[str, Any]], bool]:
    """The requests that a run of a day (or `days`) makes, each given that answer; and whether the run succeeded."""
    asked: list[dict[str, Any]] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            for request in requests.waiting(settings):
                asked.append({"kind": request.kind, **request.arguments})
                request.answer(**answer)
            time.sleep(0.02)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        with service_lock(settings, "stream_writer"):
            job = build(settings).resolve_job_def("reprocess")
            given = {"ops": {STEP: {"config": config}}}
            done = job.execute_in_process(run_config=given, raise_on_error=False, **(days or {"partition_key": DAY}))
    finally:
        stop.set()
        worker.join()
    return asked, done.success


def test_a_day_is_one_request(settings: Settings) -> None:
    asked, success = run(settings, {"table": "silver.readings"}, {"records": 3, "rewritten": {"silver.readings": 9}})
    begin = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1e6)
    expected = {"table": "silver.readings", "from_us": begin, "to_us": begin + 86_400_000_000, "from_log": False}
    assert success and asked == [{"kind": "reprocess", **expected}]


def test_days_selected_together_are_one_run_and_a_request_each(settings: Settings) -> None:
    tags = {"dagster/asset_partition_range_start": DAY, "dagster/asset_partition_range_end": "2026-03-03"}
    asked, success = run(settings, {}, {"records": 0, "rewritten": {}}, tags=tags)
    begins = [datetime.fromtimestamp(request["from_us"] / 1e6, UTC).day for request in asked]
    assert success and begins == [1, 2, 3]


def test_a_day_without_records_is_no_failure(settings: Settings) -> None:
    assert run(settings, {"from_log": True}, {"records": 0, "rewritten": {}, "not_in_log": 0})[1]


def test_what_cannot_be_done_fails_the_run(settings: Settings) -> None:
    assert not run(settings, {"table": "gold.nope"}, {"error": "gold.nope cannot be recomputed yet"})[1]

"""`edge bench stream`: how fast the log becomes tables, beside a plain deltalake loop over the same records.

300,000 Zigbee2MQTT payloads of about 210 bytes with 10 readings each, from a real Kafka into bronze.events,
bronze.dead_letters, silver.readings and silver.devices. The clock runs from the writer's first batch to the commit
that holds the last record, so the JVM's start is not in it; the first batch, in which it compiles, is told apart.
Then 100,000 messages of eight rooms from another Kafka, without windows and with them: what gold costs beside.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

from edge_assets.bench import made_records
from edge_assets.bench.writer_process import Writer, log_alone, reference_rate
from edge_assets.service import read_status
from edge_assets.settings import Settings

PAYLOADS = 300_000
ROOM_MESSAGES = 100_000
WRITER = {"trigger_seconds": 0.0, "compact_minutes": 0.0}
"""it does nothing but read its log"""


def run(settings: Settings, payloads: int = PAYLOADS) -> dict[str, Any]:
    """Measure in homes of their own below the platform's. Returns figures; rates are payloads per second."""
    with log_alone(settings, "stream", **WRITER) as own:
        topic = own.bridge.routes[0].topic or ""
        made_records.fill_plugs(own, topic, payloads)
        of_plugs = {
            "payloads": payloads,
            "readings": payloads * made_records.READINGS,
            "stream": _measure_stream(own, payloads),
            "reference_deltalake": {"payloads_per_second": reference_rate(own, [topic], payloads)},
        }
    with log_alone(settings, "stream_rooms", **WRITER) as own:
        made_records.fill_rooms(own, ROOM_MESSAGES)
        return {**of_plugs, "rooms": _measure_rooms(own)}


def _measure_stream(settings: Settings, payloads: int) -> dict[str, Any]:
    with Writer(settings) as writer:
        writer.wait_until_reading()
        begun, already, cpu = time.monotonic(), writer.records(), writer.cpu_seconds()
        writer.wait_for(already + 1)
        warm, warm_records, warm_cpu = time.monotonic(), writer.records(), writer.cpu_seconds()
        writer.wait_for(payloads + 1)
        ended, ended_cpu = time.monotonic(), writer.cpu_seconds()
        status = read_status(settings, "stream_writer")
        figures = {
            "payloads_per_second": round((payloads - already) / (ended - begun)),
            "seconds": round(ended - begun, 1),
            "cpu_seconds": round(ended_cpu - cpu, 1),
            "batches": status["batch"],
            "peak_pss_mb": round(writer.peak_mb),
            "pss_mb_at_end": round(writer.memory_mb()),
        }
        if rest := payloads - warm_records:
            figures["after_first_batch_per_second"] = round(rest / (ended - warm))
            figures["after_first_batch_cpu_us"] = round((ended_cpu - warm_cpu) / rest * 1e6)
        return figures


def _measure_rooms(settings: Settings) -> dict[str, Any]:
    """Messages of eight rooms, without windows and with them: what computing gold beside the batches costs."""
    found = {}
    for name, tables in (("without_windows", ()), ("with_windows", settings.windows.tables)):
        windows = settings.windows.model_copy(update={"tables": tables})
        lake = settings.lake.model_copy(update={"path": str(settings.home / name)})
        found[name] = _drained(settings.model_copy(update={"windows": windows, "lake": lake}))
    return {"messages": ROOM_MESSAGES, **found}


def _drained(settings: Settings) -> dict[str, Any]:
    """Until silver has all, and gold what is over by then."""
    before = read_status(settings, "stream_writer").get("started_at")
    with Writer(settings) as writer:
        writer.wait_for(ROOM_MESSAGES, since=before)
        begun, cpu = time.monotonic(), writer.cpu_seconds()
        writer.wait(lambda: _gold_is_there(settings))
        status = read_status(settings, "stream_writer")
        rows = {name: about["rows"] for name, about in status["tables"].items() if name.startswith("gold.")}
        return {
            "seconds_of_gold_behind_silver": round(time.monotonic() - begun, 1),
            "cpu_seconds": round(cpu, 1),
            "cpu_seconds_of_gold_behind_silver": round(writer.cpu_seconds() - cpu, 1),
            "peak_pss_mb": round(writer.peak_mb),
            "gold_rows": rows,
        }


def _gold_is_there(settings: Settings) -> bool:
    """Whether each table of windows has come to the watermark, but for a window."""
    status = read_status(settings, "stream_writer")
    for window in settings.windows.tables:
        written = status["tables"].get(f"gold.{window.name}", {}).get("last_event_at")
        behind = timedelta(seconds=window.step_seconds)
        if not written or datetime.fromisoformat(written) + behind <= datetime.fromisoformat(status["watermark"]):
            return False
    return True

"""Parts and services: alive or not, since when, what they cost. Read from locks, status files and `/proc`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import psutil

from edge_assets.defs.shutdown import wanted
from edge_assets.platform_metrics.catalogue import Sample, told
from edge_assets.platform_metrics.jvm import heap
from edge_assets.service import lock_holder, read_status
from edge_assets.settings import Settings

SUPERVISOR = "supervisor"


def seconds(text: Any) -> float | None:
    """A status file's time; None where it is none."""
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


class Processes:
    """The source. It remembers which process is a service's JVM: to find it takes a look at all processes."""

    def __init__(self) -> None:
        self._jvms: dict[int, psutil.Process | None] = {}

    def __call__(self, settings: Settings) -> Iterator[Sample]:
        pids: dict[str, int] = {}
        yield from self._parts(settings, pids)
        yield from self._services(settings, pids)
        for name, process in self._processes(pids).items():
            yield from _costs(name, process)

    def _parts(self, settings: Settings, pids: dict[str, int]) -> Iterator[Sample]:
        holder = lock_holder(settings, SUPERVISOR)
        known = read_status(settings, SUPERVISOR)
        if holder is None and not known:
            return  # in containers there is no `edge up`: their engine holds the parts up
        yield "edge_platform_up", (), float(holder is not None and known.get("state") == "running")
        parts: Mapping[str, Any] = known.get("services") or {}
        for name, part in parts.items():
            alive = holder is not None and part.get("state") == "up"
            yield "edge_part_up", (name,), float(alive)
            yield from told("edge_part_start_timestamp_seconds", seconds(part.get("since")), name)
            yield from told("edge_part_restarts_total", part.get("restarts"), name)
            if holder is not None and part.get("pid"):
                pids[name] = part["pid"]
        if holder is not None:
            pids[SUPERVISOR] = holder

    def _services(self, settings: Settings, pids: dict[str, int]) -> Iterator[Sample]:
        for name in wanted(settings):
            holder, known = lock_holder(settings, name), read_status(settings, name)
            yield "edge_service_up", (name,), float(holder is not None)
            yield from told("edge_service_start_timestamp_seconds", seconds(known.get("started_at")), name)
            yield from told("edge_service_status_timestamp_seconds", seconds(known.get("updated_at")), name)
            problem = known.get("problem") or known.get("alarm")
            yield "edge_service_problem", (name,), float(bool(problem))
            if holder is not None:
                pids[name] = holder

    def _processes(self, pids: Mapping[str, int]) -> dict[str, psutil.Process]:
        found: dict[str, psutil.Process] = {}
        for name, pid in pids.items():
            try:
                found[name] = psutil.Process(pid)
            except psutil.Error:
                continue
            if name == "stream_writer" and (jvm := self._jvm(found[name])):
                found["stream_writer_jvm"] = jvm
        self._jvms = {pid: jvm for pid, jvm in self._jvms.items() if pid in pids.values()}
        return found

    def _jvm(self, parent: psutil.Process) -> psutil.Process | None:
        known = self._jvms.get(parent.pid)
        if known is None or not known.is_running():
            try:
                children = parent.children(recursive=True)
                known = next((child for child in children if child.name() == "java"), None)
            except psutil.Error:
                known = None
            self._jvms[parent.pid] = known
        return known


def _costs(name: str, process: psutil.Process) -> Iterator[Sample]:
    try:
        with process.oneshot():
            cpu, memory, threads = process.cpu_times(), process.memory_info(), process.num_threads()
            java = process.name() == "java"
    except psutil.Error:
        return
    yield "edge_process_resident_memory_bytes", (name,), float(memory.rss)
    yield "edge_process_threads", (name,), float(threads)
    yield "edge_process_cpu_seconds_total", (name,), cpu.user + cpu.system
    if java and (found := heap(process.pid)):
        yield "edge_jvm_heap_used_bytes", (name,), float(found.used_bytes)
        yield "edge_jvm_heap_committed_bytes", (name,), float(found.committed_bytes)
        yield "edge_jvm_heap_max_bytes", (name,), float(found.max_bytes)
        yield "edge_jvm_gc_seconds_total", (name,), found.gc_seconds

"""`edge bench footprint`: the memory of all that `edge up` starts, after ten minutes on the simulated network.

Summed PSS, so that what processes share counts once. The references of the same run: a bare Python, and a bare Spark
session with the platform's options.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from typing import Any

import psutil

from edge_assets.bench import whole_platform
from edge_assets.defs.shutdown import SERVICES
from edge_assets.service import lock_holder, read_status
from edge_assets.settings import Settings

MINUTES = 10.0
SAMPLE_SECONDS = 10.0
RUNS = "runs of the moment"
"""what the code server has started to do a schedule's work; gone again after some seconds"""


def run(settings: Settings, minutes: float = MINUTES) -> dict[str, Any]:
    """Megabytes of PSS: at the end by part, and the highest sum of all samples."""
    own = whole_platform.own_settings(settings, "footprint")
    whole_platform.prepare(own)
    found: dict[str, Any] = {"minutes": minutes, "reference": _reference(own)}
    with whole_platform.running(own):
        peak, end = 0.0, time.monotonic() + minutes * 60
        while time.monotonic() < end:
            time.sleep(min(SAMPLE_SECONDS, max(end - time.monotonic(), 0)))
            sizes = by_part(own)
            peak = max(peak, sum(sizes.values()))
    found["parts_mb"] = {name: round(size) for name, size in sorted(sizes.items(), key=lambda item: -item[1])}
    found["sum_mb"] = round(sum(sizes.values()))
    found["peak_sum_mb"] = round(peak)
    shutil.rmtree(own.home)
    return found


def by_part(settings: Settings) -> dict[str, float]:
    """Memory by the part that a process is, or descends from; runs that are no service's by themselves."""
    names = _names(settings)
    sizes: dict[str, float] = defaultdict(float)
    for each in whole_platform.processes(settings):
        sizes[_part_of(each, names)] += whole_platform.pss_mb(each)
    return dict(sizes)


def _names(settings: Settings) -> dict[int, str]:
    """Pids of parts and services."""
    known = read_status(settings, "supervisor")
    names = {known["pid"]: "supervisor"} if known else {}
    names |= {part["pid"]: name for name, part in known.get("services", {}).items() if part["pid"]}
    services = SERVICES
    return names | {pid: name for name in services if (pid := lock_holder(settings, name))}


def _part_of(each: psutil.Process, names: dict[int, str]) -> str:
    try:
        line = [each, *each.parents()]
        jvm = " jvm" if each.pid not in names and "java" in each.name() else ""
        part = next((names[ancestor.pid] for ancestor in line if ancestor.pid in names), "other")
        if part == "dagster_code" and _is_run(line):
            return RUNS
    except psutil.Error:
        return "ended"
    return part + jvm


def _is_run(line: list[psutil.Process]) -> bool:
    """Whether a process is a run, or descends from one: Dagster spawns them, and the code server was not."""
    return any("spawn_main" in word for each in line for word in each.cmdline())


def _reference(settings: Settings) -> dict[str, int]:
    python = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={**os.environ})
    with whole_platform.spark_alone(settings) as (_, pid):
        bare = psutil.Process(pid)
        spark = sum(whole_platform.pss_mb(each) for each in [bare, *bare.children(recursive=True)])
        found = {"python_mb": round(whole_platform.pss_mb(psutil.Process(python.pid))), "spark_mb": round(spark)}
    python.communicate(b"\n")
    return found

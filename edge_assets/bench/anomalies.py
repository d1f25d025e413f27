"""`edge bench anomalies`: what detecting costs, how often it is wrong on quiet days, and what it finds.

1. Quiet days: the simulated rooms, plugs, doors and Pico, fast-forwarded to minutes. What is told in the month after
   the first week is a false alarm. Then one more day with a jump in every climate series, to know what is not missed.
2. Cost: a home of about 1,000 series; what the run every ten minutes takes, and the first one.
3. Made-up series with known anomalies (`edge_assets.bench.made_series`), in NAB's scoring: the threshold was
   chosen on these.
4. NAB (`--series`, `--windows`): a labelled series in the benchmark's own scoring, beside a detector that never says
   anything and one that calls everything beyond five sigma of the last 1,000 values (NAB's windowedGaussian, with a
   threshold fixed in advance). Ours takes buckets of the series' own interval, and has no other setting.
"""

from __future__ import annotations

import copy
import shutil
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from edge_assets.anomalies import memory as memories
from edge_assets.anomalies.detector import Detector, Found, judged
from edge_assets.anomalies.memory import Memory, Series
from edge_assets.anomalies.minutes import Minute
from edge_assets.bench import made_home, made_series, nab, quiet_home
from edge_assets.errors import SettingsError
from edge_assets.settings import Settings

START = datetime(2026, 3, 1, tzinfo=UTC)
LEARNING_DAYS, MONTH_DAYS = 7, 30
EVERY_SECONDS = 60.0
CLIMATE = ("temperature", "humidity", "co2_ppm", "air_quality_index")
JUMP_AT, SPIKE_MINUTES, SHIFT_MINUTES = 600, 1, 360
"""on the last day, minutes after midnight; how long a spike and a shift last"""

DEVICES, DEVICE_EVERY_SECONDS, DEVICE_DAYS = 143, 300, 2
RUNS = 6
MADE_SERIES = 60
GAUSSIAN_WINDOW, GAUSSIAN_SIGMAS = 1_000, 5.0


def run(
    settings: Settings, series: Path | None = None, windows: Path | None = None, days: int = MONTH_DAYS
) -> dict[str, Any]:
    """False alarms a device and month, shares found, seconds, and the score of a labelled series where one is given.

    Raises `SettingsError` where the labelled files cannot be read.
    """
    if (series is None) != (windows is None):
        raise SettingsError("bench anomalies: a labelled series needs both --series FILE and --windows FILE")
    labelled = nab.load(series, windows) if series and windows else None
    found: dict[str, Any] = {"quiet_days": quiet(settings, days), "cost": cost(settings), "made_up": made_up()}
    if labelled:
        found["nab"] = scores(labelled)
    return found


def quiet(settings: Settings, days: int) -> dict[str, Any]:
    """False alarms in so many days after the first week, and what is found of jumps on the day behind them."""
    memory = Memory()
    detector, last_day = Detector(memory), int(START.timestamp()) + (LEARNING_DAYS + days) * 86_400
    told: list[Found] = []
    tail: list[Minute] = []
    before = memory
    for minute in quiet_home.minutes(settings.simulators, memory, START, LEARNING_DAYS + days + 1, EVERY_SECONDS):
        if minute.at < last_day:
            told += detector.take(*minute)
            continue
        if not tail:
            before = copy.deepcopy(memory)
        tail.append(minute)
    devices = {(one.kind, one.device_id) for one in before.series}
    types = Counter(one.type for one in told)
    return {
        "devices": len(devices),
        "series": len(before.series),
        "series_judged": judged(before),
        "days": days,
        "false_alarms": len(told),
        "false_alarms_a_device_and_month": round(len(told) / len(devices) / days * 30, 3),
        "of_these": dict(types) or "none",
        "spikes_found": _found(before, tail, SPIKE_MINUTES),
        "shifts_found": _found(before, tail, SHIFT_MINUTES),
    }


def _found(before: Memory, tail: Iterable[Minute], minutes: int) -> dict[str, str]:
    """How many climate series tell a jump of one and of two times what their hours of the last day range over."""
    climate = [n for n, series in enumerate(before.series) if series.measurement in CLIMATE]
    hours = before.rows["last_hours"][climate]
    size = np.zeros(len(before.series))
    size[climate] = np.nanmax(hours, axis=1) - np.nanmin(hours, axis=1)
    shares = {}
    for times in (1, 2):
        memory = copy.deepcopy(before)
        detector, told = Detector(memory), set()
        for number, minute in enumerate(tail):
            jump = size[minute.series] * times if JUMP_AT <= number < JUMP_AT + minutes else 0.0
            values = (minute.low + jump, minute.high + jump, minute.mean + jump)
            told |= {one.series for one in detector.take(minute.at, minute.series, *values)}
        told |= {one.series for one in detector.close(minute.at + 86_400)}
        shares[f"of_{times}_times_the_day_s_range"] = f"{len(told & set(climate))} of {len(climate)}"
    return shares


def cost(settings: Settings) -> dict[str, Any]:
    """Seconds of a run over ten minutes of about 1,000 series, of the first one, and the memory's file."""
    from edge_assets.anomalies.run import run as detect
    from edge_assets.warehouse.rollups.update import update

    home = settings.home / "bench" / "anomalies"
    shutil.rmtree(home, ignore_errors=True)
    own = settings.model_copy(update={"home": home, "lake": settings.lake.model_copy(update={"path": None})})
    now = made_home.midnight()
    made_home.make(own, DEVICE_DAYS, DEVICES, DEVICE_EVERY_SECONDS, now)
    update(own)
    first, runs, rollups = detect(own), [], []
    for _ in range(RUNS):
        made_home.append(own, DEVICES, DEVICE_EVERY_SECONDS, now, now + timedelta(minutes=10))
        now += timedelta(minutes=10)
        rollups.append(update(own).seconds)
        runs.append(detect(own).seconds)
    size = memories.path(own).stat().st_size
    shutil.rmtree(home)
    return {
        "series": first.series,
        "run_seconds_median": round(statistics.median(runs), 3),
        "run_seconds_worst": round(max(runs), 3),
        "rollup_update_seconds_median": round(statistics.median(rollups), 3),
        "first_run_seconds": round(first.seconds, 2),
        "first_run_days": DEVICE_DAYS,
        "memory_file_kb": round(size / 1e3),
    }


def made_up(count: int = MADE_SERIES, seed: int = 1) -> dict[str, Any]:
    """The mean score of made-up series, the share of their anomalies that was found, and false alarms a month."""
    all_series = made_series.make(count, seed)
    found, false, total = 0, 0, 0.0
    for series, told in zip(all_series, detections(all_series), strict=True):
        rows = [row for row in told if row >= nab.probation(len(series.times))]
        total += nab.score(len(series.times), series.windows, rows)
        found += sum(any(low <= row <= high for row in rows) for low, high in series.windows)
        false += sum(not any(low <= row <= high for low, high in series.windows) for row in rows)
    months = sum(len(series.times) - nab.probation(len(series.times)) for series in all_series) / (30 * 24)
    return {
        "series": count,
        "mean_score_of_2": round(total / count, 2),
        "anomalies_found": f"{found} of {2 * count}",
        "false_alarms_a_series_and_month": round(false / months, 3),
    }


def scores(labelled: nab.Labelled) -> dict[str, Any]:
    """The score of each detector, and of ours how many detections it took."""
    by_detector: dict[str, Callable[[nab.Labelled], list[int]]] = {
        "null": lambda series: [],
        f"windowed_gaussian_{GAUSSIAN_SIGMAS:g}_sigma": gaussian,
        "edge_assets": ours,
    }
    found: dict[str, Any] = {"rows": len(labelled.times), "windows": len(labelled.windows)}
    for name, detect in by_detector.items():
        rows = detect(labelled)
        counted = [row for row in rows if row >= nab.probation(len(labelled.times))]
        found[name] = {
            "score": round(nab.score(len(labelled.times), labelled.windows, rows), 3),
            "detections": len(counted),
            "in_a_window": sum(any(low <= row <= high for low, high in labelled.windows) for row in counted),
        }
    return found


def ours(labelled: nab.Labelled) -> list[int]:
    return detections([labelled])[0]


def detections(alike: Sequence[nab.Labelled]) -> list[list[int]]:
    """Of series with the same times the rows at which the detector speaks; of an hour or a day it speaks when the next
    one begins."""
    times = alike[0].times
    interval = int(np.median(np.diff(times)))
    memory = Memory()
    numbers = memory.numbers(
        [Series("device", "nab", str(n), "value", None) for n in range(len(alike))], [None] * len(alike)
    )
    detector, which = Detector(memory, interval), np.array(numbers, np.intp)
    told: list[list[int]] = [[] for _ in alike]
    for row, values in enumerate(np.array([series.values for series in alike]).T):
        at = times[row] - times[row] % interval
        for number in {one.series for one in detector.take(at, which, values, values, values)}:
            told[number].append(row)
    return told


def gaussian(labelled: nab.Labelled) -> list[int]:
    values = np.array(labelled.values)
    found = []
    for row in range(1, len(values)):
        window = values[max(0, row - GAUSSIAN_WINDOW) : row]
        spread = window.std() or 1e-6
        if abs(values[row] - window.mean()) > GAUSSIAN_SIGMAS * spread:
            found.append(row)
    return found

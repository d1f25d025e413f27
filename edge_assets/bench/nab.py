"""The score of the Numenta Anomaly Benchmark (NAB) for one labelled series, in its standard profile.

After Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms: the Numenta Anomaly Benchmark" (2015), and
the benchmark's own scorer. In each labelled window the first detection counts 1 or less, by a sigmoid of its place: all
at the window's left edge, nothing at its right edge. A window without one counts -1. Each detection elsewhere counts
-0.11, or less shortly behind a window. The first rows are probation: 15 % of them, of a long series 750.

So a perfect detector has a score of one a window, one that never says anything minus one a window.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edge_assets.errors import SettingsError

TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE = 1.0, 0.11, 1.0
PROBATION_SHARE, PROBATION_OF_AT_MOST = 0.15, 5_000
FAR_BEHIND = 3.0

Window = tuple[int, int]
"""the first and the last row that are in it"""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A series with the windows in which something happened; times in seconds since 1970."""

    times: list[int]
    values: list[float]
    windows: list[Window]


def probation(rows: int) -> int:
    """How many rows at the beginning do not count."""
    return min(math.floor(PROBATION_SHARE * rows), int(PROBATION_SHARE * PROBATION_OF_AT_MOST))


def sigmoid(place: float) -> float:
    """From nearly 1 at -1 (a window's left edge) over 0 at 0 (its right edge) to -1 far behind it."""
    return -1.0 if place >= FAR_BEHIND else 2 / (1 + math.exp(5 * place)) - 1


def score(rows: int, windows: Sequence[Window], detections: Collection[int]) -> float:
    """The score of detections (row numbers). `windows` in order, apart from each other."""
    begin = probation(rows)
    counted = sorted(row for row in set(detections) if row >= begin)
    total = 0.0
    for first, last in windows:
        within = [row for row in counted if first <= row <= last]
        if within:
            total += TRUE_POSITIVE * sigmoid(-(last - within[0] + 1) / (last - first + 1)) / sigmoid(-1)
        elif last >= begin:
            total -= FALSE_NEGATIVE
    outside = (row for row in counted if not any(first <= row <= last for first, last in windows))
    return total + sum(FALSE_POSITIVE * sigmoid(_place_behind(row, windows)) for row in outside)


def _place_behind(row: int, windows: Sequence[Window]) -> float:
    """How many windows' lengths a row lies behind the last window before it."""
    before = [window for window in windows if window[1] < row]
    if not before:
        return FAR_BEHIND
    first, last = before[-1]
    return (row - last) / max(last - first, 1)


def load(series: Path, windows: Path) -> Labelled:
    """Read a series (CSV: timestamp, value) and the windows of its name in a JSON file, as NAB has them.

    Raises `SettingsError`, one line, where they cannot be read.
    """
    try:
        with series.open(newline="") as lines:
            rows = [(_seconds(row["timestamp"]), float(row["value"])) for row in csv.DictReader(lines)]
        by_file: dict[str, list[list[str]]] = json.loads(windows.read_text())
    except (OSError, ValueError, KeyError) as error:
        raise SettingsError(
            f"reading {series} and {windows}: {error}; expected a CSV of timestamp and value, and a JSON of windows"
        ) from error
    spans = next((spans for name, spans in by_file.items() if Path(name).name == series.name), None)
    if spans is None:
        raise SettingsError(f"{windows} has no windows for {series.name}; it names {', '.join(by_file) or 'nothing'}")
    times = [at for at, _ in rows]
    within = ([n for n, at in enumerate(times) if _seconds(low) <= at <= _seconds(high)] for low, high in spans)
    return Labelled(times, [value for _, value in rows], [(found[0], found[-1]) for found in within if found])


def _seconds(text: str) -> int:
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())

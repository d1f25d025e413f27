"""The incremental run: minutes that have closed since the last one, scored; what is unusual, committed once.

The steps of a run, each of which may be the last one that a killed run has done:

1. what gold.anomalies was told, and how far the memory is;
2. the closed minutes since, scored in memory;
3. what is news, one commit; at or before the latest window that the table was told nothing is news;
4. the memory, every `KEEP_SECONDS` where nothing was found: until then each run scores the minutes since once more.

A run that was killed before step 4 is done again by the next one, which finds the same and commits it where it is not.
Without a memory that can be used the minutes of the last `LEARNS_DAYS` are scored anew, and the same rule keeps what
was told from being told again. A bucket that changes after it was scored (late rows) is not scored again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edge_assets import lake_claim
from edge_assets.anomalies import memory as memories
from edge_assets.anomalies import minutes, table
from edge_assets.anomalies.detector import DAY, HOUR, Detector, Found, judged
from edge_assets.anomalies.memory import Memory
from edge_assets.service import lock_in_turn
from edge_assets.settings import Settings
from edge_assets.warehouse.rollups.layout import read_state

LOCK = "anomalies"
WAIT_SECONDS = 600.0
"""so long a run waits for another one"""

LEARNS_DAYS = 35
"""so many days are read where there is no memory: as many as the detector remembers, and its first week"""

KEEP_SECONDS = 3 * HOUR
"""so often the memory is written: some kilobytes a series"""

Progress = Callable[[str], None]


@dataclass(slots=True)
class Outcome:
    """What a run did."""

    until: int | None = None
    """minutes that end by then (seconds since 1970) are scored; None: there is none yet"""
    minutes: int = 0
    buckets: int = 0
    """of a minute and a series"""
    series: int = 0
    """known, and of these"""
    judged: int = 0
    """scored, and known for long enough"""
    found: int = 0
    """anomalies that were committed"""
    rows: int | None = None
    """of gold.anomalies, where they were counted"""
    learnt_anew: bool = False
    memory_bytes: int = 0
    """written; 0: the memory's file stayed"""
    seconds: float = 0.0


def run(settings: Settings, progress: Progress = lambda line: None) -> Outcome:
    """Score what has closed since the last run. Raises `LakeError`, `AlreadyRunning`."""
    begun, outcome = time.monotonic(), Outcome()
    lake_claim.ensure(settings)
    with lock_in_turn(settings, LOCK, WAIT_SECONDS):
        if torn := table.mend(settings):
            progress(f"anomalies: {torn} torn commits of gold.anomalies taken back")
        _run(settings, outcome, progress)
    outcome.seconds = time.monotonic() - begun
    return outcome


def _run(settings: Settings, outcome: Outcome, progress: Progress) -> None:
    state = read_state(settings)
    until = minutes.closed_until(settings, state) if state else None
    if state is None or until is None:
        return
    told = table.told(settings)
    memory = memories.read(settings)
    if memory is None or not _can_be_used(memory, told, until):
        progress(f"anomalies: learning from the last {LEARNS_DAYS} days")
        memory, outcome.learnt_anew = Memory(until=until - LEARNS_DAYS * DAY), True
    saved = memory.until or 0
    if until > saved:
        found = _score(memory, minutes.read(settings, state, memory, saved, until), until, outcome)
        news = [one for one in found if told.is_news(memory.series[one.series], one)]
        outcome.found = table.append(settings, memory, news)
        memory.until, memory.told = until, max((one.end for one in news), default=told.until)
        if outcome.found or outcome.learnt_anew or until - saved >= KEEP_SECONDS:
            outcome.memory_bytes = memories.write(settings, memory)
            table.tidy(settings)
    outcome.until, outcome.series, outcome.judged = memory.until, len(memory.series), judged(memory)


def _can_be_used(memory: Memory, told: table.Told, until: int) -> bool:
    """A memory that is ahead of the table, or of all minutes by hours, is of another lake or of a wrong clock."""
    return (memory.told or 0) <= (told.until or 0) and (memory.until or 0) <= until + HOUR


def _score(memory: Memory, heard: Iterator[minutes.Minute], until: int, outcome: Outcome) -> list[Found]:
    detector, found = Detector(memory), []
    for minute in heard:
        found += detector.take(*minute)
        outcome.minutes += 1
        outcome.buckets += len(minute.series)
    return found + detector.close(until)

"""What keeps a service alive, as a decision without side effects: what was seen → what to do.

A run's status alone proves nothing: after a reboot, or when the code server died with it, a dead run stays
STARTED for ever. The service's kernel lock does (`edge_assets.service`), so the two are held against each other:

| run | lock | what it means | what is done |
|---|---|---|---|
| STARTED or STARTING, and past its grace | free | the process died unseen | reported failed, started anew |
| CANCELING | free | it died while it was being stopped | reported canceled |
| none that is active | held | a service that Dagster does not own | SIGTERM, later SIGKILL |
| CANCELING, for long | held | it does not stop | SIGTERM, later SIGKILL |
| the newest ended CANCELED | free | a person stopped it | nothing, until it is switched on |
| the newest ended otherwise, or none | free | it should run | started, after a pause when it keeps dying |
| one waits to take the service over | held | a person restarts it (`edge_assets.defs.takeover`) | nothing |

Switched on means: the keep-alive sensor turned off and on again, or the job launched by hand. `edge down` ends a
service by SIGTERM, which is a success and no cancellation, so the next `edge up` starts it.

Who acts on a decision, and looks twice before it does, is `edge_assets.defs.sensors`.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

STARTED_GRACE_SECONDS = 10.0
"""from Dagster's STARTED to the lock is an import or two; measured under 1 s, on a Pi at boot some"""

STARTING_GRACE_SECONDS = 30.0
"""from the launch to STARTED a process is spawned and imports Dagster: 2-3 s, on a Pi at boot more"""

STOP_SECONDS = 60.0
"""how long a run may be CANCELING before its process is reminded with SIGTERM"""

KILL_SECONDS = 20.0
"""from SIGTERM to SIGKILL"""

SHORT_LIFE_SECONDS = 60.0
"""a run that fails within this time counts towards the pause before the next start"""

PAUSE_SECONDS = (0.0, 0.0, 0.0, 5.0, 10.0, 20.0, 40.0, 60.0)
"""pause before the next start, by the number of short-lived failures in a row; the last one holds from there on"""

LAUNCHING = frozenset({"NOT_STARTED", "MANAGED", "QUEUED", "STARTING"})
ACTIVE = LAUNCHING | {"STARTED", "CANCELING"}


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the service's job. Times are seconds since 1970."""

    id: str
    status: str
    """Dagster's word: STARTED, CANCELED, ..."""
    since: float
    """when it took this status"""
    started: float
    """when it started; when it was created, where it never did"""

    @property
    def short(self) -> str:
        return self.id[:8]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look finds."""

    now: float
    runs: Sequence[Run] = ()
    """newest first: all active ones, and enough finished ones to see a row of failures"""
    holder: int | None = None
    """pid that holds the service's lock"""
    holder_run: str | None = None
    """the run that the holder says it belongs to; None: it does not say"""
    next_run: str | None = None
    """the run that waits for the lock to take the service over"""
    switched_on: float | None = None
    """when a person last turned the keep-alive sensor on"""
    shutting_down: bool = False


@dataclass(frozen=True, slots=True)
class Signalled:
    """Who was sent SIGTERM, and when: all that a look has to remember for the next one."""

    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class Decision:
    reason: str
    """for the person who reads the sensor's ticks: what was found, and what comes next"""
    start: bool = False
    fail: tuple[str, ...] = ()
    """runs to report failed"""
    cancel: tuple[str, ...] = ()
    """runs to report canceled"""
    send: signal.Signals | None = None
    """what to send to the lock's holder"""
    signalled: Signalled | None = field(default=None, compare=False)
    """to be remembered until the next look"""
    alive: bool = False
    """the service runs, and its lock will tell when it no longer does"""

    @property
    def acts(self) -> bool:
        return bool(self.start or self.fail or self.cancel or self.send)


def decide(seen: Seen, signalled: Signalled | None = None) -> Decision:
    """What to do about a service, given one look at it and whom an earlier look has signalled."""
    if seen.shutting_down:
        return Decision("the platform is shutting down; `edge up` starts the service again")
    dead = tuple(run for run in seen.runs if _is_dead(run, seen))
    living = [run for run in seen.runs if run.status in ACTIVE and run not in dead]
    fail = tuple(run.id for run in dead if run.status != "CANCELING")
    cancel = tuple(run.id for run in dead if run.status == "CANCELING")
    if seen.holder is not None:
        return _with_holder(seen, seen.holder, living, signalled, fail, cancel)
    if living:
        return Decision(f"run {living[0].short} is {living[0].status}", fail=fail, cancel=cancel)
    return _without_process(seen, _as_ended(seen, dead), fail, cancel)


def _is_dead(run: Run, seen: Seen) -> bool:
    """An active run that has had time to take the lock and does not hold it."""
    if run.status not in ACTIVE or run.status == "QUEUED" or run.id == seen.next_run or _owns(run, seen):
        return False
    grace = STARTED_GRACE_SECONDS
    if run.status in LAUNCHING:
        # A machine that is too slow for the grace would fail for ever: each failure widens it.
        grace = STARTING_GRACE_SECONDS * (1 + min(_failures_in_a_row(seen.runs), 4))
    return _age(seen.now, run.since) >= grace


def _owns(run: Run, seen: Seen) -> bool:
    """Whether the lock's holder is this run's process; a holder that says no run's name may be any that started."""
    if seen.holder is None or seen.holder_run is not None:
        return seen.holder is not None and seen.holder_run == run.id
    return run.status not in LAUNCHING


def _with_holder(
    seen: Seen,
    holder: int,
    living: Sequence[Run],
    signalled: Signalled | None,
    fail: tuple[str, ...],
    cancel: tuple[str, ...],
) -> Decision:
    owner = next((run for run in living if _owns(run, seen)), None)
    if owner is not None and owner.status != "CANCELING":
        return Decision(f"runs: {owner.short}, pid {holder}", fail=fail, cancel=cancel, alive=True)
    if owner is not None and _age(seen.now, owner.since) < STOP_SECONDS:
        return Decision(f"run {owner.short} is stopping, pid {holder}", fail=fail, cancel=cancel)
    whose = f"run {owner.short} does not stop" if owner else "it belongs to no active run"
    return _end_holder(seen.now, holder, whose, signalled, fail, cancel)


def _end_holder(
    now: float,
    holder: int,
    whose: str,
    signalled: Signalled | None,
    fail: tuple[str, ...],
    cancel: tuple[str, ...],
) -> Decision:
    if signalled is None or signalled.pid != holder:
        reason = f"pid {holder} holds the lock and {whose}: sent SIGTERM"
        return Decision(reason, False, fail, cancel, signal.SIGTERM, Signalled(holder, now))
    if _age(now, signalled.at) < KILL_SECONDS:
        reason = f"pid {holder} was sent SIGTERM ({whose}) and has {KILL_SECONDS:.0f} s to go"
        return Decision(reason, False, fail, cancel, None, signalled)
    reason = f"pid {holder} did not go in {KILL_SECONDS:.0f} s ({whose}): sent SIGKILL"
    return Decision(reason, False, fail, cancel, signal.SIGKILL, signalled)


def _without_process(seen: Seen, runs: Sequence[Run], fail: tuple[str, ...], cancel: tuple[str, ...]) -> Decision:
    newest = runs[0] if runs else None
    if newest is None:
        return Decision("never ran: started", start=True)
    if seen.switched_on is not None and seen.switched_on > newest.since:
        return Decision("switched on: started", True, fail, cancel)
    if newest.status == "CANCELED":
        reason = (
            f"stopped by a person: run {newest.short} was terminated at {_clock(newest.since)}. To start the "
            "service again, launch its job, or turn this sensor off and on"
        )
        return Decision(reason, False, fail, cancel)
    pause = _pause_left(seen.now, runs)
    if pause > 0:
        failures = _failures_in_a_row(runs)
        reason = (
            f"failed {failures} times in a row, each within {SHORT_LIFE_SECONDS:.0f} s of its start; last: run "
            f"{newest.short}, whose log says why. The next start is in {math.ceil(pause)} s"
        )
        return Decision(reason, False, fail, cancel)
    what = "died" if newest.id in fail else f"ended {newest.status}"
    return Decision(f"run {newest.short} {what}: started anew", True, fail, cancel)


def _as_ended(seen: Seen, dead: Sequence[Run]) -> list[Run]:
    """The runs as they are once the dead ones are reported."""
    status = {run.id: "CANCELED" if run.status == "CANCELING" else "FAILURE" for run in dead}
    # A dead run's last sign of life is what is known; it would otherwise seem to have lived until now.
    return [Run(run.id, status.get(run.id, run.status), run.since, run.started) for run in seen.runs]


def _failures_in_a_row(runs: Sequence[Run]) -> int:
    """How many of the newest finished runs failed shortly after their start, up to the first that did not."""
    count = 0
    for run in runs:
        if run.status in ACTIVE:
            continue
        if run.status != "FAILURE" or run.since - run.started >= SHORT_LIFE_SECONDS:
            break
        count += 1
    return count


def _pause_left(now: float, runs: Sequence[Run]) -> float:
    pause = PAUSE_SECONDS[min(_failures_in_a_row(runs), len(PAUSE_SECONDS) - 1)]
    return pause - _age(now, runs[0].since)


def _age(now: float, then: float) -> float:
    """Seconds since; a time in the future (a clock that was set back) is taken for long ago."""
    return now - then if then <= now else math.inf


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")

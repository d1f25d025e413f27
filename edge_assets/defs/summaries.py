"""What a service's run says of itself every few minutes: sentences for a person, from its counters.

How much came and went since the last summary, how far it is behind, and what is wrong; counters are those of
`edge_assets.defs.reporting`. What a service does not count is left out; a service that is not known here tells its
plain counters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

Counters = Mapping[str, Any]
POSITIONS = 4
"""that are named one by one; of more, which a home with many rooms has, the others are counted"""


def summary(service: str, counters: Counters, before: Counters, seconds: float) -> str:
    """What the service has done in the last `seconds`: `before` are its counters at their beginning."""
    if not counters:
        return "nothing to count yet"
    known = {
        "simulators": _simulators,
        "alerter": _alerter,
        "live": _live,
        "bridge": _bridge,
        "stream_writer": _stream_writer,
    }
    say: Callable[[Counters, Counters, float], list[str]] = known.get(service, _plainly)
    problem = counters.get("problem") or counters.get("alarm")
    parts = [*say(counters, before, seconds), *([f"PROBLEM: {problem}"] if problem else [])]
    return f"in {_duration(seconds)}: " + "; ".join(part for part in parts if part)


def _bridge(now: Counters, then: Counters, seconds: float) -> list[str]:
    received, logged = _grown(now, then, "received"), _grown(now, then, "logged")
    return [
        f"{received:,} messages taken from the broker{_pace(received, seconds)}, {logged:,} acknowledged by Kafka",
        f"{_number(now, 'logged'):,} since the start",
        f"{_number(now, 'in_flight'):,} on their way",
        f"newest at {_clock(now['last_received_at'])}" if now.get("last_received_at") else "none came yet",
        _some(_grown(now, then, "suppressed"), "redeliveries left out"),
        _some(_grown(now, then, "dead_letters"), "dead letters"),
        _some(_grown(now, then, "dropped_by_broker"), "DROPPED by the broker"),
        "" if now.get("connected", True) else "NOT connected to the broker",
    ]


def _stream_writer(now: Counters, then: Counters, seconds: float) -> list[str]:
    written, before = now.get("written") or {}, then.get("written") or {}
    records = _grown(written, before, "records")
    # Batches are numbered on across starts: before the second summary their number says nothing.
    batches = f" in {_grown(now, then, 'batch'):,} batches" if "batch" in then else ""
    progress = now.get("progress") or {}
    took = f", the last in {progress['batch_duration_ms'] / 1e3:.1f} s" if "batch_duration_ms" in progress else ""
    return [
        f"{records:,} records of the log written{batches}{took}{_pace(records, seconds)}",
        f"{_grown(written, before, 'readings'):,} readings of them",
        _some(_grown(written, before, "dead_letter"), "DEAD LETTERS"),
        f"lag {progress['lag']:,} records" if "lag" in progress else "lag not known yet",
        _positions(now.get("positions") or {}),
        _some(_number(now.get("lost") or {}, "records"), "records LOST: they expired before they were read"),
    ]


def _alerter(now: Counters, then: Counters, seconds: float) -> list[str]:
    messages = _grown(now, then, "messages")
    failing = now.get("channels_failing") or []
    return [
        f"{messages:,} messages heard{_pace(messages, seconds)} of {_number(now, 'devices'):,} devices",
        f"{_grown(now, then, 'fired'):,} alerts fired, {_grown(now, then, 'cleared'):,} cleared",
        f"{_grown(now, then, 'notified'):,} notifications sent",
        f"{_number(now, 'open'):,} open by {_number(now, 'rules'):,} rules",
        _some(_number(now, "outbox"), "notifications wait"),
        f"channels that FAIL: {', '.join(failing)}" if failing else "",
        "" if now.get("connected", True) else "NOT connected to the broker",
    ]


def _live(now: Counters, then: Counters, seconds: float) -> list[str]:
    messages = _grown(now, then, "messages")
    return [
        f"{messages:,} messages heard{_pace(messages, seconds)} of {_number(now, 'devices'):,} devices",
        f"{_number(now, 'stale'):,} of these silent for longer than is usual",
        f"{_number(now, 'viewers'):,} viewers",
        _some(_grown(now, then, "dropped_messages"), "messages not shown, too many at once"),
        "" if now.get("connected", True) else "NOT connected to the broker",
    ]


def _simulators(now: Counters, then: Counters, seconds: float) -> list[str]:
    published = _grown(now, then, "published")
    return [
        f"{published:,} messages published{_pace(published, seconds)}",
        f"{_number(now, 'published'):,} since the start",
        _some(_grown(now, then, "skipped"), "not published, the broker was away"),
    ]


def _plainly(now: Counters, then: Counters, seconds: float) -> list[str]:
    plain = {name: value for name, value in now.items() if isinstance(value, int | float) and name != "run_id"}
    return [f"{name} {value}{_more(_grown(now, then, name))}" for name, value in plain.items()] or ["it runs"]


def _positions(positions: Mapping[str, int]) -> str:
    """Where reading goes on is the next offset; the last one that was read lies one before it."""
    read = {name: offset - 1 for name, offset in positions.items() if offset > 0}
    named = [f"{name} {offset:,}" for name, offset in sorted(read.items())[:POSITIONS]]
    others = len(read) - len(named)
    return f"last offsets {', '.join(named)}{f' and of {others} other partitions' if others else ''}" if named else ""


def _number(values: Counters, name: str) -> int:
    value = values.get(name)
    return int(value) if isinstance(value, int | float) else 0


def _grown(now: Counters, then: Counters, name: str) -> int:
    return max(_number(now, name) - _number(then, name), 0)


def _some(count: int, of_what: str) -> str:
    return f"{count:,} {of_what}" if count else ""


def _more(grown: int) -> str:
    return f" (+{grown})" if grown else ""


def _pace(count: int, seconds: float) -> str:
    return f" ({count * 60 / seconds:,.0f} a minute)" if count and seconds >= 1 else ""


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _clock(text: str) -> str:
    try:
        return datetime.fromisoformat(text).strftime("%H:%M:%S UTC")
    except ValueError:
        return text

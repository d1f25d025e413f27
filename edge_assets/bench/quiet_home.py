"""Minutes of the simulated devices on days on which nothing is amiss, fast-forwarded, for benches and tests.

The sources' own generators, made to report each `every_seconds`; a payload's numbers and booleans count, as in
`readings_1m`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import datetime
from heapq import merge
from operator import attrgetter

import numpy as np

from edge_assets.anomalies.memory import Memory, Series
from edge_assets.anomalies.minutes import MINUTE, Minute
from edge_assets.settings import SimulatorSettings
from edge_assets.sources import pico_w, rooms
from edge_assets.sources.message import Message
from edge_assets.sources.zigbee2mqtt import Network


def minutes(
    simulated: SimulatorSettings, memory: Memory, start: datetime, days: float, every_seconds: float
) -> Iterator[Minute]:
    """What all devices say, by the minute; their series get their places in `memory`."""
    intervals = ("interval_seconds", "pico_interval_seconds", "rooms_interval_seconds")
    own = simulated.model_copy(update={"enabled": True, "speed": 1.0, **dict.fromkeys(intervals, every_seconds)})
    sources = (Network(own, start).messages(), pico_w.messages(own, start), rooms.messages(own, start))
    begin = int(start.timestamp()) // MINUTE
    of_minute: dict[Series, list[float]] = {}
    current = 0
    for message in merge(*sources, key=attrgetter("at_seconds")):
        minute = int(message.at_seconds // MINUTE)
        if minute != current:
            if of_minute:
                yield _minute(memory, (begin + current) * MINUTE, of_minute)
            of_minute, current = {}, minute
        if minute >= days * 1_440:
            return
        for series, value in _values(message):
            of_minute.setdefault(series, []).append(value)


def _minute(memory: Memory, at: int, heard: dict[Series, list[float]]) -> Minute:
    numbers = memory.numbers(list(heard), [series.device_id for series in heard])
    low, high, mean = (
        np.array([figure(values) for values in heard.values()])
        for figure in (min, max, lambda values: math.fsum(values) / len(values))
    )
    return Minute(at, np.array(numbers, np.intp), low, high, mean)


def _values(message: Message) -> Iterator[tuple[Series, float]]:
    """The numbers that a message tells, nested ones left out: they are settings."""
    kind, *levels = message.topic.split("/")
    if levels[0] == "bridge" or levels[-1] in ("availability", "set", "get"):
        return
    try:
        told = json.loads(message.payload)
    except ValueError:
        return
    if not isinstance(told, dict):
        yield Series("device", "home", f"{kind}/{levels[1]}", levels[0], None), float(told)
        return
    of_what = "room" if levels[-1] == "telemetry" else "device"
    for name, value in told.items():
        if isinstance(value, int | float):
            yield Series(of_what, "home", levels[0], name, None), float(value)

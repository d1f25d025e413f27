"""A simulated Raspberry Pi Pico W with a DHT22: bare numbers, as a few lines of MicroPython publish them.

| topic | payload | QoS |
|---|---|---|
| `pico/temperature/dht22` | °C with one digit, `21.4`: the DHT22's resolution | 0 |
| `pico/humidity/dht22` | % with one digit, `48.3` | 0 |
| `pico/temperature/internal` | °C with two digits, `27.58`, in steps of 0.47: the chip's own sensor | 0 |

Pure and reproducible, like `edge_assets.sources.zigbee2mqtt`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from random import Random

from edge_assets.settings import SimulatorSettings
from edge_assets.sources.appliances import DAY_SECONDS
from edge_assets.sources.message import Message

DRIFT_SECONDS = 1_800.0
"""How long the weather in the room remembers: a window that was opened, a cloud."""
VOLTS_PER_STEP = 3.3 / 4_096
"""One step of the RP2040's 12-bit converter."""


def messages(simulators: SimulatorSettings, start: datetime) -> Iterator[Message]:
    """Three readings each `pico_interval_seconds` of real time, in order, without end."""
    base, step = simulators.pico_base_topic, simulators.pico_interval_seconds * simulators.speed
    rng = Random(f"{simulators.seed}/pico")
    keep = math.exp(-step / DRIFT_SECONDS)
    warmth = damp = 0.0
    begin = start.timestamp()
    number = 0
    while True:
        at = round(number * step, 3)
        warmth = keep * warmth + math.sqrt(1 - keep * keep) * rng.gauss(0, 0.4)
        damp = keep * damp + math.sqrt(1 - keep * keep) * rng.gauss(0, 1.5)
        day = _day_course(begin + at)
        celsius = 21.5 + 1.8 * day + warmth
        percent = 47 - 5 * day - 1.5 * warmth + damp
        yield Message(at, f"{base}/temperature/dht22", b"%.1f" % (celsius + rng.gauss(0, 0.06)))
        yield Message(at, f"{base}/humidity/dht22", b"%.1f" % _within(percent + rng.gauss(0, 0.3), 5, 95))
        yield Message(at, f"{base}/temperature/internal", b"%.2f" % _chip(celsius + 5.5 + rng.gauss(0, 0.15)))
        number += 1


def _day_course(at: float) -> float:
    """-1 before dawn, 1 in the afternoon (UTC)."""
    return math.sin(2 * math.pi * (at % DAY_SECONDS - 9 * 3_600) / DAY_SECONDS)


def _chip(celsius: float) -> float:
    """What the chip reads at a temperature (RP2040's data sheet, section 4.9.5): the colder, the higher the voltage."""
    volts = 0.706 - (celsius - 27) * 0.001721
    return 27 - (round(volts / VOLTS_PER_STEP) * VOLTS_PER_STEP - 0.706) / 0.001721


def _within(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)

"""The door contact SONOFF SNZB-04P: sparse, battery-driven, `contact` true while the door is *closed*.

It reports in parts, as the device does: contact with battery_low, battery with voltage, tamper. A property is
absent from the state until it was first reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from random import Random
from typing import Any

from edge_assets.sources.appliances import DAY_SECONDS, INSTALLED
from edge_assets.sources.exposes import PUBLISHED, READABLE, Model, binary, linkquality, numeric

BATTERY_SECONDS = 3_600.0
"""How often the battery is reported."""

Report = tuple[float, dict[str, Any]]


MODEL = Model(
    name="SNZB-04P",
    vendor="SONOFF",
    description="Door and window contact",
    exposes=(
        binary("contact", False, True, PUBLISHED, "False while the door stands open"),
        binary("battery_low", True, False, PUBLISHED, "True when the battery is nearly empty", category="diagnostic"),
        binary("tamper", True, False, READABLE, "True while the housing is off its base"),
        numeric("battery", "%", READABLE, "Charge left", value_min=0, value_max=100, category="diagnostic"),
        numeric("voltage", "mV", READABLE, "Voltage of the cell", category="diagnostic"),
        linkquality(),
    ),
    zigbee_type="EndDevice",
    power_source="Battery",
    clusters=("genBasic", "genPowerCfg", "ssIasZone"),
    firmware="2.1.0",
    firmware_date="20230822",
)


class DoorContact:
    """One contact. `reports` yields (seconds since `start`, the properties reported), in order, without end."""

    def __init__(self, seed: str) -> None:
        self._seed = seed

    def reports(self, start: float) -> Iterator[Report]:
        rng = Random(f"{self._seed}/opened")
        return merge(self._contact(rng), self._battery(start), self._tamper(), key=lambda report: report[0])

    def _contact(self, rng: Random) -> Iterator[Report]:
        """Opened every few minutes, for some seconds, now and then for long; the first time soon."""
        at = rng.uniform(5, 30)
        while True:
            yield round(at, 3), {"contact": False, "battery_low": False}
            at += min(rng.lognormvariate(2.5, 0.9), 900)
            yield round(at, 3), {"contact": True, "battery_low": False}
            at += 20 + rng.expovariate(1 / 400)

    def _battery(self, start: float) -> Iterator[Report]:
        """Full when installed, a percent less each five days; the cell's voltage follows."""
        phase = Random(f"{self._seed}/battery").uniform(2, 60)
        number = 0
        while True:
            at = phase + number * BATTERY_SECONDS
            days = max(0.0, start + at - INSTALLED.timestamp()) / DAY_SECONDS
            percent = 100 - int(days / 5) % 90
            yield round(at, 3), {"battery": percent, "voltage": 2_400 + 6 * percent}
            number += 1

    def _tamper(self) -> Iterator[Report]:
        yield 90.0, {"tamper": False}

"""The plug SONOFF S60ZBTPF: it reports at a steady interval; `voltage` is in V, energies are in kWh.

Power, current, voltage and energy of one report belong together: current is power by voltage and power factor,
energy is the integral of power. `energy_today` starts anew at midnight (UTC), `energy_month` on the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any

from edge_assets.sources.appliances import DAY_SECONDS, Appliance
from edge_assets.sources.exposes import (
    ALL,
    PUBLISHED,
    READABLE,
    SETTABLE,
    Expose,
    Model,
    binary,
    composite,
    enum,
    linkquality,
    numeric,
    switch,
)
from edge_assets.sources.message import rounded

POWER_FACTOR = 0.98
SETTINGS = {
    "network_indicator": True,
    "outlet_control_protect": True,
    "power_on_behavior": "previous",
    "overload_protection": {
        "enable_max_voltage": "ENABLE",
        "enable_min_current": "DISABLE",
        "enable_min_power": "DISABLE",
        "enable_min_voltage": "DISABLE",
        "max_current": 16,
        "max_power": 3680,
        "max_voltage": 265,
        "min_current": 0.1,
        "min_power": 0.1,
        "min_voltage": 165,
    },
    "update": {"installed_version": 4_100, "latest_version": 4_100, "state": "idle"},
}
"""What the plug is set to: in the state beside the measurements, once it was read."""

Report = tuple[float, dict[str, Any]]


def _inching() -> list[Expose]:
    return [
        binary("inching_control", "ENABLE", "DISABLE", SETTABLE, "Whether it switches back"),
        numeric("inching_time", "seconds", SETTABLE, "After how long", value_min=0.5, value_max=3599.5, value_step=0.5),
        binary("inching_mode", "ON", "OFF", SETTABLE, "To what", value_toggle="ON"),
    ]


def _limits() -> list[Expose]:
    features = []
    for what, unit, low, high, step in (
        ("power", "W", 0.1, 4_000, 0.1),
        ("voltage", "V", 165, 277, 1),
        ("current", "A", 0.1, 17, 0.1),
    ):
        span = {"value_min": low, "value_max": high, "value_step": step}
        features.append(numeric(f"max_{what}", unit, SETTABLE, f"Upper limit of {what}", **span))
        features.append(numeric(f"min_{what}", unit, SETTABLE, f"Lower limit of {what}", **span))
        features.append(
            binary(f"enable_min_{what}", "ENABLE", "DISABLE", SETTABLE, f"Whether the lower limit of {what} holds")
        )
    features.append(
        binary("enable_max_voltage", "ENABLE", "DISABLE", SETTABLE, "Whether the upper limit of voltage holds")
    )
    return features


MODEL = Model(
    name="S60ZBTPF",
    vendor="SONOFF",
    description="Plug with power metering",
    exposes=(
        numeric("energy", "kWh", PUBLISHED, "Energy since the meter was installed"),
        switch(),
        enum(
            "power_on_behavior", ("off", "on", "toggle", "previous"), ALL, "State after a power cut", category="config"
        ),
        binary("network_indicator", True, False, ALL, "Whether the blue light shows the network", category="config"),
        numeric("current", "A", READABLE, "Current through the outlet"),
        numeric("voltage", "V", READABLE, "Mains voltage"),
        numeric("power", "W", READABLE, "Active power"),
        numeric("energy_yesterday", "kWh", READABLE, "Energy of the day before"),
        numeric("energy_today", "kWh", READABLE, "Energy since midnight"),
        numeric("energy_month", "kWh", READABLE, "Energy since the first of the month"),
        composite("inching_control_set", SETTABLE, "Switches back by itself after a time", _inching()),
        binary("outlet_control_protect", True, False, ALL, "Whether the overload protection is active"),
        composite("overload_protection", ALL, "Limits beyond which the relay opens", _limits()),
        linkquality(),
    ),
    zigbee_type="Router",
    power_source="Mains (single phase)",
    clusters=("genBasic", "genOnOff", "haElectricalMeasurement", "seMetering"),
    firmware="1.0.4",
    firmware_date="20240115",
)


class Plug:
    """One plug and its appliance. `reports` yields (seconds since `start`, the properties reported), without end."""

    def __init__(self, seed: str, appliance: Appliance, interval_seconds: float) -> None:
        self._seed = seed
        self.appliance = appliance
        self._interval = interval_seconds

    def reports(self, start: float) -> Iterator[Report]:
        """`start` is seconds since 1970. Its first words hold the switch alone, the second all measurements."""
        rng = Random(f"{self._seed}/mains")
        phase = rng.uniform(0.1, min(self._interval, 2.0))
        volts = 231.0
        yield round(phase / 2, 3), {"state": self.switch(start)}
        number = 0
        while True:
            at = round(phase + number * self._interval, 3)
            volts = min(238.0, max(224.0, volts + rng.choice((-0.5, 0, 0, 0, 0.5))))
            yield at, self.measure(start + at, volts) | (SETTINGS if number == 1 else {})
            number += 1

    def switch(self, at: float) -> str:
        return "ON" if self.appliance.is_on(at) else "OFF"

    def measure(self, at: float, volts: float) -> dict[str, Any]:
        """The measurements at a time (seconds since 1970), rounded as the device's converter rounds them."""
        power = rounded(self.appliance.power_w(at), 2)
        midnight = at - at % DAY_SECONDS
        day = datetime.fromtimestamp(midnight, UTC)
        first = midnight - (day.day - 1) * DAY_SECONDS
        between = self.appliance.energy_between_kwh
        return {
            "state": self.switch(at),
            "power": power,
            "voltage": rounded(volts, 2),
            "current": rounded(power / (volts * POWER_FACTOR), 2),
            "energy": rounded(self.appliance.energy_kwh(at), 2),
            "energy_today": rounded(between(midnight, at), 3),
            "energy_yesterday": rounded(between(midnight - DAY_SECONDS, midnight), 3),
            "energy_month": rounded(between(first, at), 3),
        }

"""All devices as they are now, and what the page has not been told of them yet. One thread's: the server's.

A device is known by its address where `bridge/devices` tells it, else by its name; so a rename keeps its history, and
who was known by name and is described later takes its history along. What the description no longer names is gone.
Memory is bounded: by points a series, and by measurements in all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from edge_assets.decoding.contract import AVAILABILITY
from edge_assets.decoding.registry import Entry
from edge_assets.listening.heard import STATE, Device, Heard, Observation
from edge_assets.live import protocol
from edge_assets.live.device import LiveDevice, Measured
from edge_assets.live.series import Series
from edge_assets.settings import Settings

TEXT_LENGTH = 500
"""letters of a text that the page is told; the lake has it whole"""


class Devices:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bases = sorted(settings.stream.base_topics, key=len, reverse=True)
        self._devices: dict[Device, LiveDevice] = {}
        self._networks: dict[str, bool] = {}
        self._measurements = 0
        self._touched: dict[Device, None] = {}
        self._gone: list[str] = []
        self._points: list[protocol.Point] = []
        self.refused = 0
        """observations of measurements beyond `settings.live.series`"""

    def __iter__(self) -> Iterator[LiveDevice]:
        return iter(self._devices.values())

    def __len__(self) -> int:
        return len(self._devices)

    def get(self, device: Device) -> LiveDevice | None:
        return self._devices.get(device)

    # -- what is heard -----------------------------------------------------------------------------------------------

    def hear(self, heard: Heard) -> None:
        """Take in what a message says; of a description, its devices come by `describe`."""
        base = self._base_of(heard.message.topic)
        speaker: LiveDevice | None = None
        for observation in heard.observations:
            known = self._known(observation, base)
            if known is None:
                self.refused += 1
            elif observation.measurement == AVAILABILITY and known.device.kind == "device":
                self._set_available(known, observation)
            else:
                self._observe(known, observation)
                speaker = known
        if speaker is not None and not heard.observations[0].stale:
            self._spoke(speaker, heard.observations[0], heard.message.retained)

    def _base_of(self, topic: str) -> str | None:
        return next((base for base in self._bases if topic.startswith(f"{base}/")), None)

    def _known(self, observation: Observation, base: str | None) -> LiveDevice | None:
        """The device, new or not; None where there is no room for a new one."""
        known = self._devices.get(observation.device)
        if known is None:
            if self._measurements >= self._settings.live.series:
                return None
            known = self._add(observation.device, observation.device_name, observation.received_at)
        if known.base is None and base is not None:
            known.base, known.network_up = base, self._networks.get(base)
        self._name(known, observation.device_name or observation.device.device_id, observation.model)
        return known

    def _name(self, known: LiveDevice, name: str, model: str | None) -> None:
        if (name, model or known.model) != (known.name, known.model):
            known.name, known.model = name, model or known.model
            self._touch(known)

    def _add(self, device: Device, name: str, now: int) -> LiveDevice:
        known = self._devices[device] = LiveDevice(device, name or device.device_id, now)
        self._touch(known)
        return known

    def _touch(self, known: LiveDevice) -> None:
        self._touched[known.device] = None

    def _set_available(self, known: LiveDevice, observation: Observation) -> None:
        available = None if observation.value is None else observation.value > 0
        if available != known.available:
            known.available = available
            self._touch(known)

    def _observe(self, known: LiveDevice, observation: Observation) -> None:
        measured = known.measurements.get(observation.measurement)
        if measured is None:
            if self._measurements >= self._settings.live.series:
                self.refused += 1
                return
            self._measurements += 1
            measured = known.measurements[observation.measurement] = Measured(None, None, None, None, "good")
            self._touch(known)
        if observation.stale:
            self._recall(known, measured, observation)
            return
        if measured.at is None or observation.event_time >= measured.at:
            _set(measured, observation, observation.event_time)
        if self._is_news(measured, observation):
            at = observation.event_time // 1_000
            self._points.append((known.key, observation.measurement, at, *_said(observation)))
        if known.device.kind == "bridge" and observation.measurement == STATE and observation.value is not None:
            self._set_network(known, observation.value > 0)

    def _recall(self, known: LiveDevice, measured: Measured, observation: Observation) -> None:
        """What the broker had kept says nothing of when: it holds until something newer is said."""
        if measured.at is None:
            _set(measured, observation, None)
            self._touch(known)

    def _is_news(self, measured: Measured, observation: Observation) -> bool:
        if observation.value is None:
            return True
        if measured.series is None:
            measured.series = Series(self._settings.live.points)
        return measured.series.add(observation.event_time // 1_000, observation.value)

    def _set_network(self, bridge: LiveDevice, up: bool) -> None:
        """What a Zigbee2MQTT said of its devices holds while it is there."""
        base = bridge.device.device_id
        bridge.available = up
        if self._networks.get(base) == up:
            return
        self._networks[base] = up
        self._touch(bridge)
        for known in self._devices.values():
            if known.base == base and known.device.kind == "device":
                known.network_up = up
                self._touch(known)

    def _spoke(self, known: LiveDevice, observation: Observation, retained: bool) -> None:
        """A message that was kept tells by its own time when the device spoke; else, when it came."""
        at = observation.event_time if retained else observation.received_at
        known.last_seen = max(at, known.last_seen or 0)
        known.remembered = False
        if not retained:
            known.messages += 1
            known.cadence.heard(at)
        if known.stale and not known.is_silent(observation.received_at, self._settings.live):
            known.stale = False
            self._touch(known)

    # -- what is described -------------------------------------------------------------------------------------------

    def describe(self, entries: Iterable[Entry], now: int) -> None:
        """The devices that all networks describe now: new ones, names, and who is gone."""
        named = {Device("device", entry.device_id): entry for entry in entries}
        for device, entry in named.items():
            known = self._devices.get(device) or self._add(device, entry.device_name, now)
            self._take_over(known, Device("device", entry.device_name), now)
            known.base, known.network_up = entry.base_topic, self._networks.get(entry.base_topic)
            known.remembered = False
            said = (entry.device_name, entry.model, entry.vendor, frozenset(entry.exposes))
            if said != (known.name, known.model, known.vendor, known.described):
                known.name, known.model, known.vendor, known.described = said
                self._touch(known)
        for known in [one for one in self._devices.values() if one.device not in named]:
            if known.described is not None or (known.remembered and _has_address(known)):
                self._remove(known)

    def _take_over(self, known: LiveDevice, by_name: Device, now: int) -> None:
        """A device that was known by its name until now is the one that is described."""
        other = self._devices.get(by_name)
        if other is None or other is known or other.described is not None:
            return
        self._remove(other)
        known.available = other.available if known.available is None else known.available
        known.messages += other.messages
        if other.last_seen and other.last_seen > (known.last_seen or 0):
            known.last_seen, known.cadence = other.last_seen, other.cadence
        for name, measured in other.measurements.items():
            if name not in known.measurements:
                known.measurements[name] = measured
                self._measurements += 1
                self._tell_again(known, name, measured)
        self._touch(known)

    def _tell_again(self, known: LiveDevice, name: str, measured: Measured) -> None:
        """Viewers have the history under the key that is gone."""
        for at, value in measured.series or ():
            self._points.append((known.key, name, at, value, None, measured.unit, "good"))

    def _remove(self, known: LiveDevice) -> None:
        del self._devices[known.device]
        self._measurements -= len(known.measurements)
        self._touched.pop(known.device, None)
        self._gone.append(known.key)
        self._points = [point for point in self._points if point[0] != known.key]

    # -- what the lake remembers -------------------------------------------------------------------------------------

    def remember(self, device: Device, name: str, now: int) -> LiveDevice | None:
        """The device, for its past to be put in; None where there is no room for a new one."""
        known = self._devices.get(device)
        if known is None and self._measurements < self._settings.live.series:
            known = self._add(device, name, now)
            known.remembered = True
        return known

    def remember_series(
        self, known: LiveDevice, measurement: str, unit: str | None, points: list[tuple[int, float]]
    ) -> None:
        """Points (milliseconds, value) from before the start."""
        measured = known.measurements.get(measurement)
        if measured is None:
            if self._measurements >= self._settings.live.series:
                return
            self._measurements += 1
            measured = known.measurements[measurement] = Measured(None, None, unit, None, "good")
        if measured.series is None:
            measured.series = Series(self._settings.live.points)
        measured.series.begin_with(points)
        at, value = max(points)
        if measured.at is None:
            measured.value, measured.unit, measured.at = value, unit, at * 1_000
        self._touch(known)

    # -- what the page is told ---------------------------------------------------------------------------------------

    def grow_stale(self, now: int) -> bool:
        """Whether somebody has been silent for too long since the last call."""
        changed = False
        for known in self._devices.values():
            if not known.stale and known.is_silent(now, self._settings.live):
                known.stale = changed = True
        return changed

    @property
    def stale(self) -> list[str]:
        return [known.key for known in self._devices.values() if known.stale]

    @property
    def has_news(self) -> bool:
        return bool(self._points or self._touched or self._gone)

    def drop_news(self) -> None:
        """Forget them: nobody is there to be told."""
        self._gone, self._touched, self._points = [], {}, []

    def take_news(self) -> Iterator[str]:
        """The frames that viewers have not had yet."""
        gone, touched, points = self._gone, self._touched, self._points
        self.drop_news()
        for key in gone:
            yield protocol.gone(key)
        for device in touched:
            if known := self._devices.get(device):
                yield protocol.device(known.told())
        if points:
            yield protocol.points(points)


def _has_address(known: LiveDevice) -> bool:
    """Whether it is one that a description would name."""
    return re.fullmatch(r"0x[0-9a-fA-F]{16}", known.device.device_id) is not None


def _set(measured: Measured, observation: Observation, at: int | None) -> None:
    measured.value, measured.text, measured.unit, measured.quality = _said(observation)
    measured.at = at


def _said(observation: Observation) -> tuple[float | None, str | None, str | None, str]:
    text = observation.text
    if text is not None and len(text) > TEXT_LENGTH:
        text = text[:TEXT_LENGTH] + "…"
    return observation.value, text, observation.unit, observation.quality

"""A simulated Zigbee2MQTT 2.x network: what it would publish, message by message, over simulated time.

Pure and reproducible: the same settings and the same start give the same bytes. Nothing here opens a socket;
`simulators` publishes what `Network.messages` yields.

The wire is the real one's (Zigbee2MQTT's documentation and recordings of it):

| what | QoS, retained |
|---|---|
| `bridge/state`, `<name>/availability`, `bridge/health` | 1, retained |
| `bridge/info`, `/devices`, `/groups`, `/converters`, `/extensions` | 0, retained |
| `<name>`: the device's whole cached state at each report, keys sorted | 0 |
| `bridge/logging`: a line with an escaped copy of each publication that is not of the bridge itself | 0 |
| `bridge/event`: a device announces itself when it is back | 0 |
| `<name>/set`: a command that somebody else publishes | 0 |

What happens in it, at simulated seconds since the start: a device is renamed at 600 and back three hours later
(empty retained payloads on the old topics, a new availability, `bridge/devices` anew, the state under the new
name); a plug falls out of radio reach at 240, is offline after a minute of silence, back at 480, and so again every
two hours; a television is switched off for the night by a command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from heapq import merge
from itertools import count
from random import Random
from typing import Any

from edge_assets.settings import SimulatorSettings
from edge_assets.sources import s60zbtpf, snzb04p
from edge_assets.sources.appliances import APPLIANCES, DAY_SECONDS, Appliance
from edge_assets.sources.exposes import Model
from edge_assets.sources.message import Message, encode
from edge_assets.sources.s60zbtpf import Plug
from edge_assets.sources.snzb04p import DoorContact

START = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)
"""When simulated time begins where nobody says otherwise."""

VERSION = "2.12.1"
COORDINATOR = "0x00124b0012d1a000"
GROUP = "All plugs"
DOOR_NAMES = ("front door", "Kitchen/Back Door", "Balkontür 🚪", "冷蔵庫")
PLUG_NAMES = ("kitchen/kettle", "washing_machine", "розетка ТВ", "fridge")
RENAMED = {"front door": "Hall/Front Door", "kitchen/kettle": "Office/kettle"}

RENAME_AT, RENAME_EVERY = 600.0, 10_800.0
GONE_AT, GONE_FOR, GONE_EVERY = 240.0, 240.0, 7_200.0
OFFLINE_AFTER = 75.0
"""Zigbee2MQTT's active timeout (a minute in this network's configuration), and the pings that follow it."""
HEALTH_SECONDS = 600.0

Action = Callable[[float], Iterable[Message]]
"""Something that happens at a simulated time, and what is published because of it."""


@dataclass(slots=True)
class Device:
    """One paired device: its identity, its present name, and the state that Zigbee2MQTT caches of it."""

    ieee_address: str
    name: str
    network_address: int
    model: Model
    behaviour: DoorContact | Plug
    state: dict[str, Any] = field(default_factory=dict)
    away: bool = False
    online: bool = True
    messages: int = 0


def events(simulators: SimulatorSettings, start: datetime = START) -> Iterator[Message]:
    """The messages of a network, in order of `at_seconds` (simulated seconds since `start`), without end.

    A plug reports each `interval_seconds` of *real* time, so in simulated time `speed` times as seldom.
    """
    return Network(simulators, start).messages()


def last_will(simulators: SimulatorSettings) -> Message:
    """What the broker publishes when the connection breaks, and the network itself before it stops."""
    return Message(0.0, f"{simulators.base_topic}/bridge/state", encode({"state": "offline"}), qos=1, retain=True)


class Network:
    """The devices, groups and names of one network."""

    def __init__(self, simulators: SimulatorSettings, start: datetime = START) -> None:
        self._base = simulators.base_topic
        self._start = start.timestamp()
        self._seed = f"{simulators.seed}"
        self._links = Random(f"{self._seed}/links")
        self._doors = [self._door(number) for number in range(simulators.doors)]
        interval = simulators.interval_seconds * simulators.speed
        self._plugs = [self._plug(number, interval) for number in range(simulators.plugs)]
        self._restless = next((device for device in self.devices if device.name in RENAMED), None)

    @property
    def devices(self) -> list[Device]:
        return [*self._doors, *self._plugs]

    def messages(self) -> Iterator[Message]:
        yield from self._greeting()
        for at, action in merge(*self._happenings(), key=lambda happening: happening[0]):
            yield from action(at)

    # --- devices ---------------------------------------------------------------------------------------------

    def _door(self, number: int) -> Device:
        address = f"0x00124b0031d0{number + 1:04x}"
        name = DOOR_NAMES[number] if number < len(DOOR_NAMES) else address
        return Device(address, name, 4_160 + number, snzb04p.MODEL, DoorContact(f"{self._seed}/{address}"))

    def _plug(self, number: int, interval_seconds: float) -> Device:
        address = f"0x00124b0031a6{number + 1:04x}"
        name = PLUG_NAMES[number] if number < len(PLUG_NAMES) else address
        appliance = Appliance(f"{self._seed}/{address}/appliance", APPLIANCES[number % len(APPLIANCES)])
        plug = Plug(f"{self._seed}/{address}", appliance, interval_seconds)
        return Device(address, name, 8_260 + number, s60zbtpf.MODEL, plug)

    # --- what happens, as streams of (at, action) ------------------------------------------------------------

    def _happenings(self) -> Iterator[Iterator[tuple[float, Action]]]:
        for device in self.devices:
            yield self._reports(device)
        for plug in self._plugs:
            yield self._switchings(plug)
        if self._restless:
            yield self._renames(self._restless)
        if self._plugs:
            yield self._absences(self._plugs[-1])
        yield ((number * HEALTH_SECONDS, self._health) for number in count(1))

    def _reports(self, device: Device) -> Iterator[tuple[float, Action]]:
        for at, properties in device.behaviour.reports(self._start):
            yield at, partial(self._report, device, properties)

    def _switchings(self, device: Device) -> Iterator[tuple[float, Action]]:
        assert isinstance(device.behaviour, Plug)
        appliance = device.behaviour.appliance
        for day in count(int(self._start // DAY_SECONDS)):
            for at, on in appliance.switchings(day):
                if at >= self._start:
                    yield round(at - self._start, 3), partial(self._switch, device, "ON" if on else "OFF")
            # Many days have none: without this the search for the next would not end.
            yield (day + 1) * DAY_SECONDS - self._start, _nothing

    def _renames(self, device: Device) -> Iterator[tuple[float, Action]]:
        names = (RENAMED[device.name], device.name)
        for number in count():
            yield RENAME_AT + number * RENAME_EVERY, partial(self._rename, device, names[number % 2])

    def _absences(self, device: Device) -> Iterator[tuple[float, Action]]:
        for number in count():
            at = GONE_AT + number * GONE_EVERY
            yield at, partial(self._vanish, device)
            yield at + OFFLINE_AFTER, partial(self._go_offline, device)
            yield at + GONE_FOR, partial(self._return, device)

    # --- actions ---------------------------------------------------------------------------------------------

    def _greeting(self) -> Iterator[Message]:
        """What a Zigbee2MQTT that starts publishes. It caches no states yet: devices are silent until they report."""
        yield self._bridge(0.0, "state", {"state": "online"}, qos=1)
        yield self._bridge(0.0, "info", self._info())
        yield self._devices(0.0)
        yield self._bridge(0.0, "groups", self._groups())
        yield self._bridge(0.0, "converters", [])
        yield self._bridge(0.0, "extensions", [])
        if self._restless:  # a run before this one may have left its other name behind in the broker
            yield from self._forget(0.0, RENAMED[self._restless.name])
        for device in self.devices:
            yield from self._availability(0.0, device)
        if self._plugs:
            yield from self._say(0.0, f"{GROUP}/availability", encode({"state": "online"}), qos=1, retain=True)

    def _report(self, device: Device, properties: dict[str, Any], at: float) -> Iterator[Message]:
        """One Zigbee report: the properties join the cached state, and all of it is published."""
        if device.away:
            return
        device.messages += 1
        device.state |= properties | {"linkquality": self._links.choice((105, 112, 112, 112, 118))}
        yield from self._say(at, device.name, encode(device.state))
        if not device.online:
            device.online = True
            yield from self._availability(at, device)

    def _switch(self, device: Device, state: str, at: float) -> Iterator[Message]:
        """Somebody commands a plug; it answers with its state, and so does its group."""
        if device.away:
            return
        yield Message(at, f"{self._base}/{device.name}/set", encode({"state": state}))
        yield from self._report(device, {"state": state}, at)
        yield from self._say(at, GROUP, encode({"state": state}))

    def _rename(self, device: Device, name: str, at: float) -> Iterator[Message]:
        old, device.name = device.name, name
        yield from self._forget(at, old)
        yield from self._availability(at, device)
        yield self._devices(at)
        if device.state:
            yield from self._say(at, name, encode(device.state))
        answer = {"data": {"from": old, "homeassistant_rename": False, "to": name}, "status": "ok"}
        yield self._bridge(at, "response/device/rename", answer, retain=False)

    def _vanish(self, device: Device, at: float) -> Iterable[Message]:
        device.away = True
        return ()

    def _go_offline(self, device: Device, at: float) -> Iterator[Message]:
        device.online = False
        yield from self._availability(at, device)

    def _return(self, device: Device, at: float) -> Iterator[Message]:
        device.away = False
        device.online = True
        data = {"friendly_name": device.name, "ieee_address": device.ieee_address}
        yield self._bridge(at, "event", {"data": data, "type": "device_announce"}, retain=False)
        yield from self._availability(at, device)
        yield from self._report(device, {}, at)

    def _health(self, at: float) -> Iterator[Message]:
        devices = {
            device.ieee_address: {
                "messages": device.messages,
                "messages_per_sec": round(device.messages / at, 4),
                "leave_count": 0,
                "network_address_changes": 0,
            }
            for device in self.devices
        }
        health = {
            "response_time": int((self._start + at) * 1_000),
            "os": {"load_average": [0.21, 0.18, 0.15], "memory_used_mb": 1_412.5, "memory_percent": 37.2},
            "process": {"uptime_sec": int(at), "memory_used_mb": 118.4, "memory_percent": 3.1},
            "mqtt": {"connected": True, "queued": 0, "published": sum(d.messages for d in self.devices)},
            "devices": devices,
        }
        yield self._bridge(at, "health", health, qos=1)

    # --- messages --------------------------------------------------------------------------------------------

    def _bridge(self, at: float, name: str, value: Any, qos: int = 0, retain: bool = True) -> Message:
        return Message(at, f"{self._base}/bridge/{name}", encode(value), qos, retain)

    def _say(self, at: float, name: str, payload: bytes, qos: int = 0, retain: bool = False) -> Iterator[Message]:
        """A publication, and before it the log line that quotes it."""
        topic = f"{self._base}/{name}"
        line = f"z2m:mqtt: MQTT publish: topic '{topic}', payload '{payload.decode()}'"
        yield self._bridge(at, "logging", {"level": "info", "message": line}, retain=False)
        yield Message(at, topic, payload, qos, retain)

    def _availability(self, at: float, device: Device) -> Iterator[Message]:
        state = encode({"state": "online" if device.online else "offline"})
        return self._say(at, f"{device.name}/availability", state, qos=1, retain=True)

    def _forget(self, at: float, name: str) -> Iterator[Message]:
        """Empty the retained topics of a name that is given up: tombstones."""
        yield from self._say(at, name, b"", retain=True)
        yield from self._say(at, f"{name}/availability", b"", qos=1, retain=True)

    def _devices(self, at: float) -> Message:
        coordinator = {
            "disabled": False,
            "endpoints": {"1": _endpoint(())},
            "friendly_name": "Coordinator",
            "ieee_address": COORDINATOR,
            "interview_completed": True,
            "interview_state": "SUCCESSFUL",
            "interviewing": False,
            "network_address": 0,
            "supported": True,
            "type": "Coordinator",
        }
        return self._bridge(at, "devices", [coordinator, *map(_entry, self.devices)])

    def _groups(self) -> list[dict[str, Any]]:
        if not self._plugs:
            return []
        members = [{"endpoint": 1, "ieee_address": plug.ieee_address} for plug in self._plugs]
        return [{"friendly_name": GROUP, "id": 1, "members": members, "scenes": []}]

    def _info(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "commit": "simulated",
            "log_level": "info",
            "permit_join": False,
            "restart_required": False,
            "coordinator": {"ieee_address": COORDINATOR, "meta": {"revision": 20240710}, "type": "ZStack3x0"},
            "network": {"channel": 15, "extended_pan_id": "0x00124b0000000001", "pan_id": 6_754},
            "config": {
                "advanced": {"cache_state": True, "elapsed": False, "last_seen": "disable", "output": "json"},
                "availability": {"enabled": True, "active": {"timeout": 1}, "passive": {"timeout": 1_500}},
                "devices": {device.ieee_address: {"friendly_name": device.name} for device in self.devices},
                "groups": {"1": {"friendly_name": GROUP}} if self._plugs else {},
                "mqtt": {"base_topic": self._base, "include_device_information": False},
            },
        }


def _nothing(at: float) -> Iterable[Message]:
    return ()


def _endpoint(clusters: tuple[str, ...]) -> dict[str, Any]:
    return {
        "bindings": [],
        "clusters": {"input": list(clusters), "output": []},
        "configured_reportings": [],
        "scenes": [],
    }


def _entry(device: Device) -> dict[str, Any]:
    """A device in `bridge/devices`."""
    model = device.model
    return {
        "date_code": model.firmware_date,
        "definition": {
            "description": model.description,
            "exposes": list(model.exposes),
            "model": model.name,
            "options": [],
            "source": "native",
            "supports_ota": True,
            "vendor": model.vendor,
            "version": "0.0.0",
        },
        "disabled": False,
        "endpoints": {"1": _endpoint(model.clusters)},
        "friendly_name": device.name,
        "ieee_address": device.ieee_address,
        "interview_completed": True,
        "interview_state": "SUCCESSFUL",
        "interviewing": False,
        "manufacturer": model.vendor,
        "model_id": model.name,
        "network_address": device.network_address,
        "power_source": model.power_source,
        "software_build_id": model.firmware,
        "supported": True,
        "type": model.zigbee_type,
    }

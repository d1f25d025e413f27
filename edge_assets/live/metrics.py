"""Metrics of devices and of the live server for Prometheus, as `METRICS` lists them.

Every device, room and Zigbee2MQTT has the `edge_device_*` ones; a Zigbee device has also those by which dashboards for
existing exporters know it. What is not known has no sample. A `device` is the name that people gave it, which can be
any text; `device_id` is what stays when it is renamed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge_assets.listening.heard import STATE
from edge_assets.live.device import LiveDevice

_WHO = ("kind", "device", "device_id")
_ZIGBEE = ("device", "device_id")

log = logging.getLogger(__name__)


class Described(NamedTuple):
    name: str
    type: Literal["gauge", "counter"]
    labels: tuple[str, ...]
    help: str


METRICS = (
    Described(
        "zigbee_sensor_available", "gauge", _ZIGBEE, "1: its Zigbee2MQTT says that it is there, 0: that it is not"
    ),
    Described("zigbee2mqtt_device_up", "gauge", _ZIGBEE, "the same, by the name that existing exporters use"),
    Described("zigbee2mqtt_device_link_quality", "gauge", _ZIGBEE, "link quality, 0 to 255"),
    Described("zigbee2mqtt_device_battery_level", "gauge", _ZIGBEE, "battery, percent"),
    Described("zigbee2mqtt_device_last_seen_timestamp", "gauge", _ZIGBEE, "when it last spoke, seconds since 1970 UTC"),
    Described("zigbee2mqtt_device_info", "gauge", (*_ZIGBEE, "model", "vendor"), "1 for each device"),
    Described("zigbee2mqtt_bridge_up", "gauge", ("base_topic",), "1: the Zigbee2MQTT is online, 0: offline"),
    Described("zigbee2mqtt_bridge_health", "gauge", ("base_topic", "figure"), "numbers of its health report, by name"),
    Described("edge_device_available", "gauge", _WHO, "1: its network says that it is there, 0: that it is not"),
    Described("edge_device_stale", "gauge", _WHO, "1: silent for longer than can be its way"),
    Described("edge_device_last_seen_timestamp_seconds", "gauge", _WHO, "when it last spoke, seconds since 1970 UTC"),
    Described("edge_device_messages_total", "counter", _WHO, "messages with readings since the live server started"),
    Described("edge_device_battery_percent", "gauge", _WHO, "battery, percent"),
    Described("edge_device_link_quality", "gauge", _WHO, "link quality as its network counts it; Zigbee: 0 to 255"),
    Described(
        "edge_device_measurement",
        "gauge",
        (*_WHO, "measurement", "unit"),
        "the latest value of each measurement that is a number, 0 or 1 of two-valued ones; without implausible ones",
    ),
    Described("edge_live_devices", "gauge", (), "devices, rooms and Zigbee2MQTTs that the live page shows"),
    Described("edge_live_stale_devices", "gauge", (), "how many of them are stale"),
    Described("edge_live_open_alerts", "gauge", (), "alerts that have fired and not cleared"),
    Described("edge_live_viewers", "gauge", (), "pages that are open"),
    Described("edge_live_broker_up", "gauge", (), "1: the live server is connected to the MQTT broker"),
    Described("edge_live_messages_total", "counter", (), "MQTT messages heard"),
    Described("edge_live_dropped_messages_total", "counter", (), "MQTT messages that the server was too slow for"),
    Described("edge_live_refused_values_total", "counter", (), "values of measurements beyond EDGE_LIVE__SERIES"),
    Described("edge_live_frames_total", "counter", (), "frames made for the page"),
    Described("edge_live_frames_sent_total", "counter", (), "frames handed to viewers"),
    Described("edge_live_resyncs_total", "counter", (), "times that a viewer was too slow and missed frames"),
    Described("edge_live_cut_off_total", "counter", (), "viewers cut off for taking nothing"),
)
"""All of them: name, type, labels, and what it says."""

_BY_NAME = {metric.name: metric for metric in METRICS}


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    labels: tuple[str, ...]
    value: float


class Samples(Collector):
    """Serves the samples that were taken last: taking is the server's thread's, putting them into words another's."""

    def __init__(self) -> None:
        self.latest: list[Sample] = []

    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for sample in self.latest:
            if sample.name not in families:
                families[sample.name] = _family(_BY_NAME[sample.name])
            families[sample.name].add_metric(sample.labels, sample.value)
        yield from families.values()


class Guarded(Collector):
    """Another's metrics beside ours: where they fail, ours still stand."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._failing = False

    def collect(self) -> Iterable[Metric]:
        try:
            found = list(self._collector.collect())
        except Exception:
            if not self._failing:
                log.exception("metrics of the platform could not be taken")
            self._failing = True
            return []
        self._failing = False
        return found


def registry(samples: Samples, *others: Collector) -> CollectorRegistry:
    """A registry of our own. What registers itself with the library's default one is of no use here."""
    made = CollectorRegistry()
    for collector in (samples, *map(Guarded, others)):
        made.register(collector)
    return made


def _family(about: Described) -> GaugeMetricFamily | CounterMetricFamily:
    if about.type == "counter":
        return CounterMetricFamily(about.name, about.help, labels=about.labels)
    return GaugeMetricFamily(about.name, about.help, labels=about.labels)


def samples_of(devices: Iterable[LiveDevice], server: dict[str, float]) -> list[Sample]:
    """All samples of now. `server`: those of the server itself by name."""
    found = [Sample(name, (), value) for name, value in server.items()]
    for known in devices:
        found += _of_device(known)
        if known.device.kind == "bridge":
            found += _of_bridge(known)
        elif known.base is not None:
            found += _of_zigbee(known)
    return found


def _of_device(known: LiveDevice) -> Iterator[Sample]:
    who = (known.device.kind, known.name, known.device.device_id)
    for name, value in (
        ("available", known.said_available),
        ("stale", known.stale),
        ("last_seen_timestamp_seconds", _seconds(known)),
        ("messages_total", known.messages),
        ("battery_percent", _number(known, "battery")),
        ("link_quality", _number(known, "linkquality")),
    ):
        if value is not None:
            yield Sample(f"edge_device_{name}", who, float(value))
    for measurement, measured in known.measurements.items():
        value = _number(known, measurement)
        if value is not None:
            yield Sample("edge_device_measurement", (*who, measurement, measured.unit or ""), value)


def _of_zigbee(known: LiveDevice) -> Iterator[Sample]:
    who = (known.name, known.device.device_id)
    available = known.said_available
    for name, value in (
        ("zigbee_sensor_available", available),
        ("zigbee2mqtt_device_up", available),
        ("zigbee2mqtt_device_link_quality", _number(known, "linkquality")),
        ("zigbee2mqtt_device_battery_level", _number(known, "battery")),
        ("zigbee2mqtt_device_last_seen_timestamp", _seconds(known)),
    ):
        if value is not None:
            yield Sample(name, who, float(value))
    yield Sample("zigbee2mqtt_device_info", (*who, known.model or "", known.vendor or ""), 1.0)


def _of_bridge(known: LiveDevice) -> Iterator[Sample]:
    for name in known.measurements:
        value = _number(known, name)
        if value is None:
            continue
        if name == STATE:
            yield Sample("zigbee2mqtt_bridge_up", (known.device.device_id,), value)
        else:
            yield Sample("zigbee2mqtt_bridge_health", (known.device.device_id, name), value)


def _number(known: LiveDevice, measurement: str) -> float | None:
    measured = known.measurements.get(measurement)
    if measured is None or measured.value is None or "implausible" in measured.quality.split(" "):
        return None
    return measured.value if math.isfinite(measured.value) else None


def _seconds(known: LiveDevice) -> float | None:
    return None if known.last_seen is None else known.last_seen / 1e6

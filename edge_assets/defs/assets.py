"""The way of a reading as Dagster's assets: sources → broker → log → bronze → silver, one group per hop.

All of them are external: no run of Dagster makes them, the services do, without pause. Dagster shows what they are,
where they lie, what they come from, and whether they still move. What a service has added is reported by
`edge_assets.defs.reporting`; what is *in* them is checked by `edge_assets.defs.checks`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import takewhile
from typing import Any

import dagster as dg

from edge_assets.decoding.patterns import is_template
from edge_assets.defs import addresses, columns, groups
from edge_assets.defs.words import service_stale, stream_writer, told
from edge_assets.settings import ALERTS_FILTER, Route, Settings
from edge_assets.tables import (
    ALERTS,
    BRONZE_EVENTS,
    DEAD_LETTERS,
    DEVICE_STATES,
    DEVICES,
    READINGS,
    ROOM_TELEMETRY,
    TABLES,
    Table,
)

BROKER = dg.AssetKey(["broker", "mqtt"])
ALERT_EVENTS = dg.AssetKey(["alerts", "events"])

TABLE_SOURCES: Mapping[str, Sequence[str]] = {
    BRONZE_EVENTS.full_name: (),
    DEAD_LETTERS.full_name: (),
    DEVICES.full_name: (BRONZE_EVENTS.full_name,),
    READINGS.full_name: (BRONZE_EVENTS.full_name, DEVICES.full_name),
    ROOM_TELEMETRY.full_name: (BRONZE_EVENTS.full_name,),
    DEVICE_STATES.full_name: (BRONZE_EVENTS.full_name, DEVICES.full_name),
    ALERTS.full_name: (BRONZE_EVENTS.full_name,),
}
"""what each table comes from; () is the log itself"""

TABLE_WORDS = {
    BRONZE_EVENTS.full_name: "Every record of the log, as the wire carried it, each with its one outcome.",
    DEAD_LETTERS.full_name: "Records that nobody could read, with their bytes and the reason; `edge redrive` puts "
    "them through once they can be. Empty is good: fresh means that the stream writer has looked.",
    DEVICES.full_name: "The registry: who each device is, what it measures and in which unit, and since when. It "
    "changes when devices do; fresh means that the stream writer has looked.",
    ROOM_TELEMETRY.full_name: "What the rooms say, one row per message, typed. A field that is new in the messages "
    "becomes a column. Empty where no room speaks.",
    DEVICE_STATES.full_name: "What devices had said of themselves before the bridge subscribed (retained messages "
    "without a time of their own): known, but no readings. Grows when the bridge gets a new session.",
    ALERTS.full_name: "What the alerter said: one row for each alert that fired, was cleared, was handed to people or "
    "was acknowledged. Empty is good: fresh means that the stream writer has looked.",
    READINGS.full_name: "One measurement of one device at one time, with its unit and its source position: the "
    "table to ask.",
}

STEADY = dg.FreshnessPolicy.time_window(warn_window=timedelta(minutes=10), fail_window=timedelta(minutes=20))
"""for a network in which something reports every few seconds: one report missed, or three"""

OWN_NETWORK = dg.FreshnessPolicy.time_window(warn_window=timedelta(minutes=25), fail_window=timedelta(hours=1))
"""Zigbee2MQTT publishes its own health every 10 minutes, whatever the devices do: two of them missed, or six"""

OWN_READINGS = dg.FreshnessPolicy.time_window(warn_window=timedelta(hours=3), fail_window=timedelta(hours=9))
"""the most silent home has a few door contacts, which report their battery every hour or few"""

QUIET = dg.FreshnessPolicy.time_window(warn_window=timedelta(hours=3), fail_window=timedelta(hours=9))
"""for what rightly stays as it is: it is reported hourly while the service that would write it moves"""


def network_key(route: Route) -> dg.AssetKey:
    """The devices behind a route: `zigbee2mqtt/#` → devices/zigbee2mqtt, `building/+/telemetry` → devices/building."""
    if route.filter == ALERTS_FILTER:
        return ALERT_EVENTS
    levels = list(takewhile(lambda level: level not in ("#", "+"), route.filter.split("/")))
    return dg.AssetKey(["devices", *(level for level in levels if level), *([] if any(levels) else ["all"])])


def topic_key(topic: str) -> dg.AssetKey:
    """A Kafka topic; those of a template are one asset: `telemetry.<room>` → log/telemetry."""
    return dg.AssetKey(["log", topic.split(".<")[0] if is_template(topic) else topic])


def table_key(full_name: str) -> dg.AssetKey:
    return dg.AssetKey(full_name.split("."))


def kept_routes(settings: Settings) -> list[Route]:
    """The routes whose messages are kept, one per network."""
    return list({network_key(route): route for route in settings.bridge.routes if route.topic}.values())


def topics(settings: Settings) -> list[str]:
    """The Kafka topics that readings travel through; the dead-letter topic is not among them."""
    return list(dict.fromkeys(route.topic for route in settings.bridge.routes if route.topic))


def alert_topics(settings: Settings) -> set[str]:
    """The Kafka topic of alerts, which is rightly quiet; none where a route drops them."""
    return {route.topic for route in settings.bridge.routes if route.topic and network_key(route) == ALERT_EVENTS}


def asset_specs(settings: Settings) -> list[dg.AssetSpec]:
    """Every hop of the way that these settings describe, in its order."""
    return [
        *(
            _alert_events(settings) if network_key(route) == ALERT_EVENTS else _network(settings, route)
            for route in kept_routes(settings)
        ),
        _broker(settings),
        *(_topic(settings, topic) for topic in topics(settings)),
        _dead_letter_topic(settings),
        *(_table(settings, table) for table in TABLES),
    ]


def is_steady(settings: Settings) -> bool:
    """Whether something is known to report every few seconds: a simulated plug, and not slowed down."""
    return settings.simulators.enabled and settings.simulators.plugs > 0 and settings.simulators.interval_seconds <= 60


def _moving(settings: Settings) -> dg.FreshnessPolicy:
    return STEADY if is_steady(settings) else OWN_NETWORK


def _network(settings: Settings, route: Route) -> dg.AssetSpec:
    simulated = settings.simulators.base_of(route.filter) is not None
    zigbee = route.filter.split("/")[0] in settings.stream.base_topics
    what = "Zigbee devices, as Zigbee2MQTT publishes them" if zigbee else "Devices, as they publish"
    by = "the service `simulators`: these devices are simulated" if simulated else "the devices, as often as each likes"
    stale = (
        service_stale("simulators", first=True)
        if simulated
        else "is the network's own gateway running (Zigbee2MQTT, the node's firmware), and does it reach the broker? "
        "The live page and `device_health` say which devices are silent."
    )
    return dg.AssetSpec(
        network_key(route),
        group_name=groups.SOURCES,
        description=told(f"{what}: the MQTT topics `{route.filter}`.", by=by, stale=stale),
        kinds={"mqtt", *({"zigbee"} if zigbee else ())},
        owners=[owner(settings)],
        freshness_policy=_moving(settings),
        metadata={
            addresses.URI: addresses.mqtt(settings, route.filter),
            "MQTT topics": route.filter,
            "written by": "simulators" if simulated else "the devices",
        },
    )


def _alert_events(settings: Settings) -> dg.AssetSpec:
    networks = [network_key(route) for route in kept_routes(settings) if network_key(route) != ALERT_EVENTS]
    return dg.AssetSpec(
        ALERT_EVENTS,
        deps=networks,
        group_name=groups.SOURCES,
        description=told(
            "What the alerter says of devices, by the rules: it hears them at the broker itself, and publishes "
            f"each alert on `{ALERTS_FILTER}`. Empty is good: fresh means that the alerter listens.",
            row="one event of one alert: it fired, was told, acknowledged, cleared",
            by="the service `alerter`, within a second of what it hears",
            stale=service_stale("alerter"),
        ),
        kinds={"mqtt"},
        owners=[owner(settings)],
        freshness_policy=QUIET if settings.alerts.enabled else None,
        metadata={
            addresses.URI: addresses.mqtt(settings, ALERTS_FILTER),
            "MQTT topics": ALERTS_FILTER,
            "written by": "alerter",
        },
    )


def _broker(settings: Settings) -> dg.AssetSpec:
    own = settings.mqtt.host
    runs = "your own, which the platform does not start" if own else "embedded: `edge up` starts it, and keeps it up"
    return dg.AssetSpec(
        BROKER,
        deps=[network_key(route) for route in kept_routes(settings)],
        group_name=groups.BROKER,
        description=told(
            "The MQTT broker: hands each message to the bridge, and queues for it while it is away.",
            by=f"devices and services, as they publish. It is {runs}. The bridge reports it",
            stale="does the broker answer (`edge doctor`, `edge status`)? " + service_stale("bridge"),
        ),
        kinds={"mqtt"},
        owners=[owner(settings)],
        freshness_policy=_moving(settings),
        metadata={
            addresses.URI: addresses.mqtt(settings),
            "where": f"{own}:{settings.mqtt.port or 1883}" if own else f"embedded, on {settings.mqtt.bind}",
            "queues at most": f"{settings.mqtt.queue_max_messages:,} messages",
        },
    )


def _topic(settings: Settings, topic: str) -> dg.AssetSpec:
    filters = ", ".join(route.filter for route in settings.bridge.routes if route.topic == topic)
    what = (
        f"The Kafka {'topics' if is_template(topic) else 'topic'} `{topic}`: each message of `{filters}` "
        "byte for byte, once, in order."
    )
    freshness = QUIET if topic in alert_topics(settings) else _moving(settings)
    return _topic_spec(settings, topic, what, freshness)


def _dead_letter_topic(settings: Settings) -> dg.AssetSpec:
    topic = settings.bridge.dead_letter_topic
    what = (
        f"The Kafka topic `{topic}`: messages over the log's limit of {settings.kafka.max_message_bytes:,} bytes, "
        "kept. Empty is good: fresh means that the bridge carries."
    )
    return _topic_spec(settings, topic, what, QUIET)


def _topic_spec(settings: Settings, topic: str, what: str, freshness: dg.FreshnessPolicy) -> dg.AssetSpec:
    return dg.AssetSpec(
        topic_key(topic),
        deps=[BROKER],
        group_name=groups.LOG,
        description=told(
            what,
            row="one MQTT message: its payload, the MQTT topic as the key, what the bridge knew as headers",
            by="the service `bridge`, as messages come",
            stale=service_stale("bridge"),
        ),
        kinds={"kafka"},
        owners=[owner(settings)],
        freshness_policy=freshness,
        metadata={
            addresses.URI: addresses.kafka(settings, topic),
            "where": settings.kafka.bootstrap or "embedded, on 127.0.0.1",
            "kept for": f"{settings.kafka.retention_hours} hours",
            "written by": "bridge",
        },
    )


def _table(settings: Settings, table: Table) -> dg.AssetSpec:
    sources = [table_key(name) for name in TABLE_SOURCES[table.full_name]]
    from_log = [topic_key(name) for name in (*topics(settings), settings.bridge.dead_letter_topic)]
    words, freshness = TABLE_WORDS[table.full_name], _table_freshness(settings, table)
    made = columns.taken_over(table) if table_key(BRONZE_EVENTS.full_name) in sources else {}
    return table_spec(settings, table, words, sources or from_log, freshness, made)


def table_spec(
    settings: Settings,
    table: Table,
    words: str,
    sources: Sequence[dg.AssetKey],
    freshness: dg.FreshnessPolicy,
    made: Mapping[str, Any] | None = None,
) -> dg.AssetSpec:
    """A table of the lake that the stream writer writes; `made`: metadata that says what its columns come from."""
    return dg.AssetSpec(
        table_key(table.full_name),
        deps=sources,
        group_name=groups.LAYERS[table.layer],
        description=told(
            words,
            row=table.row,
            by=stream_writer(settings),
            stale=service_stale("stream_writer") + " `edge verify` says whether anything is missing.",
        ),
        kinds={"delta", "spark"},
        owners=[owner(settings)],
        freshness_policy=freshness,
        metadata={
            addresses.URI: str(settings.lake_path / table.layer / table.name),
            "dagster/table_name": table.full_name,
            columns.SCHEMA: columns.column_schema(table.columns),
            "partitioned by": ", ".join(table.partitioned_by) or "nothing",
            "written by": "stream_writer",
            "asked with": f'edge sql "from {table.full_name} limit 10"',
            **(made or {}),
        },
    )


def _table_freshness(settings: Settings, table: Table) -> dg.FreshnessPolicy:
    if table in (DEAD_LETTERS, DEVICES, DEVICE_STATES, ALERTS):
        return QUIET
    if table is READINGS and not is_steady(settings):
        return OWN_READINGS
    return _moving(settings)


def owner(settings: Settings) -> str:
    """Who looks after it: who the settings name, else the people of this place."""
    return settings.dagster.owner or "team:" + (re.sub(r"[^\w-]+", "_", settings.site) or "home")

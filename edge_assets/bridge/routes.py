"""Which Kafka topic a message goes to: the first route whose filter matches its MQTT topic.

The bridge knows routes, not payloads. What must be subscribed to follows from the routes. A route may name its Kafka
topics after its messages (`telemetry.<room>`): one that is not known yet has to be opened first (`Router.opened`),
since a topic is fenced and its tail read before anything is written to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from edge_assets.bridge.topic_filter import TopicFilter, disjoint_cover
from edge_assets.decoding.patterns import is_template, kafka_topic, names_in, template_regex
from edge_assets.errors import SettingsError
from edge_assets.settings import BridgeSettings, Route

REMEMBERED_TOPICS = 10_000
OTHER = "other"
"""in the place of a name, once a route has made as many topics as it may"""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a message goes: a Kafka topic, or None with the reason why nowhere. `unopened`: the topic to open first."""

    topic: str | None
    reason: str = ""
    unopened: str = ""


NO_ROUTE = Destination(None, "no_route")
NULL_ROUTE = Destination(None, "null_route")


class Router:
    """The routes, parsed. Raises `SettingsError` naming the filter that is none."""

    def __init__(self, settings: BridgeSettings) -> None:
        self._routes = [(_parsed(route), route) for route in settings.routes]
        self._max_topics = settings.max_topics
        self._opened: frozenset[str] = frozenset()
        if not any(route.topic for route in settings.routes):
            raise SettingsError(
                "setting EDGE_BRIDGE__ROUTES: no route has a Kafka topic, so the bridge has nothing to do; "
                'give at least one, for example [{"filter": "zigbee2mqtt/#"}]'
            )
        wanted = [parsed for parsed, route in self._routes if route.topic is not None]
        self.subscription = tuple(str(one) for one in disjoint_cover(wanted))
        self._found: dict[bytes, Destination] = {}

    def kafka_topics(self, there: Iterable[str]) -> dict[str, float | None]:
        """The topics that may be written to, with their retention in hours: those that the settings name, and those
        of templates that are `there`, in Kafka, already."""
        return topics_of([route for _, route in self._routes], there)

    def opened(self, topics: Iterable[str]) -> None:
        """These are ready to be written to."""
        self._opened = frozenset(topics)
        self._found.clear()

    def destination(self, topic: bytes) -> Destination:
        """Where a message on this MQTT topic goes; remembered, since a network has few topics."""
        found = self._found.get(topic)
        if found is None:
            if len(self._found) >= REMEMBERED_TOPICS:
                self._found.clear()
            found = self._found[topic] = self._find(topic.decode("utf-8", "surrogateescape"))
        return found

    def _find(self, topic: str) -> Destination:
        for parsed, route in self._routes:
            if parsed.matches(topic):
                return self._of(route, topic)
        return NO_ROUTE

    def _of(self, route: Route, topic: str) -> Destination:
        if route.topic is None:
            return NULL_ROUTE
        if route.parsed is None or not is_template(route.topic):
            return Destination(route.topic)
        wanted = kafka_topic(route.topic, route.parsed, topic)
        made = topics_of([route], self._opened)
        if wanted not in made and len(made) >= self._max_topics:
            wanted = route.topic
            for name in names_in(route.topic):
                wanted = wanted.replace(f"<{name}>", OTHER)
        return Destination(wanted) if wanted in self._opened else Destination(None, unopened=wanted)


def topics_of(routes: Iterable[Route], there: Iterable[str]) -> dict[str, float | None]:
    """Kafka topic → retention in hours (None: Kafka's own) of all topics of these routes; of templates, those that
    are `there`."""
    there = list(there)
    found: dict[str, float | None] = {}
    for route in routes:
        if route.topic and is_template(route.topic):
            of_route = [name for name in there if re.fullmatch(template_regex(route.topic), name)]
        else:
            of_route = [route.topic] if route.topic else []
        for name in of_route:
            found.setdefault(name, route.retention_hours)
    return found


def _parsed(route: Route) -> TopicFilter:
    try:
        return TopicFilter.parse(route.filter)
    except ValueError as error:
        raise SettingsError(
            f"setting EDGE_BRIDGE__ROUTES: {route.filter!r} is not an MQTT topic filter: {error}; "
            "see section 4.7 of MQTT 3.1.1"
        ) from error

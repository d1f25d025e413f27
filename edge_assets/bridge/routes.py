"""Which Kafka topic a message goes to: the first route whose filter matches its MQTT topic.

The bridge knows routes, not payloads. What must be subscribed to follows from the routes. A route may name its Kafka
topics after its messages (`telemetry.<room>`): one that is not known yet has to be opened first (`Router.opened`),
since a topic is fenced and its tail read before anything is written to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edge_assets.bridge.topic_filter import TopicFilter, disjoint_cover
from edge_assets.decoding.patterns import is_template, kafka_topic, names_in
from edge_assets.errors import SettingsError
from edge_assets.platform.log import topics_of
from edge_assets.settings import ALERTS_FILTER, BridgeSettings, Route

REMEMBERED_TOPICS = 10_000
OTHER = "other"
"""in the place of a name, once a route has made as many topics as it may"""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a message goes: a Kafka topic, or None with the reason why nowhere. `unopened`: the topic to open first;
    `route`: the number of the route that says so."""

    topic: str | None
    reason: str = ""
    unopened: str = ""
    route: int = 0


NO_ROUTE = Destination(None, "no_route")
NULL_ROUTE = Destination(None, "null_route")


class Router:
    """The routes, parsed. Raises `SettingsError` naming the filter that is none."""

    def __init__(self, settings: BridgeSettings) -> None:
        self._routes = [(_parsed(route), route) for route in settings.routes]
        self._max_topics = settings.max_topics
        self.sent = [0] * len(self._routes)
        """messages that each route has sent on, since the service's start"""
        self._opened: frozenset[str] = frozenset()
        self._there: frozenset[str] = frozenset()
        if not any(route.topic for route in settings.routes if route.filter != ALERTS_FILTER):
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

    def openable(self, new: Iterable[str], there: Iterable[str]) -> list[str]:
        """Those of the `new` topics that may be made beside those that are `there`; messages of the others go to
        `OTHER` once that is seen."""
        taken: list[str] = []
        for topic in sorted(new):
            beside = [*there, *taken]
            fits = (route for _, route in self._routes if topic in topics_of([route], [topic]))
            if all(self._has_room(route, topic, beside) for route in fits):
                taken.append(topic)
        return taken

    def _has_room(self, route: Route, topic: str, there: Iterable[str]) -> bool:
        if topic == _other(route):
            return True
        made = {*topics_of([route], there)} - {topic, _other(route)}
        return len(made) < self._max_topics and not collides(topic, there)

    def opened(self, topics: Iterable[str], there: Iterable[str]) -> None:
        """`topics` are ready to be written to; `there` are all that Kafka has."""
        self._opened, self._there = frozenset(topics), frozenset(there)
        self._found.clear()

    def sent_by_filter(self) -> dict[str, int]:
        return {route.filter: number for (_, route), number in zip(self._routes, self.sent, strict=True) if route.topic}

    def destination(self, topic: bytes) -> Destination:
        """Where a message on this MQTT topic goes; remembered, since a network has few topics."""
        found = self._found.get(topic)
        if found is None:
            if len(self._found) >= REMEMBERED_TOPICS:
                self._found.clear()
            found = self._found[topic] = self._find(topic.decode("utf-8", "surrogateescape"))
        return found

    def _find(self, topic: str) -> Destination:
        for number, (parsed, route) in enumerate(self._routes):
            if parsed.matches(topic):
                return self._of(number, route, topic)
        return NO_ROUTE

    def _of(self, number: int, route: Route, topic: str) -> Destination:
        if route.topic is None:
            return NULL_ROUTE
        if route.parsed is None or not is_template(route.topic):
            return Destination(route.topic, route=number)
        wanted = kafka_topic(route.topic, route.parsed, topic)
        if wanted not in self._opened and not self._has_room(route, wanted, self._there):
            wanted = _other(route)
        return Destination(wanted, route=number) if wanted in self._opened else Destination(None, unopened=wanted)


def _other(route: Route) -> str:
    wanted = route.topic or ""
    for name in names_in(wanted):
        wanted = wanted.replace(f"<{name}>", OTHER)
    return wanted


def collides(topic: str, there: Iterable[str]) -> bool:
    """Kafka takes no topic whose name differs from another's by dots and underscores alone."""
    same = topic.replace(".", "_")
    return any(other.replace(".", "_") == same and other != topic for other in there)


def _parsed(route: Route) -> TopicFilter:
    try:
        return TopicFilter.parse(route.filter)
    except ValueError as error:
        raise SettingsError(
            f"setting EDGE_BRIDGE__ROUTES: {route.filter!r} is not an MQTT topic filter: {error}; "
            "see section 4.7 of MQTT 3.1.1"
        ) from error

"""Which Kafka topic a message goes to: the first route whose filter matches its MQTT topic.

The bridge knows routes, not payloads. What must be subscribed to follows from the routes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_assets.bridge.topic_filter import TopicFilter, disjoint_cover
from edge_assets.errors import SettingsError
from edge_assets.settings import Route

REMEMBERED_TOPICS = 10_000


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a message goes: a Kafka topic, or None with the reason why nowhere."""

    topic: str | None
    reason: str = ""


NO_ROUTE = Destination(None, "no_route")
NULL_ROUTE = Destination(None, "null_route")


class Router:
    """The routes, parsed. Raises `SettingsError` naming the filter that is none."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = [(_parsed(route), route.topic) for route in routes]
        self.kafka_topics = tuple(dict.fromkeys(topic for _, topic in self._routes if topic is not None))
        if not self.kafka_topics:
            raise SettingsError(
                "setting EDGE_BRIDGE__ROUTES: no route has a Kafka topic, so the bridge has nothing to do; "
                'give at least one, for example [{"filter": "zigbee2mqtt/#"}]'
            )
        wanted = [parsed for parsed, topic in self._routes if topic is not None]
        self.subscription = tuple(str(one) for one in disjoint_cover(wanted))
        self._found: dict[bytes, Destination] = {}

    def destination(self, topic: bytes) -> Destination:
        """Where a message on this MQTT topic goes; remembered, since a network has few topics."""
        found = self._found.get(topic)
        if found is None:
            if len(self._found) >= REMEMBERED_TOPICS:
                self._found.clear()
            found = self._found[topic] = self._find(topic.decode("utf-8", "surrogateescape"))
        return found

    def _find(self, topic: str) -> Destination:
        for parsed, kafka_topic in self._routes:
            if parsed.matches(topic):
                return NULL_ROUTE if kafka_topic is None else Destination(kafka_topic)
        return NO_ROUTE


def _parsed(route: Route) -> TopicFilter:
    try:
        return TopicFilter.parse(route.filter)
    except ValueError as error:
        raise SettingsError(
            f"setting EDGE_BRIDGE__ROUTES: {route.filter!r} is not an MQTT topic filter: {error}; "
            "see section 4.7 of MQTT 3.1.1"
        ) from error

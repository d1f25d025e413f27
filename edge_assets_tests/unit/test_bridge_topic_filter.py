"""Topic filters (MQTT 3.1.1, section 4.7): what they match, cover, and what must be subscribed to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from edge_assets.bridge.routes import Router
from edge_assets.bridge.topic_filter import TopicFilter, disjoint_cover
from edge_assets.errors import SettingsError
from edge_assets.settings import BridgeSettings, Route

LEVEL = st.sampled_from(["a", "b", "", "$SYS"])
TOPICS = st.lists(LEVEL, min_size=1, max_size=4).map("/".join)
FILTERS = st.builds(
    lambda levels, tail: TopicFilter.parse("/".join([*levels, *tail])),
    st.lists(st.sampled_from(["a", "b", "", "+", "$SYS"]), min_size=1, max_size=4).filter(
        lambda levels: levels != [""]
    ),
    st.sampled_from([[], ["#"]]),
) | st.just(TopicFilter.parse("#"))


@given(FILTERS, TOPICS)
def test_matches_what_paho_matches(topic_filter, topic):
    assert topic_filter.matches(topic) == topic_matches_sub(str(topic_filter), topic)


@given(FILTERS, FILTERS, TOPICS)
def test_covering_and_overlapping_are_true_of_every_topic(one, other, topic):
    if one.covers(other) and other.matches(topic):
        assert one.matches(topic)
    if one.matches(topic) and other.matches(topic):
        assert one.overlaps(other)


@given(st.lists(FILTERS, max_size=5), TOPICS)
def test_a_message_is_delivered_once_if_a_filter_wants_it(filters, topic):
    cover = disjoint_cover(filters)
    deliveries = sum(one.matches(topic) for one in cover)
    assert deliveries <= 1
    if any(one.matches(topic) for one in filters):
        assert deliveries == 1


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "1 to 65535 bytes"),
        ("a/#/b", "`#`"),
        ("a#", "`#`"),
        ("a/b+", "`+`"),
        ("a\0b", "NUL"),
        ("$share/x/a", "shared"),
    ],
)
def test_an_invalid_filter_is_refused_with_its_rule(text, rule):
    with pytest.raises(SettingsError, match="EDGE_BRIDGE__ROUTES") as refused:
        Router(BridgeSettings(routes=(Route(filter=text),)))
    assert rule in str(refused.value)


def test_the_first_route_wins_and_others_are_counted_by_reason():
    routes = (Route(filter="z/quiet/#", topic=None), Route(filter="z/+/a", topic="one"), Route(filter="z/#"))
    router = Router(BridgeSettings(routes=routes))
    assert router.destination(b"z/quiet/a").reason == "null_route"
    assert router.destination(b"z/x/a").topic == "one"
    assert router.destination("z/tür".encode()).topic == "sensor-events"
    assert router.destination(b"y").reason == "no_route"
    assert router.destination(b"z/\xff").topic == "sensor-events"
    assert router.destination(b"edge/alerts/door-open").topic == "alerts"  # whoever writes routes thinks of devices
    assert list(router.kafka_topics(())) == ["one", "sensor-events", "alerts"]
    assert router.subscription == ("edge/alerts/#", "z/#")


def test_alerts_may_be_dropped_by_a_route_that_says_so():
    routes = (Route(filter="z/#"), Route(filter="edge/alerts/#", topic=None))
    assert Router(BridgeSettings(routes=routes)).destination(b"edge/alerts/door-open").reason == "null_route"


def test_routes_to_nowhere_alone_are_refused():
    with pytest.raises(SettingsError, match="no route has a Kafka topic"):
        Router(BridgeSettings(routes=(Route(filter="#", topic=None),)))


def test_a_topic_made_from_a_name_is_opened_first_and_there_are_so_many_at_most():
    pattern, template = "building/<room>/telemetry", "telemetry.<room>"
    router = Router(BridgeSettings(routes=(Route(pattern=pattern, topic=template, retention_hours=72),), max_topics=2))
    assert router.destination(b"building/Lab 1.a/telemetry").unopened == "telemetry.Lab-1-a"
    there = ["telemetry.Lab-1-a", "telemetry.Lab-1-a.downsampled", "telemetry.kitchen", "sensor-events"]
    assert router.kafka_topics(there) == {"telemetry.Lab-1-a": 72, "telemetry.kitchen": 72, "alerts": None}
    router.opened(router.kafka_topics(there), there)
    assert router.destination(b"building/Lab 1.a/telemetry").topic == "telemetry.Lab-1-a"
    assert router.destination(b"building/third/telemetry").unopened == "telemetry.other"
    assert router.destination(b"building/a/b/telemetry").reason == "no_route"
    assert router.subscription == ("building/+/telemetry", "edge/alerts/#")

"""A bridge whose home came back from a backup, on a log that has never seen a record of it."""

from __future__ import annotations

import shutil
import uuid

import pytest

from edge_assets.bridge.memory import load_memory
from edge_assets.settings import Route, Settings
from edge_assets_tests.bridge_rig import BridgeProcess, CutWire, Publisher, header_of, records, wait_for, with_settings
from edge_assets_tests.conftest import Mosquitto

pytestmark = [pytest.mark.java, pytest.mark.broker]

SENT = 20


def test_what_comes_again_to_a_log_that_never_had_it_is_marked(
    settings: Settings, kafka: Settings, mosquitto: Mosquitto
) -> None:
    """The broker, the user's own, waits for PUBACKs of messages that the lost log had: nobody can know any more."""
    with CutWire(mosquitto.host, mosquitto.port) as wire:
        own = with_settings(settings, mqtt={"host": "127.0.0.1", "port": wire.port})
        bridge = BridgeProcess(own)
        bridge.start()
        with bridge.keep():
            wire.lose_acks()
            with Publisher(settings) as publisher:
                for number in range(SENT):
                    publisher.publish("zigbee2mqtt/door", b"%d" % number)
            wait_for(lambda: len(records(own)), lambda count: count == SENT)
            wait_for(bridge.status, lambda status: bool(status.get("connected")))
            incarnation = load_memory(own).incarnation
            bridge.kill()
            wire.cut()
        mark = uuid.uuid4().hex[:8]
        routes = tuple(Route(filter=route.filter, topic=f"new-{mark}") for route in own.bridge.routes[:1])
        blank = with_settings(own, bridge={"routes": routes, "dead_letter_topic": f"dead-{mark}"})
        blank = blank.model_copy(update={"home": own.home.with_name("restored")})
        shutil.copytree(own.home / "bridge", blank.home / "bridge")
        again = BridgeProcess(blank)
        again.start()
        with again.keep():
            found = wait_for(lambda: records(blank, [f"new-{mark}"]), lambda seen: len(seen) >= SENT)
            with Publisher(settings) as publisher:
                publisher.publish("zigbee2mqtt/door", b"new")
            found = wait_for(lambda: records(blank, [f"new-{mark}"]), lambda seen: len(seen) > SENT)
    headers = [header_of(one) for one in found]
    assert [one.value() for one in found] == [*(b"%d" % number for number in range(SENT)), b"new"]
    assert [header.rep for header in headers] == [True] * SENT + [False]
    assert {header.inc for header in headers} == {incarnation + 1}

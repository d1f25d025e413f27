"""The bridge is killed, its connection cut, Kafka stopped, while a publisher runs: nothing missing, nothing repeated.

A fault plan is data: what happens, after how many seconds. It follows from a seed that a failure prints, with the
command that plays it again.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from edge_assets.settings import Settings
from edge_assets_tests.bridge_rig import BridgeProcess, CutWire, Publisher, header_of, records, wait_for, with_settings

pytestmark = [pytest.mark.broker, pytest.mark.java]

OTHERS = ("pico/temperature/dht22", "building/Room 1/telemetry")
"""a bare topic, and a room, whose Kafka topic the bridge has to open first"""

ROUNDS, SLOW_ROUNDS = 4, 25
SLOW_SEEDS = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 9)]


@dataclass(frozen=True)
class Fault:
    after_seconds: float
    what: str


def plan(seed: int, rounds: int, kinds: tuple[str, ...]) -> list[Fault]:
    """Short pauses hit the start and the redelivery, long ones the steady run."""
    dice = random.Random(seed)
    return [Fault(dice.choice([0.0, 0.05, 0.3, 1.0]) * dice.random(), dice.choice(kinds)) for _ in range(rounds)]


@pytest.fixture(params=[0, *SLOW_SEEDS])
def seed(request: pytest.FixtureRequest) -> Iterator[int]:
    seed = int(os.environ.get("FAULT_SEED", request.param))
    print(f"seed {seed}; again: FAULT_SEED={seed} pytest '{request.node.nodeid}'")
    yield seed


class Load:
    """A QoS 1 publisher in a thread: numbered messages on several topics, or the same payload again and again."""

    def __init__(self, settings: Settings, constant: bool, topics: int = 5, pause: float = 0.0005) -> None:
        self.sent = 0
        self._settings, self._constant, self._topics, self._pause = settings, constant, topics, pause
        self._sources = [*(f"zigbee2mqtt/plug {n}" for n in range(topics - 2)), *OTHERS][-topics:]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        with Publisher(self._settings) as publisher:
            while not self._stop.is_set():
                payload = b"ON" if self._constant else b"%d" % self.sent
                publisher.publish(f"{self._sources[self.sent % self._topics]}", payload)
                self.sent += 1
                time.sleep(self._pause)


def check(settings: Settings, load: Load, constant: bool) -> None:
    """Every message is in the log once, in order on each topic."""
    if constant:
        wait_for(lambda: len(records(settings)), lambda count: count >= load.sent)
        time.sleep(1)  # a repeat would come late
        assert len(records(settings)) == load.sent
        return
    found = wait_for(lambda: records(settings), lambda got: len({one.value() for one in got}) >= load.sent)
    counts = Counter(int(one.value()) for one in found)
    assert [number for number in range(load.sent) if number not in counts] == []
    repeats = [(header_of(one), one.value()) for one in found if counts[int(one.value())] > 1]
    assert repeats == []
    for key in {one.key() for one in found}:
        numbers = [int(one.value()) for one in found if one.key() == key]
        assert numbers == sorted(numbers), f"out of order on {key!r}"


@pytest.mark.parametrize("constant", [False, True], ids=["numbered", "constant"])
def test_bridge_killed_at_random_moments(settings, mosquitto, kafka, seed, constant):
    bridge = BridgeProcess(settings)
    bridge.start()
    with Load(settings, constant, topics=1 if constant else 5) as load:
        for fault in plan(seed, ROUNDS if seed == 0 else SLOW_ROUNDS, ("kill",)):
            time.sleep(fault.after_seconds)
            bridge.kill()
            bridge.start(connected=fault.after_seconds > 0.01)
    with bridge.keep():
        check(settings, load, constant)


@pytest.mark.parametrize("constant", [False, True], ids=["numbered", "constant"])
def test_connection_cut_at_random_moments_and_acknowledgements_lost(settings, mosquitto, kafka, seed, constant):
    with CutWire(mosquitto.host, mosquitto.port) as wire:
        bridge = BridgeProcess(with_settings(settings, mqtt={"port": wire.port}))
        bridge.start()
        with Load(settings, constant, topics=1 if constant else 5) as load:
            for fault in plan(seed, ROUNDS if seed == 0 else SLOW_ROUNDS, ("cut", "lose_acks", "kill")):
                time.sleep(fault.after_seconds)
                if fault.what == "lose_acks":
                    wire.lose_acks()
                    time.sleep(0.2)
                if fault.what == "kill":
                    bridge.kill()
                wire.cut()
                if fault.what == "kill":
                    bridge.start(connected=False)
        with bridge.keep():
            check(settings, load, constant)
            assert wait_for(bridge.status, lambda status: "maybe_repeat" in status)["maybe_repeat"] == 0

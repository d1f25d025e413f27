"""Kill anything, lose nothing: a real platform under a counting publisher, its processes killed with -9.

A plan is data: who dies, after how long, in which order. It is drawn from a seed, which is printed; one command
repeats a failure:

    FAULT_SEED=<seed> FAULT_ROUNDS=<rounds> .venv/bin/pytest edge_assets_tests/faults/test_kills.py -s

Asserted at the end, when all have come back: every number that the publisher counted, as a Zigbee device, as a bare
topic and as a room, is in silver once; of the message that always says the same there are exactly as many as were sent;
and `edge verify` holds.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from dataclasses import dataclass
from functools import partial

import pytest

from edge_assets.service import read_status
from edge_assets.settings import Settings
from edge_assets_tests.conftest import Mosquitto
from edge_assets_tests.faults.platform_under_test import Platform, Publisher, until

pytestmark = [pytest.mark.java, pytest.mark.broker, pytest.mark.timeout(1500)]

SEED = int(os.environ.get("FAULT_SEED") or time.time())
ROUNDS = int(os.environ.get("FAULT_ROUNDS") or 2)
COUNTED = ("counter", "pico/counter", "Lab 1")
EVERYTHING = ("supervisor", "code_server", "web_page", "daemon", "bridge", "stream_writer", "stream_jvm", "kafka")


@dataclass(frozen=True)
class Step:
    """After so many seconds, kill these at once; then perhaps delete Spark's checkpoint."""

    after_seconds: float
    victims: tuple[str, ...]
    delete_checkpoint: bool = False


def plan(seed: int, rounds: int) -> list[Step]:
    """Each round kills each part alone (Dagster's own together), in a random order, and then everything at once."""
    chance = random.Random(seed)
    steps = []
    for _ in range(rounds):
        alone = [("bridge",), ("stream_jvm",), ("kafka",), ("code_server", "web_page", "daemon"), ("supervisor",)]
        chance.shuffle(alone)
        steps += [Step(chance.uniform(1, 8), victims, chance.random() < 0.3) for victims in alone]
        steps.append(Step(chance.uniform(2, 8), EVERYTHING, chance.random() < 0.5))
    return steps


@pytest.fixture
def platform(settings: Settings, mosquitto: Mosquitto):
    stream = settings.stream.model_copy(update={"trigger_seconds": 0.5})
    # A home beside the broker's: a platform that starts sweeps up every part that its own home remembers.
    home = settings.home.with_name("platform")
    running = Platform(settings.model_copy(update={"home": home, "stream": stream}))
    running.up()
    yield running
    running.down()


def test_nothing_is_lost_and_nothing_is_doubled(platform: Platform) -> None:
    settings = platform.settings
    print(f"\nseed {SEED}, {ROUNDS} rounds")
    until(lambda: platform.pid("bridge") and platform.pid("stream_jvm"), "platform", 300)
    # Before its first SUBSCRIBE a broker keeps nothing for it.
    until(lambda: read_status(settings, "bridge").get("connected"), "subscription", 60)
    publisher = Publisher(settings).start()
    for step in plan(SEED, ROUNDS):
        time.sleep(step.after_seconds)
        # Whoever is not back yet cannot be killed: the plan waits for life, so that each step is a real kill.
        until(partial(platform.pid, step.victims[0]), f"{step.victims[0]} alive", 180)
        killed = platform.kill(*step.victims)
        print(f"  killed {', '.join(f'{name} ({pid})' for name, pid in killed.items())}", flush=True)
        if step.delete_checkpoint:
            shutil.rmtree(settings.home / "stream" / "checkpoint", ignore_errors=True)
    time.sleep(2)
    sent = publisher.finish()
    print(f"  sent {sent} of each")
    try:
        until(lambda: all(rows >= sent for rows, _ in count(settings).values()), "all rows", 300)
    except AssertionError:
        print(count(settings), platform.last_words(), sep="\n")
        raise

    found = count(settings)
    for counted in COUNTED:
        assert found[counted] == (sent, sent), f"{counted}: rows, distinct numbers of {sent} sent; seed {SEED}"
    assert found["constant"][0] == sent, f"rows of the constant payload; seed {SEED}"
    from edge_assets.platform.endpoints import remembered
    from edge_assets.warehouse.verify import verify

    report = verify(remembered(settings))
    assert report.holds, report.as_dict()


def count(settings: Settings) -> dict[str, tuple[int, int]]:
    """device or room → (rows, distinct values) in silver."""
    from edge_assets.errors import LakeError
    from edge_assets.warehouse.sql import connect

    none = dict.fromkeys((*COUNTED, "constant"), (0, 0))
    query = """
        select device_name, count(*), count(distinct value) from silver.readings group by 1 union all
        select room_id, count(*), count(distinct co2_ppm) from silver.room_telemetry group by 1"""
    try:
        rows = connect(settings).sql(query).fetchall()
    except LakeError:
        return none
    return none | {name: (rows_, distinct) for name, rows_, distinct in rows}

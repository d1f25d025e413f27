"""Somebody plays with the plug: everything dies again and again while a platform starts for the first time.

What is made once (Kafka's storage, Dagster's databases, the tables, the settings of the broker) is half made then, and
the next start has to go on from there. One command repeats a failure:

    FAULT_SEED=<seed> FAULT_ROUNDS=<kills> .venv/bin/pytest edge_assets_tests/faults/test_first_start.py -s
"""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from functools import partial

import psutil
import pytest

from edge_assets.bench import whole_platform
from edge_assets.settings import Settings
from edge_assets.warehouse.verify import verify
from edge_assets_tests.faults.platform_under_test import Platform, until
from edge_assets_tests.stream_rig import table

pytestmark = [pytest.mark.java, pytest.mark.timeout(900)]

SEED = int(os.environ.get("FAULT_SEED") or time.time())
KILLS = int(os.environ.get("FAULT_ROUNDS") or 0)
LONGEST_SECONDS = 25.0
"""a first start is through with all that it makes by then, on a quick machine"""


@pytest.mark.parametrize("kills", [2, pytest.param(15, marks=pytest.mark.slow)])
def test_a_first_start_that_is_killed_again_and_again_ends_well(settings: Settings, kills: int) -> None:
    own = settings.model_copy(update={"simulators": settings.simulators.model_copy(update={"enabled": True})})
    chance = random.Random(SEED)
    platform = Platform(own)
    print(f"\nseed {SEED}")
    for _ in range(KILLS or kills):
        after = chance.uniform(0.5, LONGEST_SECONDS)
        platform.up()
        time.sleep(after)
        print(f"  killed {kill_all(own)} processes after {after:.1f} s", flush=True)
    platform.up()
    try:
        until(partial(table, own, "silver.readings"), "readings", 240)
        report = verify(own)
        assert report.holds, report.render()
    except AssertionError as error:
        raise AssertionError(f"seed {SEED}: {error}\n{platform.last_words()}") from error
    finally:
        platform.down()
        kill_all(own)


def kill_all(settings: Settings) -> int:
    """SIGKILL to all that is of the platform, until nothing is left. Returns how many there were."""
    killed = set()
    while there := whole_platform.processes(settings):
        for each in there:
            with suppress(psutil.NoSuchProcess):
                each.kill()
            killed.add(each.pid)
        psutil.wait_procs(there, timeout=5)
    return len(killed)

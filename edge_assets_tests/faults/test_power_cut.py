"""A power cut is more than a kill: what was in the page cache is gone.

The writer is killed in the midst of its work, and then everything that it had not forced to the disk is torn, in the
ways in which a file system tears it: files that are there and empty, cut short, full of zeros, or not there at all.
What it *had* forced is known from its own `Durability`, which runs in the test on the same lake.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_assets import delta_log
from edge_assets.settings import Settings
from edge_assets.stream import durability
from edge_assets.tables import BRONZE_EVENTS, TABLES
from edge_assets.warehouse.verify import verify
from edge_assets_tests.stream_rig import Log, records, table, until, writer

pytestmark = [pytest.mark.java, pytest.mark.timeout(600)]

RECORDS = 400


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_what_a_cut_tears_is_rebuilt_from_the_log(settings: Settings, kafka: Settings, seed: int) -> None:
    chance = random.Random(seed)
    log = Log(settings)
    with writer(settings) as process:
        for number in range(RECORDS // 2):
            log.put("zigbee2mqtt/door", {"seq": number})
            if number % 20 == 0:
                log.flush()
                time.sleep(chance.uniform(0, 0.5))
        until(lambda: len(records(settings)) > RECORDS // 8, "some records", process)
        process.kill()
    torn = [name for seen in TABLES if (name := tear_newest(settings.lake_path / seen.layer / seen.name, chance))]
    assert torn, f"nothing was there to tear; seed {seed}"
    for number in range(RECORDS // 2, RECORDS):
        log.put("zigbee2mqtt/door", {"seq": number})
    log.flush()
    with writer(settings) as process:
        until(lambda: len(table(settings, "silver.readings")) >= RECORDS, "all readings", process)
    assert sorted(row["value"] for row in table(settings, "silver.readings")) == list(map(float, range(RECORDS)))
    assert [row["kafka_offset"] for row in records(settings)] == list(range(RECORDS))
    report = verify(settings)
    assert report.holds, f"{report} after tearing {torn}; seed {seed}"


def tear_newest(folder: Path, chance: random.Random) -> str | None:
    """Tear the newest commit that adds data, as if it had never reached the disk whole."""
    commits = [commit for commit in delta_log.commits(folder) if list(durability._added(folder, commit))]
    if not commits or (folder.name != BRONZE_EVENTS.name and chance.random() < 0.5):
        return None
    commit = commits[-1]
    file = next(file for file, _ in durability._added(folder, commit))
    ways: dict[str, Callable[[], Any]] = {
        "emptied": lambda: file.write_bytes(b""),
        "cut short": lambda: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
        "zeroed": lambda: file.write_bytes(bytes(file.stat().st_size)),
        "missing": file.unlink,
        "log emptied": lambda: commit.path.write_bytes(b""),
        "log gone": commit.path.unlink,
    }
    way = chance.choice(sorted(ways))
    ways[way]()
    return f"{folder.name} version {commit.version}: {way}"

"""A file system that is really full: the stream writer stops, says so, and goes on by itself when there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_assets.defs.judges import judge_disk
from edge_assets.defs.samples import take_sample
from edge_assets.errors import DiskFull
from edge_assets.platform.doctor import examine
from edge_assets.platform.process import wait_until
from edge_assets.platform.status import lines, status
from edge_assets.service import read_status
from edge_assets.settings import Settings
from edge_assets.stream.durability import tears
from edge_assets.warehouse.verify import verify
from edge_assets_tests.stream_rig import Log, table, until, writer

pytestmark = [pytest.mark.java, pytest.mark.timeout(900)]

SMALL, LARGE = "16m", "400m"
RESERVE_MB = 100
RECORDS = 15_000


@pytest.fixture
def small_disk(settings: Settings) -> Iterator[Settings]:
    """The platform's whole home on a file system of some megabytes."""
    settings.home.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "none", settings.home], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"to mount a file system of its own needs root: {mounted.stderr.strip()}")
    yield settings
    subprocess.run(["umount", "--lazy", settings.home], check=True)


def with_reserve(settings: Settings, megabytes: int) -> Settings:
    stream = settings.stream.model_copy(update={"min_free_mb": megabytes})
    return settings.model_copy(update={"stream": stream})


def resize(settings: Settings, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", settings.home], check=True)


def put_much(log: Log) -> None:
    """More than fits, compressed or not."""
    for _ in range(RECORDS):
        log.put("zigbee2mqtt/door", {"voltage": 1, "note": os.urandom(600).hex()})
        if log.written % 1_000 == 0:
            log.flush()
    log.flush()


def test_it_stops_says_so_and_goes_on(small_disk: Settings, kafka: Settings, tmp_path: Path) -> None:
    said = tmp_path / "said"
    settings = with_reserve(small_disk, 0)
    log = Log(settings)
    put_much(log)
    with writer(settings, log=said) as process:
        assert process.wait(300) == DiskFull.exit_code, "in the midst of a batch"
    assert "the disk is full: " in said.read_text().splitlines()[-1]
    assert not tears(settings.lake_path)

    reserved = with_reserve(small_disk, RESERVE_MB)
    with writer(reserved, log=said) as process:
        until(lambda: waits(reserved, process.pid), "a status that says why it waits", process, 300)
        assert any("the disk is full: " in line for line in lines(status(reserved)))
        assert any(found.check == "disk" and found.level == "fail" for found in examine(reserved))
        assert not judge_disk([take_sample(reserved)]).passed
        resize(reserved, LARGE)
        until(
            lambda: len(table(reserved, "silver.readings")) == 2 * log.written, "all, once there is room", process, 300
        )
        until(lambda: "batch" in read_status(reserved, "stream_writer"), "a status of its own", process, 300)
        assert judge_disk([take_sample(reserved)]).severity.value == "WARN", "room, but not much"
        ballast = reserved.home / "ballast"
        ballast.write_bytes(b"x" * 350_000_000)
        assert wait_until(lambda: process.poll() is not None, 60), "the reserve ends it while it runs"
        assert process.returncode == DiskFull.exit_code
    ballast.unlink()
    assert "Traceback" not in said.read_text().split("there is room again")[1], "it was no accident"
    assert "the disk is full: " in read_status(reserved, "stream_writer")["problem"]
    assert verify(reserved).holds


def waits(settings: Settings, pid: int) -> bool:
    known = read_status(settings, "stream_writer")
    return known.get("pid") == pid and "the disk is full" in (known.get("problem") or "")

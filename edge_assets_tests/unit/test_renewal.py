"""Dagster's processes are started anew when they are due, alone: what they have started lives on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from edge_assets.platform import process
from edge_assets.platform.keeper import Keeper
from edge_assets.platform.parts import Part
from edge_assets.platform.renewal import DAY_SECONDS, PATIENCE_SECONDS, YOUNG_SECONDS, Renewal, resident_mb
from edge_assets.settings import Settings

WITH_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(300)
"""


def limited(settings: Settings, **limits: int) -> Settings:
    return settings.model_copy(update={"dagster": settings.dagster.model_copy(update=limits)})


def test_it_is_due_by_its_memory_and_by_its_age(settings: Settings) -> None:
    pid = os.getpid()
    roomy = Renewal(limited(settings, renew_mb=int(resident_mb(pid)) + 500))
    assert roomy.reason(pid, 6.9 * DAY_SECONDS) is None
    assert roomy.reason(pid, 7 * DAY_SECONDS) == "it has run for 7 days"
    tight = Renewal(limited(settings, renew_mb=1))
    assert tight.reason(pid, YOUNG_SECONDS - 1) is None
    assert "MB (EDGE_DAGSTER__RENEW_MB: 1)" in str(tight.reason(pid, YOUNG_SECONDS))
    assert Renewal(limited(settings, renew_mb=0, renew_days=0)).reason(pid, 1_000 * DAY_SECONDS) is None


def test_it_waits_for_work_under_way_but_not_for_ever(settings: Settings) -> None:
    now = 1_000.0
    renewal = Renewal(limited(settings, renew_mb=1), clock=lambda: now)
    work = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(300,))
    work.start()
    try:
        assert renewal.reason(os.getpid(), YOUNG_SECONDS) is None
        now += PATIENCE_SECONDS - 1
        assert renewal.reason(os.getpid(), 2 * YOUNG_SECONDS) is None
        now += 1
        assert renewal.reason(os.getpid(), 2 * YOUNG_SECONDS) is not None
    finally:
        work.kill()
        work.join()
    assert renewal.reason(os.getpid(), YOUNG_SECONDS) is not None


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def keeper(settings: Settings, said: list[str]) -> Iterator[Keeper]:
    def launch() -> process.Process:
        return process.start(settings, "sleeper", [sys.executable, "-c", WITH_CHILD], os.environ)

    def wait(running: process.Process) -> None:
        assert process.wait_until(lambda: bool(running.last_words(1)), 30)

    keeper = Keeper(Part("sleeper", launch, wait, 10, renew=signal.SIGKILL), said.append, lambda: None)
    keeper.start()
    assert process.wait_until(lambda: keeper.state == "up", 30)
    yield keeper
    keeper.stop()


def test_a_part_is_started_anew_and_what_it_started_lives_on(
    settings: Settings, keeper: Keeper, said: list[str]
) -> None:
    log = settings.home / "logs" / "sleeper.log"
    child = psutil.Process(int(log.read_text().split()[0]))
    before = keeper.status()["pid"]
    assert not keeper.renew(lambda pid, seconds: None)
    assert keeper.renew(lambda pid, seconds: f"a test wants it of pid {pid}")
    assert process.wait_until(lambda: keeper.state == "up" and keeper.status()["pid"] != before, 30)
    assert said[0] == f"sleeper is started anew: a test wants it of pid {before}"
    assert len(said) == 2 and said[1].startswith("sleeper is back after")
    assert keeper.restarts == 0
    assert child.is_running()
    assert process.wait_until(lambda: len(log.read_text().split()) == 2, 30)
    for pid in map(int, log.read_text().split()):
        psutil.Process(pid).kill()

"""Free space: what counts as full, and why a service ended."""

from __future__ import annotations

import errno
import threading

import pytest

from edge_assets.errors import DiskFull
from edge_assets.platform import disk
from edge_assets.service import Report, read_status, run_service
from edge_assets.settings import Settings

EVERYTHING_MB = 10**12


def with_reserve(settings: Settings, megabytes: int) -> Settings:
    stream = settings.stream.model_copy(update={"min_free_mb": megabytes})
    return settings.model_copy(update={"stream": stream})


def test_home_and_lake_on_one_disk_are_one_and_need_not_be_there_yet(settings: Settings) -> None:
    (space,) = disk.spaces(settings)
    assert (space.what, space.path) == ("home and lake", settings.home) and space.free_mb > 0


def test_less_than_the_reserve_is_full_and_says_what_to_do(settings: Settings) -> None:
    disk.require(with_reserve(settings, 0))
    with pytest.raises(DiskFull) as full:
        disk.require(with_reserve(settings, EVERYTHING_MB))
    words = str(full.value)
    assert str(settings.home) in words and "EDGE_STREAM__MIN_FREE_MB" in words and "Make room" in words
    assert len(words.splitlines()) == 1


def test_an_error_is_put_down_to_the_disk_only_where_it_is_its_fault(settings: Settings) -> None:
    none = with_reserve(settings, 0)
    jvm = RuntimeError("Job aborted: java.io.IOException: No space left on device")
    other = RuntimeError("Job aborted: java.io.IOException: Broken pipe")
    wrapped = RuntimeError("the query ended")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert disk.explained(none, jvm) and disk.explained(none, wrapped)
    assert disk.explained(none, other) is None and disk.explained(none, OSError(errno.EIO, "I/O error")) is None
    assert disk.explained(with_reserve(settings, EVERYTHING_MB), other), "whoever met it first"


def test_why_a_service_ended_is_in_its_status(settings: Settings) -> None:
    def loop(settings: Settings, stop: threading.Event, report: Report) -> None:
        raise DiskFull("the disk is full: make room\nand more")

    with pytest.raises(DiskFull):
        run_service("bridge", loop, settings, threading.Event())
    found = read_status(settings, "bridge")
    assert (found["state"], found["problem"]) == ("stopped", "the disk is full: make room")

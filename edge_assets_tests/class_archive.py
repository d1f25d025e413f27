"""What Spark loads, in the form in which the JVM needs it: a third of what a JVM of the tests takes to its first batch.

`python -m edge_assets_tests.class_archive` makes the archive ahead (200 MB in the cache, half a minute); tests use it
where it is there. A JVM that it does not fit, Kafka's or that of other jars, goes without.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

from edge_assets.platform import endpoints, log
from edge_assets.settings import Settings, load_settings
from edge_assets_tests.stream_rig import Log, records, until, writer

JAVA_OPTIONS = "-XX:TieredStopAtLevel=1"
"""A JVM of the tests ends before its second compiler's work has paid: that was a third of their CPU time."""


def java_options() -> str:
    """What each JVM of the tests gets."""
    archive = _path(load_settings(_env_file=None))
    return f"{JAVA_OPTIONS} -XX:SharedArchiveFile={archive} -Xlog:disable" if archive.exists() else JAVA_OPTIONS


def _path(settings: Settings) -> Path:
    """Of this checkout: an archive knows where the jars were."""
    digest = hashlib.sha256(f"{sys.prefix} {os.environ.get('JAVA_HOME')}".encode()).hexdigest()[:12]
    return settings.cache_dir / "tests" / f"classes-{digest}.jsa"


def make(archive: Path) -> None:
    """Let a stream writer read some messages of each kind, and keep what its JVM had loaded at its end."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    aside = archive.with_suffix(f".{os.getpid()}")
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(_env_file=None, home=Path(folder), mqtt={"host": "127.0.0.1"}, kafka={"port": 0})
        settings = endpoints.resolve(settings)
        os.environ["JAVA_TOOL_OPTIONS"] = JAVA_OPTIONS
        kafka = log.start(settings)
        os.environ["JAVA_TOOL_OPTIONS"] = f"{JAVA_OPTIONS} -XX:ArchiveClassesAtExit={aside}"
        try:
            _write_some(settings)
        finally:
            log.stop(kafka)
    aside.replace(archive)


def _write_some(settings: Settings) -> None:
    said = Log(settings)
    with writer(settings) as process:
        for number in range(3):
            said.put("zigbee2mqtt/door", {"contact": True, "update": {"x": number}})
            said.put("pico/temperature/shed", "21.5")
            said.put("building/lab/telemetry", {"temperature": number, "pm25": 1})
            said.put("elsewhere", "{")
            said.flush()
            until(lambda: len(records(settings)) == said.written, "the records", process)


if __name__ == "__main__":
    wanted = _path(load_settings(_env_file=None))
    if not wanted.exists():
        make(wanted)
    print(wanted)

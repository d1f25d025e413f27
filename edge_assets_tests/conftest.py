"""What tests share: settings of their own, and the real broker and log.

A test that asks for `kafka` or `mosquitto` finds their addresses in its `settings`, and topics of its own.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import psutil
import pytest

from edge_assets.platform import broker, endpoints, log
from edge_assets.platform.process import Process
from edge_assets.settings import BridgeSettings, Route, Settings, load_settings
from edge_assets_tests import class_archive

CI = os.environ.get("CI") == "true"
hypothesis.settings.register_profile("untimed", deadline=None)  # machines are noisy
hypothesis.settings.load_profile("untimed")
os.environ.setdefault("JAVA_TOOL_OPTIONS", class_archive.java_options())
SAMPLE_DATA = Path(os.environ.get("SAMPLE_DATA") or Path(__file__).parents[2] / "shared" / "data")


PLATFORM_BYTES = 4 * 1024**3
"""of memory: what a test that starts a whole platform takes at most, with the tests' own Kafka and Spark beside it"""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """For `-n auto`: three at most, as far as the memory goes; tests wait more than they compute. 0: no workers."""
    workers = min(psutil.virtual_memory().total // PLATFORM_BYTES - 1, 3)
    return workers if workers > 1 else 0


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Settings:
    """A home of its own, free ports; simulators, alerter and live page off, for who starts a whole platform and does
    not mean them. The cache of downloads is shared."""
    _forget_environment(monkeypatch)
    own: dict[str, Any] = _free_ports()
    for section in ("simulators", "alerts", "live"):
        own[section] = {**own.get(section, {}), "enabled": False}
    if "mosquitto" in request.fixturenames:
        own["mqtt"]["host"] = "127.0.0.1"
    if "kafka" in request.fixturenames:
        own["kafka"]["bootstrap"] = request.getfixturevalue("kafka").kafka.bootstrap
        mark = uuid.uuid4().hex[:8]
        zigbee, bare, rooms, alerts = BridgeSettings().routes
        routes = (
            Route(filter=zigbee.filter, topic=f"sensor-events-{mark}"),
            Route(pattern=bare.pattern, units=bare.units, topic=f"sensor-events-{mark}"),
            Route(pattern=rooms.pattern, retention_hours=rooms.retention_hours, topic=f"telemetry-{mark}.<room>"),
            Route(filter=alerts.filter, topic=f"alerts-{mark}"),
        )
        own["history"] = {"topic": f"imports-{mark}"}
        own["bridge"] = {"id": f"bridge-{mark}", "routes": routes, "dead_letter_topic": f"dead-letters-{mark}"}
    return load_settings(_env_file=None, home=tmp_path / "home", **own)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A real Kafka for the whole session. Yields the settings it runs with."""
    home = tmp_path_factory.mktemp("kafka")
    with pytest.MonkeyPatch.context() as patch:
        _forget_environment(patch)
        settings = endpoints.resolve(load_settings(_env_file=None, home=home, **_free_ports()))
    running = log.start(settings)
    yield settings
    log.stop(running)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real Spark for the whole session, as the stream writer has it."""
    from edge_assets.platform import jars, java
    from edge_assets.stream.session import spark_session

    home = tmp_path_factory.mktemp("spark")
    before = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        _forget_environment(patch)
        settings = load_settings(_env_file=None, home=home)
    with spark_session(settings, jars.ensure_spark(settings), java.java_home(settings)) as session:
        for name in set(os.environ) - set(before):  # what the JVM needed to start, and other tests do not
            del os.environ[name]
        os.environ.update(before)
        yield session


class Mosquitto:
    """A real Mosquitto at the address in the test's settings, which can be killed and started again."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.host, self.port = broker.address(settings)
        self.process: Process = broker.start(settings)

    def kill(self) -> None:
        self.process.kill()

    def stop(self) -> None:
        broker.stop(self.process)

    def start(self) -> None:
        self.process = broker.start(self.settings)


@pytest.fixture
def mosquitto(settings: Settings) -> Iterator[Mosquitto]:
    """A real Mosquitto of this test's own: the machine's, else the distribution's package, as `edge up` has it."""
    if broker.ensure(settings).mosquitto is None:
        pytest.skip("Mosquitto is not on this machine and cannot be fetched; on Debian: `apt install mosquitto`")
    running = Mosquitto(settings)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The folder of third-party recordings, where it is there (SAMPLE_DATA, or `shared/data` beside us)."""
    if not SAMPLE_DATA.is_dir():
        pytest.skip(f"no sample data in {SAMPLE_DATA}; SAMPLE_DATA says where it is")
    return SAMPLE_DATA


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI nothing may be skipped for want of a broker, Java or the network: there a skip is a failure.

    The third-party recordings are no part of the project: what asks for them may be skipped everywhere.
    """
    report = yield
    required = "sample_data" not in getattr(item, "fixturenames", ())
    if CI and required and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"may not be skipped in CI: {reason}"
    return report


def _free_ports() -> dict[str, dict[str, Any]]:
    return {
        "mqtt": {"port": endpoints.free_port()},
        "kafka": {"port": endpoints.free_port(), "controller_port": endpoints.free_port()},
        "dagster": {"port": endpoints.free_port(), "grpc_port": endpoints.free_port()},
        "live": {"port": endpoints.free_port()},
        "metrics": {"port": endpoints.free_port()},
    }


def _forget_environment(patch: pytest.MonkeyPatch) -> None:
    """The developer's own platform must not reach into a test; only the cache stays theirs."""
    for name in list(os.environ):
        if name.upper().startswith("EDGE_") and name.upper() != "EDGE_CACHE_DIR":
            patch.delenv(name)

"""The platform in containers, its decisions: what is well, when to give up, what is refused."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from edge_assets.defs.shutdown import is_shutting_down
from edge_assets.errors import PlatformError
from edge_assets.platform import container, endpoints, health, parts
from edge_assets.service import read_status
from edge_assets.settings import KafkaSettings, MqttSettings, Settings


def now() -> datetime:
    return datetime.now(UTC)


def asked(*words: str) -> int:
    """The health check as an engine runs it."""
    return subprocess.run([sys.executable, "-m", "edge_assets.platform.health", *words], capture_output=True).returncode


def test_a_port_is_well_while_something_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert asked("port", address) == 0
    assert asked("port", address) == 1


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/well" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def pages() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_page_is_well_that_answers_with_200(pages: str) -> None:
    assert health.problem("page", f"{pages}/well") is None
    assert health.problem("page", f"{pages}/ill") == f"{pages}/ill does not answer with 200"


def beat(home: Path, at: datetime, daemon: str = "SENSOR") -> None:
    """As Dagster writes it: UTC without saying so."""
    (home / "history").mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(home / "history" / "runs.db")) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS daemon_heartbeats (daemon_type TEXT UNIQUE, timestamp TIMESTAMP)")
        written = at.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
        database.execute("INSERT OR REPLACE INTO daemon_heartbeats VALUES (?, ?)", (daemon, written))


@pytest.mark.parametrize(("seconds", "well"), [(0, True), (60, True), (600, False), (-600, True)])
def test_the_daemon_is_well_that_has_looked_at_its_sensors_lately(tmp_path: Path, seconds: int, well: bool) -> None:
    beat(tmp_path, now() - timedelta(seconds=seconds))
    beat(tmp_path, now(), "SCHEDULER")
    assert (health.problem("daemon", str(tmp_path)) is None) == well


def test_a_daemon_that_never_was_is_not_well(tmp_path: Path) -> None:
    assert health.problem("daemon", str(tmp_path)) is not None
    beat(tmp_path, now(), "SCHEDULER")
    assert health.problem("daemon", str(tmp_path)) is not None


@pytest.mark.parametrize(
    ("state", "seconds", "well"), [("running", 1, True), ("running", 600, False), ("stopped", 1, False)]
)
def test_a_service_is_well_that_says_so_lately(tmp_path: Path, state: str, seconds: int, well: bool) -> None:
    file = tmp_path / "simulators.json"
    assert health.problem("status", str(file)) is not None
    file.write_text(json.dumps({"state": state, "updated_at": (now() - timedelta(seconds=seconds)).isoformat()}))
    assert (health.problem("status", str(file)) is None) == well


def test_a_health_check_imports_nothing_but_what_python_brings() -> None:
    script = "import sys, edge_assets.platform.health; print([m for m in sys.modules if m.startswith('edge_assets.')])"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["['edge_assets.platform',", "'edge_assets.platform.health']"]


@pytest.fixture
def elsewhere(settings: Settings) -> Settings:
    """Broker and log are somebody else's, and nobody is there."""
    mqtt = MqttSettings(host="127.0.0.1", port=endpoints.free_port())
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{endpoints.free_port()}")
    here = settings.model_copy(update={"mqtt": mqtt, "kafka": kafka})
    (here.home / "run").mkdir(parents=True)
    return here


def server(settings: Settings, monkeypatch: pytest.MonkeyPatch, program: str) -> container.CodeServer:
    """One whose code server is a program of the test's."""
    monkeypatch.setattr(container, "PREPARE_SECONDS", 0.0)
    monkeypatch.setattr(container, "PAUSE_SECONDS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(parts, "code_command", lambda *_: [sys.executable, "-c", program])
    return container.CodeServer(settings, parts.LOOPBACK, None)


def test_a_code_server_that_keeps_dying_ends_its_container(
    elsewhere: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lives = tmp_path / "lives"
    program = f"open({str(lives)!r}, 'a').write('x'); raise SystemExit(7)"
    dying = server(elsewhere, monkeypatch, program)
    assert dying.run(threading.Event()) == 7
    assert lives.read_text() == "xxx"
    dying.end()
    assert read_status(elsewhere, "supervisor")["state"] == "stopped"


def test_it_stops_when_asked_and_says_so_to_the_services(elsewhere: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    living = server(elsewhere, monkeypatch, "import time; time.sleep(600)")
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    assert living.run(stop) == 0
    assert not is_shutting_down(elsewhere)
    living.end()
    assert is_shutting_down(elsewhere)
    seen = read_status(elsewhere, "supervisor")["services"]
    assert {name: each["state"] for name, each in seen.items()} == {
        "broker": "down",
        "kafka": "down",
        "dagster_code": "down",
        "dagster_daemon": "down",
    }


@pytest.mark.parametrize("missing", ["EDGE_MQTT__HOST", "EDGE_KAFKA__BOOTSTRAP"])
def test_a_container_without_broker_or_log_is_refused(
    missing: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(settings.home.parent)
    monkeypatch.setenv("EDGE_HOME", str(settings.home))
    for name, value in {"EDGE_MQTT__HOST": "mosquitto", "EDGE_KAFKA__BOOTSTRAP": "kafka:9092"}.items():
        if name != missing:
            monkeypatch.setenv(name, value)
    assert container.main(["code"]) == 2
    assert missing in capsys.readouterr().err


def test_page_and_daemon_end_where_no_code_server_comes(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "WAIT_SECONDS", 0.0)
    with pytest.raises(PlatformError, match="docker compose logs code"):
        container.become(settings, ["never"], "127.0.0.1")


def test_dagsters_files_say_where_the_code_server_is(settings: Settings) -> None:
    parts.prepare_dagster(settings, "code")
    folder = parts.dagster_home(settings)
    assert f"host: code\n      port: {settings.dagster.grpc_port}\n" in (folder / "workspace.yaml").read_text()
    assert {file.name for file in folder.iterdir()} == {"dagster.yaml", "workspace.yaml"}

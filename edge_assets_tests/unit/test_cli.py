"""The commands as scripts meet them: exit codes, one line of error, JSON that parses, help that is quick."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge_assets.cli import app
from edge_assets.settings import Settings
from edge_assets.sources import replay
from edge_assets.sources.replay import ReplayResult

COMMANDS = "up down status doctor settings replay import sql history export verify redrive".split()
COMMANDS += ["reprocess", "rollback", "bench"]


def edge(settings: Settings, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_assets.cli", *arguments],
        env={**os.environ, **settings.environment(), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(settings: Settings, command: str) -> None:
    done = edge(settings, command, "--help")
    assert done.returncode == 0
    assert len(done.stdout.split("Options:")[0].splitlines()) > 3, "a usage line and what it does"


def test_the_command_line_imports_no_engine(settings: Settings) -> None:
    heavy = ("pyspark", "dagster", "pyarrow", "duckdb", "deltalake", "confluent_kafka", "paho")
    code = f"import sys; import edge_assets.cli; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_does_not_run_is_5(settings: Settings) -> None:
    done = edge(settings, "status", "--json")
    assert done.returncode == 5
    found = json.loads(done.stdout)
    assert found["running"] is False and found["home"] == str(settings.home)
    assert found["services"]["bridge"]["state"] == "stopped"
    assert found["live"] == {"url": None} and found["metrics"] == {"devices": None}


def test_status_writes_nothing(settings: Settings) -> None:
    edge(settings, "status")
    assert not settings.home.exists()


def test_nothing_to_stop_is_no_error(settings: Settings) -> None:
    done = edge(settings, "down")
    assert (done.returncode, done.stdout) == (0, "nothing runs here\n")


def test_a_wrong_setting_is_2_and_one_line(settings: Settings) -> None:
    done = edge(settings, "status", EDGE_MQTT__PORT="many")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("edge: setting EDGE_MQTT__PORT") and len(done.stderr.splitlines()) == 1


def test_an_unknown_profile_is_2(settings: Settings) -> None:
    done = edge(settings, "up", "--profile", "nope")
    assert done.returncode == 2 and "nope" in done.stderr


def test_an_embedded_broker_with_tls_is_refused_before_anything_starts(settings: Settings) -> None:
    done = edge(settings, "up", EDGE_MQTT__TLS="true")
    assert done.returncode == 2 and "EDGE_MQTT__TLS" in done.stderr


def test_doctor_fails_on_a_taken_port_and_says_the_next_step(settings: Settings) -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", settings.dagster.port))
        other.listen()
        done = edge(settings, "doctor", "--json")
    assert done.returncode == 1
    failed = [finding for finding in json.loads(done.stdout) if finding["level"] == "fail"]
    assert [finding["check"] for finding in failed] == ["ports"]
    assert "EDGE_DAGSTER__PORT" in failed[0]["found"] and failed[0]["next_step"]


def test_doctor_names_a_broker_that_is_away(settings: Settings) -> None:
    done = edge(settings, "doctor", EDGE_MQTT__HOST="127.0.0.1")
    assert done.returncode == 1
    assert any(line.startswith("fail broker") for line in done.stdout.splitlines())


def test_an_unknown_bench_names_the_known(settings: Settings) -> None:
    done = edge(settings, "bench", "nope")
    assert done.returncode == 2 and "start" in done.stderr


def test_a_dry_run_of_an_import_needs_no_platform(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "attic.csv"
    path.write_text("Zeit;temperature\n04.02.2026 17:51;21,5\n")
    done = edge(settings, "import", str(path), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "separated by ;, decimal mark ,, UTF-8, times in 'Zeit'" in done.stdout
    assert "temperature: number, 1 values, 21.5 to 21.5" in done.stdout
    assert "line 2: attic 2026-02-04T17:51:00.000Z {'temperature': 21.5}" in done.stdout
    path.write_text("Zeit;temperature\n04.02.2026 17:51;21,5\noops;1\n")
    done = edge(settings, "import", str(path), "--dry-run", "--json")
    assert done.returncode == 1 and json.loads(done.stdout)["lines"]["bad"] == 1


def test_a_file_without_times_is_9_and_one_line(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "attic.csv"
    path.write_text("a,b\n1,2\n")
    done = edge(settings, "import", str(path))
    assert (done.returncode, done.stdout) == (9, "")
    assert "--time-column" in done.stderr and len(done.stderr.splitlines()) == 1


def test_replay_hands_on_what_it_was_told(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def replay_file(_: Settings, path: Path, speed: float, progress: Any, qos: int) -> ReplayResult:
        asked.update(path=path, speed=speed, qos=qos)
        return ReplayResult(1, 0, (), 0, 0.1)

    monkeypatch.setattr(replay, "replay_file", replay_file)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, ["replay", "r.jsonl", "--qos", "1", "--speed", "60"])
    assert done.exit_code == 0, done.output
    assert asked == {"path": Path("r.jsonl"), "speed": 60.0, "qos": 1}
    assert CliRunner().invoke(app, ["replay", "r.jsonl", "--qos", "3"]).exit_code == 2

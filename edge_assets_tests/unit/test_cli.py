"""The commands as scripts meet them: exit codes, one line of error, JSON that parses, help that is quick."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from edge_assets.settings import Settings

COMMANDS = ("up", "down", "status", "doctor", "settings", "replay", "sql", "export", "verify", "redrive", "bench")


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

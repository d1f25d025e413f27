"""The compose file and what belongs to it, read: nothing is forgotten, nothing is open, and it fits a 4 GB Pi.

That its services run with what stands there is `integration/test_compose_services.py`.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from edge_assets.platform import jars
from edge_assets.settings import KafkaSettings, load_settings
from edge_assets_tests import compose_rig, s3_rig
from edge_assets_tests.compose_rig import COMPOSE, DEPLOY, ROOT

RAW = compose_rig.raw()
SERVICES: dict[str, dict[str, Any]] = RAW["services"]
MINIO = compose_rig.raw(DEPLOY / "compose.minio.yaml")
EXAMPLE = compose_rig.env_file(DEPLOY / ".env.example")
SECRET = re.compile("PASSWORD|SECRET")
MOST_MB = 4096
NO_VOLUME = ("web", "daemon")

each_service = pytest.mark.parametrize("name", SERVICES)


@each_service
def test_a_service_is_pinned_bounded_watched_and_started_again(name: str) -> None:
    service = SERVICES[name]
    image, _, tag = service["image"].rpartition(":")
    assert image and re.search(r"\d+\.\d+", tag), f"{service['image']}: which version?"
    assert tag != "latest"
    assert service["restart"] == "unless-stopped"
    assert service["logging"] == {"driver": "json-file", "options": {"max-size": "5m", "max-file": "3"}}
    assert re.fullmatch(r"\d+m", service["mem_limit"])
    check = service["healthcheck"]
    assert check["test"] and {"interval", "timeout"} <= set(check)
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"privileged", "network_mode", "pid", "container_name"} & set(service)


@each_service
def test_nothing_is_published_beyond_this_machine_unless_asked(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        [(variable, default)] = compose_rig.variables_of(port)
        assert default.startswith("127.0.0.1:"), port
        assert EXAMPLE[variable] == default


@each_service
def test_what_it_waits_for_is_there(name: str) -> None:
    wanted = SERVICES[name].get("depends_on", {})
    for other in wanted:
        assert other in SERVICES
        assert not SERVICES[other].get("profiles"), f"{other} is not always there"
        if isinstance(wanted, dict):
            assert wanted[other]["condition"] == "service_healthy"


@each_service
def test_what_lasts_is_in_a_named_volume(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source, _, _ = volume.partition(":")
        if source.startswith("./"):
            assert volume.endswith(":ro"), "the project's own files are only read"
        elif not source.startswith(("/", "$")):
            assert source in RAW["volumes"]


def test_each_volume_is_somebodys() -> None:
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert set(RAW["volumes"]) <= used


def test_it_is_the_whole_platform() -> None:
    always = {name for name, service in SERVICES.items() if not service.get("profiles")}
    assert always == {
        *("mosquitto", "kafka", "s3", "s3-exporter", "code", "web", "daemon"),
        *("prometheus", "grafana", "node-exporter", "kafka-exporter", "mosquitto-exporter"),
    }
    assert {name: service["profiles"] for name, service in SERVICES.items() if name not in always} == {
        "zigbee2mqtt": ["zigbee"],
        "simulators": ["simulate"],
        "alertmanager": ["alertmanager"],
    }


def test_one_image_is_ours() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    ours = {name for name, service in SERVICES.items() if "build" in service}
    assert ours == {"code", "web", "daemon", "simulators"}
    assert {SERVICES[name]["image"] for name in ours} == {f"edge_assets:{version}"}
    assert {str(SERVICES[name]["build"]) for name in ours} == {
        str({"context": "..", "dockerfile": "deploy/Dockerfile"})
    }


def test_versions_are_those_that_the_tests_run() -> None:
    [kafka] = [jar for jar in jars.pinned("kafka") if jar.coordinates.startswith("org.apache.kafka:kafka_2.13:")]
    assert SERVICES["kafka"]["image"].rpartition(":")[2] == kafka.coordinates.rpartition(":")[2]
    assert SERVICES["s3"]["image"].rpartition(":")[2] == s3_rig.VERSION


def megabytes(*profiles: str, minio: bool = False) -> int:
    """The sum of the limits of what runs in these profiles."""
    running = {
        name: service
        for name, service in SERVICES.items()
        if not service.get("profiles") or set(service["profiles"]) & set(profiles)
    }
    limits = {name: service["mem_limit"] for name, service in running.items()}
    if minio:
        limits |= {name: service["mem_limit"] for name, service in MINIO["services"].items()}
    return sum(int(limit.removesuffix("m")) for limit in limits.values())


@pytest.mark.parametrize("profile", ["zigbee", "simulate"])
def test_the_limits_fit_a_pi_with_4_gb(profile: str) -> None:
    assert megabytes(profile, "alertmanager") < MOST_MB
    assert megabytes(profile, minio=True) < MOST_MB


def test_the_readme_has_each_limit_and_their_sum() -> None:
    text = (DEPLOY / "README.md").read_text()
    rows = dict(re.findall(r"^\| `([\w-]+)` \|.*\| (\d+) MB \|$", text, flags=re.MULTILINE))
    assert rows == {name: service["mem_limit"].removesuffix("m") for name, service in SERVICES.items()}
    assert f"{megabytes('zigbee'):,} MB" in text
    assert f"{megabytes('simulate'):,} MB" in text


def test_the_readme_has_each_image_with_its_machines() -> None:
    text = (DEPLOY / "README.md").read_text()
    rows = re.findall(r"^\| `([^`]+:[^`]+)` \| amd64, arm64 \|", text, flags=re.MULTILINE)
    assert set(rows) == {service["image"] for service in SERVICES.values() if "build" not in service}


def test_every_variable_is_explained_and_none_too_many() -> None:
    used = dict(compose_rig.variables_of(RAW))
    compose_itself = {"COMPOSE_PROFILES", "COMPOSE_FILE"}
    assert set(used) == set(EXAMPLE) - compose_itself
    text = (DEPLOY / ".env.example").read_text()
    blocks = re.split(r"\n\s*\n", text)
    for block in blocks:
        if re.search(r"^\w+=", block, flags=re.MULTILINE):
            section = text[: text.index(block)].rpartition("# ---")[2]
            assert block.startswith("#") or "\n# " in section, f"not explained: {block}"


def test_a_default_is_the_same_in_both_files() -> None:
    for name, default in compose_rig.variables_of(RAW):
        if default and EXAMPLE[name]:
            assert EXAMPLE[name] == default, name


def test_secrets_have_no_value_in_the_project() -> None:
    assert [name for name in EXAMPLE if SECRET.search(name)]
    for name, value in EXAMPLE.items():
        assert not (SECRET.search(name) and value), name
    for name, default in compose_rig.variables_of(RAW):
        assert not (SECRET.search(name) and default), name
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|_PASS$", key):
                assert re.fullmatch(r"\$\{\w+:[-?].*\}", str(value)), f"{name}: {key}"


def test_prepare_invents_passwords_and_keeps_what_is_set(tmp_path: Path) -> None:
    first = compose_rig.prepared(tmp_path / "deploy")
    secrets = {name: value for name, value in first.items() if SECRET.search(name)}
    assert set(first) == set(EXAMPLE)
    assert all(re.fullmatch(r"[A-Za-z0-9]{24}", value) for value in secrets.values())
    assert len(set(secrets.values())) == len(secrets)
    assert {name: first[name] for name in set(first) - set(secrets)} == {
        name: EXAMPLE[name] for name in set(first) - set(secrets)
    }
    env = tmp_path / "deploy" / ".env"
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert compose_rig.prepared(tmp_path / "deploy") == first


def test_prepare_finds_the_dongle_and_adds_what_an_upgrade_brings(tmp_path: Path) -> None:
    folder, serial = tmp_path / "deploy", tmp_path / "by-id"
    folder.mkdir()
    serial.mkdir()
    (serial / "usb-ITEAD_SONOFF-if00-port0").touch()
    (folder / ".env").write_text("# mine\nSITE=cabin\nMQTT_PASSWORD_EDGE=chosen\nEDGE_PROFILE=\n")
    found = compose_rig.prepared(folder, serial)
    assert found["ZIGBEE_DONGLE"] == str(serial / "usb-ITEAD_SONOFF-if00-port0")
    assert (found["SITE"], found["MQTT_PASSWORD_EDGE"], found["EDGE_PROFILE"]) == ("cabin", "chosen", "")
    assert set(found) == set(EXAMPLE)
    assert (folder / ".env").read_text().startswith("# mine\n")


def test_without_a_password_it_says_what_to_do() -> None:
    with pytest.raises(LookupError, match=r"prepare\.sh"):
        compose_rig.services({})


def test_the_settings_that_containers_get_are_the_platforms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Unknown ones would be refused, and everything must be said: here nothing is looked for or chosen."""
    found = compose_rig.services(compose_rig.prepared(tmp_path / "deploy"))
    for name in list(os.environ):
        if name.upper().startswith("EDGE_"):
            monkeypatch.delenv(name)
    for service in ("code", "web", "daemon", "simulators"):
        with monkeypatch.context() as patch:
            for key, value in {**compose_rig.image_environment(), **found[service]["environment"]}.items():
                patch.setenv(key, str(value))
            settings = load_settings(_env_file=None)
        assert settings.home == Path("/data/edge")
        assert settings.cache_dir == Path("/var/cache/edge")
        if service == "code":
            assert (settings.mqtt.host, settings.kafka.bootstrap) == ("mosquitto", "kafka:9092")
            assert str(settings.lake_path) == "s3://lake/edge"
            assert 0 not in (settings.live.port, settings.metrics.port, settings.dagster.grpc_port)


def test_kafka_keeps_and_takes_what_the_platform_says() -> None:
    """Two places say it, the log's own settings and the platform's."""
    kafka = SERVICES["kafka"]["environment"]
    defaults = KafkaSettings()
    assert dict(compose_rig.variables_of(kafka)) == {
        "KAFKA_RETENTION_HOURS": str(defaults.retention_hours),
        "KAFKA_RETENTION_BYTES": str(defaults.retention_bytes),
    }
    assert int(kafka["KAFKA_MESSAGE_MAX_BYTES"]) == defaults.max_message_bytes
    assert int(kafka["KAFKA_LOG_FLUSH_INTERVAL_MS"]) * 2 == defaults.flush_ms


def test_the_broker_forgets_nothing_while_it_is_down_and_lets_nobody_in_unnamed() -> None:
    lines = (DEPLOY / "mosquitto" / "mosquitto.conf").read_text().splitlines()
    values = dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    assert values["allow_anonymous"] == "false"
    assert values["persistence"] == "true"
    assert values["max_queued_messages"] == "1000000"
    assert values["upgrade_outgoing_qos"] == "true"
    assert int(values["sys_interval"]) > 0
    # What a message takes besides its payload was measured; 80 bytes of payload and more are what sensors send.
    queue = int(values["max_queued_bytes"])
    assert queue + queue / 100 * 370 < int(SERVICES["mosquitto"]["mem_limit"].removesuffix("m")) * 1e6


def test_each_user_of_the_broker_has_rights_and_a_password() -> None:
    users = re.findall(r"^user (\w+)$", (DEPLOY / "mosquitto" / "acl").read_text(), flags=re.MULTILINE)
    started = re.search(r"^for user in (.*); do$", (DEPLOY / "mosquitto" / "start.sh").read_text(), flags=re.MULTILINE)
    assert started and started[1].split() == users
    passwords = [name for name in SERVICES["mosquitto"]["environment"] if name.startswith("MQTT_PASSWORD_")]
    assert passwords == [f"MQTT_PASSWORD_{user.upper()}" for user in users]


@pytest.mark.parametrize("name", ["Dockerfile", "minio/Dockerfile"])
def test_an_image_is_made_in_two_stages_and_runs_as_nobody_special(name: str) -> None:
    text = (DEPLOY / name).read_text()
    bases = re.findall(r"^FROM (\S+)", text, flags=re.MULTILINE)
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, flags=re.MULTILINE))
    assert len(bases) == 2
    for base in bases:
        base = re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], base)
        assert re.search(r":\d+\.\d+\.\d+", base), f"{base}: which version?"
    last = text.rpartition("FROM ")[2]
    assert re.search(rf"^USER {compose_rig.OUR_USER}:{compose_rig.OUR_USER}$", last, flags=re.MULTILINE)
    assert not re.search(r"^(ENV|ARG).*(PASS|SECRET|TOKEN)", text, flags=re.MULTILINE)


def test_our_image_takes_the_locked_packages_and_fetches_the_jars() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert "pip install --require-hashes -r requirements.lock" in text
    assert "edge_assets.platform.container fetch" in text
    python = re.search(r"^ARG BASE=python:(\d+)\.(\d+)\.", text, flags=re.MULTILINE)
    assert python and (int(python[1]), int(python[2])) >= (3, 11)


def test_the_image_is_made_of_what_it_needs_alone() -> None:
    """Whatever is copied is let through, and nothing else: no .env can get in."""
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert next(line for line in lines if not line.startswith("#")) == "*"
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert {word for words in copied for word in words.split()} == allowed
    assert all((ROOT / name).exists() for name in allowed)


def test_shell_scripts_are_sound() -> None:
    for script in (DEPLOY / "prepare.sh", DEPLOY / "mosquitto" / "start.sh"):
        assert subprocess.run(["sh", "-n", str(script)]).returncode == 0
        assert "set -eu" in script.read_text()


def test_the_file_needs_no_secret_of_git() -> None:
    ignored = subprocess.run(
        ["git", "check-ignore", "deploy/.env", "deploy/edge.env"], cwd=ROOT, capture_output=True, text=True
    )
    assert ignored.stdout.split() == ["deploy/.env", "deploy/edge.env"]
    assert COMPOSE.exists()

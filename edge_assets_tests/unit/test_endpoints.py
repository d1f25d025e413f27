"""Addresses: chosen once, remembered, around whoever was there first."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from edge_assets.errors import PlatformError
from edge_assets.platform import endpoints
from edge_assets.settings import Settings, load_settings


@pytest.fixture
def unset(settings: Settings, tmp_path: Path) -> Settings:
    """Settings in which every port is open."""
    return load_settings(_env_file=None, home=tmp_path / "unset")


def test_everything_is_filled_in_and_stays(unset: Settings) -> None:
    first = endpoints.resolve(unset)
    ports = [
        first.mqtt.port,
        first.kafka.port,
        first.kafka.controller_port,
        first.dagster.port,
        first.dagster.grpc_port,
    ]
    assert all(ports) and len(set(ports)) == 5
    assert first.mqtt.host == "127.0.0.1"
    assert first.kafka.bootstrap == f"127.0.0.1:{first.kafka.port}"
    assert endpoints.resolve(unset) == first
    assert endpoints.remembered(unset) == first


def test_a_port_that_another_has_taken_since_is_left_to_it(unset: Settings) -> None:
    before = endpoints.resolve(unset).mqtt.port
    with socket.socket() as other:
        other.bind(("127.0.0.1", before))
        other.listen()
        now = endpoints.resolve(unset).mqtt.port
    assert now != before
    assert endpoints.remembered(unset).mqtt.port == now


def test_what_was_set_is_not_chosen(settings: Settings) -> None:
    resolved = endpoints.resolve(settings)
    assert resolved.mqtt.port == settings.mqtt.port
    assert resolved.dagster == settings.dagster


def test_ones_own_broker_and_log_are_left_alone(settings: Settings, tmp_path: Path) -> None:
    own = load_settings(
        _env_file=None, home=tmp_path / "own", mqtt={"host": "broker.lan"}, kafka={"bootstrap": "log.lan:9092"}
    )
    resolved = endpoints.resolve(own)
    assert (resolved.mqtt.host, resolved.mqtt.port) == ("broker.lan", 1883)
    assert resolved.kafka == own.kafka


def test_tls_has_its_own_customary_port(settings: Settings, tmp_path: Path) -> None:
    own = load_settings(_env_file=None, home=tmp_path / "own", mqtt={"host": "broker.lan", "tls": True})
    assert endpoints.resolve(own).mqtt.port == 8883


def test_asking_for_the_remembered_ones_chooses_nothing(unset: Settings) -> None:
    assert endpoints.remembered(unset).mqtt.port == 1883
    assert not unset.home.exists()


def test_a_broken_memory_is_forgotten(unset: Settings) -> None:
    (unset.home / "run").mkdir(parents=True)
    (unset.home / "run" / "endpoints.json").write_text('{"mqtt.po')
    assert endpoints.resolve(unset).mqtt.port


def test_claiming_a_taken_port_names_it() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PlatformError, match=f"the part on 127.0.0.1:{port}"):
            endpoints.claim("the part", "127.0.0.1", port)

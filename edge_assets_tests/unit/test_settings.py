"""Settings: where a value comes from, what is refused, and how a parent hands them to a child."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_assets.errors import SettingsError
from edge_assets.settings import Route, Settings, load_settings


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Settings) -> None:
    """In an empty folder, with an environment that `settings` has cleared, and a home of this test's own."""
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGE_HOME", str(tmp_path / "home"))


def test_the_first_place_that_has_a_value_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "home" / "profiles").mkdir()
    (tmp_path / "home" / "profiles" / "mine.toml").write_text('site = "profile"\n')
    assert load_settings().site == "home"
    monkeypatch.setenv("EDGE_PROFILE", "mine")
    assert load_settings().site == "profile"
    (tmp_path / "home" / "edge.toml").write_text('site = "toml"\n')
    assert load_settings().site == "toml"
    (tmp_path / ".env").write_text("EDGE_SITE=dotenv\n")
    assert load_settings().site == "dotenv"
    monkeypatch.setenv("EDGE_SITE", "environment")
    assert load_settings().site == "environment"
    assert load_settings(site="argument").site == "argument"


def test_places_are_joined_setting_by_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "home" / "edge.toml").write_text('[mqtt]\nhost = "toml"\nport = 1\n')
    monkeypatch.setenv("EDGE_MQTT__PORT", "2")
    mqtt = load_settings().mqtt
    assert (mqtt.host, mqtt.port) == ("toml", 2)


def test_a_ready_made_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_PROFILE", "low_latency")
    assert load_settings().stream.trigger_seconds == 1


def test_an_unknown_profile_tells_the_places_and_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_PROFILE", "nope")
    with pytest.raises(SettingsError, match=r"nope.*home/profiles/nope\.toml.*low_latency, pi"):
        load_settings()


@pytest.mark.parametrize("variable", ["EDGE_MQT__HOST", "EDGE_MQTT__HOTS", "EDGE_HOMES", "EDGE_KAFKA__PORT__X"])
def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "x")
    with pytest.raises(SettingsError, match=variable.split("__")[0]):
        load_settings()


@pytest.mark.parametrize("text", ["sight = 'x'\n", "[mqtt]\nhots = 'x'\n", "[mqqt]\nhost = 'x'\n", "site = \n"])
def test_an_unknown_key_or_broken_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "home" / "edge.toml").write_text(text)
    with pytest.raises(SettingsError):
        load_settings()


def test_an_unknown_key_in_dotenv_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("EDGE_MQTT__HOTS=x\n")
    with pytest.raises(SettingsError, match="HOTS"):
        load_settings()


def test_what_others_keep_in_dotenv_is_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("COMPOSE_PROJECT_NAME=x\nEDGE_SITE=attic\n")
    assert load_settings().site == "attic"


def test_a_wrong_type_is_one_line_with_the_setting_and_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_KAFKA__PORT", "ninety")
    with pytest.raises(SettingsError, match=r"EDGE_KAFKA__PORT.*'ninety'") as caught:
        load_settings()
    assert "\n" not in str(caught.value)


def test_secrets_do_not_print(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_MQTT__PASSWORD", "hunter2")
    settings = load_settings()
    assert "hunter2" not in repr(settings)
    assert settings.environment()["EDGE_MQTT__PASSWORD"] == "hunter2"


def test_a_child_reads_from_the_environment_what_its_parent_had(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = load_settings(
        site="Büro 2",
        mqtt={"host": "broker.lan", "username": "u", "password": "p#=\" '", "tls": True, "ca_file": "/x/ca.pem"},
        kafka={"client": {"sasl.username": "a,b", "sasl.password": '{"'}},
        bridge={"routes": (Route(filter="a/#", topic=None), Route(filter="b/+", topic="t"))},
        stream={"trigger_seconds": 0.5, "base_topics": ("zigbee2mqtt", "z2m/attic")},
        simulators={"enabled": False},
    )
    for name, value in parent.environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == parent


def test_settings_are_frozen() -> None:
    with pytest.raises(Exception, match="frozen"):
        load_settings().mqtt.port = 1  # type: ignore[misc]


def test_paths_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGE_HOME", "here")
    assert load_settings().home == tmp_path / "here"

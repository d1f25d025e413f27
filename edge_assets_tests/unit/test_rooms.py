"""What people say of rooms: kept, changed in part, taken back; and the commands."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from edge_assets import rooms
from edge_assets.cli import app
from edge_assets.errors import SettingsError
from edge_assets.rooms import Room
from edge_assets.settings import Settings


def test_a_room_is_described_in_parts_and_taken_back(settings: Settings) -> None:
    assert rooms.known(settings) == []
    assert rooms.describe(settings, "lab", room_name="Laboratory") == Room("lab", "Laboratory")
    assert rooms.describe(settings, "lab", floor="2", room_type="office") == Room("lab", "Laboratory", "2", "office")
    assert rooms.describe(settings, "lab", floor="") == Room("lab", "Laboratory", None, "office")
    rooms.describe(settings, "it's", room_name="'); DROP TABLE rooms; --")
    assert [room.room_id for room in rooms.known(settings)] == ["it's", "lab"]
    assert rooms.forget(settings, "lab") and not rooms.forget(settings, "lab")


def test_what_a_person_has_said_is_not_overwritten(settings: Settings) -> None:
    rooms.describe(settings, "kitchen", room_name="Galley")
    rooms.add_missing(settings, [Room("kitchen", "Kitchen", "0", "kitchen"), Room("lab", "Lab")])
    assert rooms.known(settings) == [Room("kitchen", "Galley"), Room("lab", "Lab")]


def test_a_file_that_is_no_database_is_named(settings: Settings) -> None:
    rooms.path(settings).parent.mkdir(parents=True, exist_ok=True)
    rooms.path(settings).write_text("not a database, not by far" * 100)
    with pytest.raises(SettingsError, match="restore a copy, or move the file away"):
        rooms.known(settings)


def test_the_commands(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_HOME", str(settings.home))

    def edge(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["rooms", *words])
        return result.exit_code, result.output

    assert "no room is described yet" in edge("list")[1]
    assert edge("set", "lab")[0] == 2  # nothing is said of it
    assert edge("set", "lab", "--name", "Laboratory", "--type", "office")[0] == 0
    assert json.loads(edge("list", "--json")[1]) == [
        {"room_id": "lab", "room_name": "Laboratory", "floor": None, "room_type": "office"}
    ]
    assert edge("forget", "hall")[0] == 1
    assert edge("forget", "lab")[0] == 0

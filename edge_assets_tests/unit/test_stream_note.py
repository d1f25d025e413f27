"""What a commit says of itself: it is read back as it was written, also by a version that knows more."""

from __future__ import annotations

import json

from edge_assets.decoding.knowledge import Fence, Knowledge
from edge_assets.stream.lake import Note

NOTE = Note(
    batch=7,
    positions={("log", "sensor-events", 0): 12, ("other", "telemetry.lab", 1): 3},
    registry_version=4,
    knowledge=Knowledge((Fence("log", 0, "bridge", 2, 5),), {"boot": 9}, frozenset({("log", 0, 6)})),
    pending={"front door": "2026-11-21"},
    follows=("silver.room_telemetry",),
    work="reprocess",
)


def test_a_note_is_read_back_as_it_was_written() -> None:
    assert Note.decode(NOTE.encode()) == NOTE


def test_a_note_of_a_version_that_did_not_tell_what_follows_leaves_it_open() -> None:
    old = json.loads(NOTE.encode())
    del old["follows"]
    assert Note.decode(json.dumps(old)).follows is None

"""The store and the outbox: what is told once, held, given up; and what survives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_assets.alert_record import AlertEvent
from edge_assets.alerts import desk, outbox, store
from edge_assets.alerts.engine import Engine
from edge_assets.alerts.outbox import CHANNEL, MQTT, Outbox
from edge_assets.alerts.rule_file import parse
from edge_assets.alerts.rules import Rules
from edge_assets.alerts.store import Store, transaction
from edge_assets.settings import AlertSettings, Settings
from edge_assets_tests.alert_model import SECOND, observation
from edge_assets_tests.bridge_rig import with_settings

NOON = 1_772_366_400 * SECOND
RULES = """
time_zone: UTC
rules:
  - {name: r, condition: {measurement: power, above: 100}, remind: 1h}
"""


class Post:
    """An outbox over a real store, with a clock of the test's."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch, rules: str = RULES) -> None:
        self.settings = with_settings(settings, alerts={"notify": {"a": "json://x", "b": "json://y"}})
        self.now = NOON
        monkeypatch.setattr(outbox, "now_micros", lambda: self.now)
        monkeypatch.setattr(desk, "now_micros", lambda: self.now)
        self.store = Store(self.settings)
        self.rules = parse(rules)
        self.outbox = Outbox(self.store, self.settings.alerts)
        self.engine = Engine(self.rules)

    def power(self, watts: float) -> list[bool]:
        events = self.engine.tick(self.now) + self.engine.observe(observation("plug", "power", watts, self.now))
        with transaction(self.store.connection):
            return [self.outbox.take(event, self.rules) for event in events]

    def due(self, target: str) -> list[str]:
        return [parcel.event.transition for parcel in self.outbox.due(target, limit=9)]

    def settle(self, target: str) -> AlertEvent | None:
        (parcel, *_) = self.outbox.due(target)
        with transaction(self.store.connection):
            return self.outbox.done(parcel)


@pytest.fixture
def post(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Post]:
    made = Post(settings, monkeypatch)
    yield made
    made.store.close()


def test_each_event_is_one_for_each_target_however_often_it_is_taken(post: Post) -> None:
    post.power(200)
    event = post.outbox.due(MQTT)[0].event
    with transaction(post.store.connection):
        assert not post.outbox.take(event, post.rules)
    assert (post.due(MQTT), post.due(CHANNEL + "a"), post.due(CHANNEL + "b")) == (["firing"], ["firing"], ["firing"])
    assert post.settle(CHANNEL + "a") is None
    notified = post.settle(CHANNEL + "b")
    assert notified and notified.transition == "notified" and notified.event_id == f"{event.alert_id}-2"
    assert post.due(MQTT) == ["firing", "notified"]


def test_a_clearing_waits_for_its_firing_and_others_go_first(post: Post) -> None:
    post.power(200)
    (parcel,) = post.outbox.due(CHANNEL + "a")
    with transaction(post.store.connection):
        assert post.outbox.failed(parcel, "no answer")
    post.now += SECOND
    post.power(0)
    assert post.due(CHANNEL + "a") == [] and post.outbox.waiting()[0] == 6
    post.now += 10 * SECOND
    assert post.due(CHANNEL + "a") == ["firing"]
    post.settle(CHANNEL + "a")
    assert post.due(CHANNEL + "a") == ["cleared"]


def test_pauses_grow_to_a_bound_and_after_days_it_is_given_up(post: Post) -> None:
    assert [post.outbox.pause(n) // SECOND for n in (0, 1, 2, 7, 8, 99)] == [5, 10, 20, 640, 900, 900]
    post.power(200)
    (parcel,) = post.outbox.due(CHANNEL + "a")
    post.now += 4 * outbox.DAY
    with transaction(post.store.connection):
        assert not post.outbox.failed(parcel, "no answer")
    assert post.due(CHANNEL + "a") == []
    assert post.settle(CHANNEL + "b") is None, "not all channels took it: nobody can say that it was told"


def test_quiet_hours_hold_a_message_and_what_clears_in_them_is_not_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = Post(settings, monkeypatch, RULES.replace("rules:", "quiet: {from: 11:00, to: 13:00}\nrules:"))
    post.power(200)
    assert post.due(CHANNEL + "a") == [] and post.due(MQTT) == ["firing"]
    post.now += 60 * SECOND
    post.power(0)
    post.now += 2 * 3_600 * SECOND
    assert post.due(CHANNEL + "a") == []
    post.now += 21 * 3_600 * SECOND + 1_800 * SECOND
    post.power(200)
    post.now += 2 * 3_600 * SECOND
    assert post.due(CHANNEL + "a") == ["firing"]


def test_reminders_until_somebody_has_seen_it(post: Post) -> None:
    post.power(200)
    for channel in ("a", "b"):
        post.settle(CHANNEL + channel)
    post.now += 3_599 * SECOND
    assert post.outbox.remind(post.rules) == 0
    post.now += SECOND
    assert post.outbox.remind(post.rules) == 1 and post.outbox.remind(post.rules) == 0
    assert post.outbox.due(CHANNEL + "a")[0].again
    (alert,) = desk.alerts(post.settings)
    desk.acknowledge(post.settings, alert.alert_id, "Ada")
    post.now += 3_601 * SECOND
    assert post.outbox.remind(post.rules) == 0
    assert "acknowledged" in post.due(MQTT)


def test_a_muted_firing_is_kept_and_told_to_nobody(post: Post) -> None:
    desk.mute(post.settings, "r", "plug", minutes=10)
    post.power(200)
    (alert,) = desk.alerts(post.settings, open_only=True)
    assert alert.muted and post.due(MQTT) == ["firing"] and post.due(CHANNEL + "a") == []
    post.now += 11 * 60 * SECOND
    post.power(0)
    assert post.due(CHANNEL + "a") == [], "who was not told that it began need not hear that it is over"
    assert desk.mutes(post.settings) == []


def test_what_waits_for_a_channel_that_is_gone_is_given_up(post: Post) -> None:
    post.power(200)
    other = Outbox(post.store, AlertSettings(notify={"b": "json://y"}))  # type: ignore[dict-item]
    assert other.drop_unknown() == ["a"] and post.due(CHANNEL + "a") == []


def test_old_alerts_are_forgotten_and_open_ones_never(post: Post) -> None:
    post.power(200)
    post.now += SECOND
    post.power(0)
    post.now += SECOND
    post.power(300)
    for target in (MQTT, MQTT, MQTT):
        post.settle(target)
    post.store.purge(post.now + outbox.DAY)
    assert [alert.cleared_at for alert in desk.alerts(post.settings)] == [None]


def test_nobody_has_run_it_yet(settings: Settings) -> None:
    assert desk.alerts(settings) == [] and desk.mutes(settings) == [] and desk.unmute(settings) == 0


def test_a_damaged_file_is_set_aside(settings: Settings) -> None:
    file = store.path(settings)
    file.parent.mkdir(parents=True)
    file.write_text("not a database, not by far" * 100)
    opened = Store(settings)
    assert opened.load().clock == 0
    opened.close()
    assert [path.name for path in file.parent.glob("*.damaged-*")] != []


def test_secrets_of_channels_reach_a_child_and_print_nowhere(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from edge_assets.settings import load_settings

    own = with_settings(settings, alerts={"notify": {"phone": "ntfy://hunter2", "é": 'mailtos://a:"b"@c'}})
    assert "hunter2" not in repr(own)
    for name, value in own.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    child = load_settings()
    assert child.alerts == own.alerts and child.alerts.notify["phone"].get_secret_value() == "ntfy://hunter2"


def test_an_engine_goes_on_from_the_store(post: Post) -> None:
    post.power(200)
    with transaction(post.store.connection):
        post.store.save(post.engine.changes())
        post.store.remember([(1, 2), (3, 4)])
    again: Any = Engine(post.rules, post.store.load())
    assert again.tick(post.now) == [] and post.store.handed() == {(1, 2), (3, 4)}
    (event,) = Engine(Rules(), post.store.load()).tick(post.now)
    assert event.transition == "cleared"

"""From Dagster's storage to a real webhook: freshness and checks, told when they fail and when that is over, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange
from dagster._core.instance.ref import InstanceRef

from edge_assets.definitions import build
from edge_assets.defs import notices
from edge_assets.notices import post, store
from edge_assets.service import service_lock
from edge_assets.settings import Settings
from edge_assets_tests.alert_rig import Receiver
from edge_assets_tests.bridge_rig import with_settings

BROKER, EVENTS = dg.AssetKey(["broker", "mqtt"]), dg.AssetKey(["bronze", "events"])
WAY = [BROKER, dg.AssetKey(["log", "sensor-events"]), EVENTS, dg.AssetKey(["silver", "readings"])]

Tick = Callable[[], str]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    home = tmp_path / "dagster"
    home.mkdir()
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance:
        yield instance


@pytest.fixture
def webhook() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def told_by(settings: Settings, webhook: Receiver, **notice_settings: object) -> Settings:
    """Settings with the webhook as a channel. The alerter is off, as in all settings of tests."""
    alerts = {"notify": {"hook": webhook.url}, "retry_seconds": 0.1, "retry_most_seconds": 0.1}
    return with_settings(settings, alerts=alerts, notices=notice_settings)


def ticking(settings: Settings, instance: dg.DagsterInstance) -> Tick:
    """Ticks of the sensor, as the daemon makes them: each with the cursor of the one before."""
    cursor = str(time.time() - notices.LOOK_SECONDS)
    repository = build(settings, held=[]).get_repository_def()

    def tick() -> str:
        nonlocal cursor
        context = dg.build_sensor_context(instance=instance, repository_def=repository, cursor=cursor)
        done = repository.get_sensor_def(notices.SENSOR).evaluate_tick(context)
        assert not done.run_requests
        cursor = done.cursor or cursor
        return done.skip_message or ""

    return tick


def fresh(instance: dg.DagsterInstance, state: FreshnessState, *keys: dg.AssetKey) -> None:
    """What Dagster's daemon reports when an asset's freshness changes."""
    for key in keys:
        change = FreshnessStateChange(
            key=key, new_state=state, previous_state=FreshnessState.UNKNOWN, state_change_timestamp=time.time()
        )
        instance._report_runless_asset_event(change)


def check(instance: dg.DagsterInstance, name: str, passed: bool, words: str, error: bool = True) -> None:
    severity = dg.AssetCheckSeverity.ERROR if error else dg.AssetCheckSeverity.WARN
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(EVENTS, name, passed, metadata={}, description=words, severity=severity)
    )


def test_a_failure_is_told_once_and_its_end_once_with_the_alerter_off(
    settings: Settings, instance: dg.DagsterInstance, webhook: Receiver
) -> None:
    settings = told_by(settings, webhook)
    tick = ticking(settings, instance)
    for key in WAY:
        instance.report_runless_asset_event(dg.AssetMaterialization(key))
    fresh(instance, FreshnessState.PASS, *WAY)
    check(instance, "complete", True, "complete")
    assert "are well" in tick() and not store.path(settings).exists(), "looking writes nothing"

    fresh(instance, FreshnessState.FAIL, *WAY)
    check(instance, "complete", False, "3 gaps")
    assert "5 of 5 are amiss" in tick() and webhook.told == []
    assert "hook: told" in tick()
    for _ in range(3):
        tick()
    ((title, body),) = webhook.told
    assert title == f"{settings.site}: failed: 2 things"
    assert "failed: broker/mqtt: nothing new for " in body and " are allowed; `edge status` says" in body
    assert "; below it follow 3: log/sensor-events, bronze/events, silver/readings" in body
    assert "failed: bronze/events:complete: 3 gaps" in body

    fresh(instance, FreshnessState.PASS, *WAY)
    check(instance, "complete", True, "complete")
    for _ in range(4):
        tick()
    assert len(webhook.told) == 2
    title, body = webhook.told[1]
    assert title == f"{settings.site}: recovered: 2 things"
    assert "recovered: broker/mqtt, after " in body and "recovered: bronze/events:complete, after " in body


def test_what_a_channel_does_not_take_is_told_when_it_does_in_order_and_once(
    settings: Settings, instance: dg.DagsterInstance, webhook: Receiver
) -> None:
    settings = told_by(settings, webhook)
    tick = ticking(settings, instance)
    webhook.answer = 503
    check(instance, "disk_space", False, "make room", error=False)
    tick()
    assert "trying again" in tick() and webhook.told == [] and webhook.tries >= 1
    check(instance, "disk_space", True, "all is well")
    with service_lock(settings, post.LOCK):  # a process that a killed code server has left behind
        tick()
        tick()
    webhook.answer = 200
    for _ in range(3):
        time.sleep(0.2)  # the pause after a message that was not taken
        tick()
    assert [title for title, _ in webhook.told] == [
        f"{settings.site}: {what}: bronze/events:disk_space" for what in ("warning", "recovered")
    ]


def test_a_tick_that_was_killed_before_it_told_is_made_up_for(
    settings: Settings, instance: dg.DagsterInstance, webhook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decided and stored, then killed: neither the message nor the cursor went anywhere."""
    settings = told_by(settings, webhook)
    check(instance, "complete", False, "3 gaps")

    def killed(_: Settings) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as kill:
        kill.setattr(post, "send", killed)
        tick = ticking(settings, instance)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                tick()
    assert webhook.told == [] and len(store.due(settings, "hook", time.time())) == 1
    for _ in range(3):
        tick()
    assert len(webhook.told) == 1


def test_a_check_whose_run_failed_is_told(settings: Settings, instance: dg.DagsterInstance, webhook: Receiver) -> None:
    settings = told_by(settings, webhook)
    tick = ticking(settings, instance)
    job = build(settings, held=[]).resolve_job_def("verify_tables")
    (settings.lake_path / "silver" / "readings" / "_delta_log").mkdir(parents=True)
    (settings.lake_path / "silver" / "readings" / "_delta_log" / f"{0:020}.json").write_text("{")
    assert not job.execute_in_process(instance=instance, raise_on_error=False).success
    tick()
    tick()
    ((_, body),) = webhook.told
    assert "warning: bronze/events:complete: it could not be evaluated: the run " in body


def test_nobody_is_told_where_that_is_switched_off_or_muted(
    settings: Settings, instance: dg.DagsterInstance, webhook: Receiver
) -> None:
    check(instance, "complete", False, "3 gaps")
    check(instance, "no_repeats", False, "2 things")
    off = told_by(settings, webhook, enabled=False)
    for nobody, why in ((off, "EDGE_NOTICES__ENABLED"), (settings, "EDGE_ALERTS__NOTIFY")):
        assert notices.notice_sensor(nobody).default_status is dg.DefaultSensorStatus.STOPPED, (
            "it would look for nothing"
        )
        assert why in ticking(nobody, instance)()
    tick = ticking(told_by(settings, webhook, mute=["*:complete"]), instance)
    for _ in range(3):
        tick()
    assert [title for title, _ in webhook.told] == [f"{settings.site}: failed: bronze/events:no_repeats"]

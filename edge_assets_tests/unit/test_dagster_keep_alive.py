"""The keep-alive's decision: what one look at a service leads to."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_assets.defs.keep_alive import (
    ACTIVE,
    KILL_SECONDS,
    PAUSE_SECONDS,
    STARTING_GRACE_SECONDS,
    STOP_SECONDS,
    Run,
    Seen,
    Signalled,
    decide,
)

NOW = 1_800_000_000.0
WEEKS = 30 * 86_400.0


def run(status: str, since: float = 0.0, lived: float = WEEKS, id: str = "aaaaaaaa-1") -> Run:
    """A run that took its status `since` seconds ago, and had lived that long before."""
    return Run(id, status, NOW - since, NOW - since - lived)


def see(*runs: Run, **rest: Any) -> Seen:
    return Seen(now=NOW, runs=runs, **rest)


# A first start, and what simply runs


def test_a_service_that_never_ran_is_started() -> None:
    assert decide(see()).start


def test_a_running_service_is_left_alone() -> None:
    decision = decide(see(run("STARTED", WEEKS), holder=7, holder_run="aaaaaaaa-1"))
    assert not decision.acts
    assert "runs" in decision.reason and "pid 7" in decision.reason


def test_a_holder_that_names_no_run_belongs_to_the_one_that_started() -> None:
    assert not decide(see(run("STARTED", WEEKS), holder=7)).acts


@pytest.mark.parametrize("status", ["NOT_STARTED", "STARTING", "STARTED"])
def test_a_launch_is_given_time(status: str) -> None:
    assert not decide(see(run(status, 9))).acts


def test_a_queued_run_waits_for_its_turn() -> None:
    assert not decide(see(run("QUEUED", WEEKS))).acts


def test_a_process_that_is_quicker_than_its_status_is_left_alone() -> None:
    assert not decide(see(run("STARTING", 31), holder=7, holder_run="aaaaaaaa-1")).acts


# Deaths


def test_started_without_a_lock_is_reported_failed_and_started_anew() -> None:
    decision = decide(see(run("STARTED", 10)))
    assert decision.fail == ("aaaaaaaa-1",)
    assert decision.start


def test_starting_without_a_process_is_given_longer() -> None:
    assert not decide(see(run("STARTING", STARTING_GRACE_SECONDS - 1))).acts
    assert decide(see(run("STARTING", STARTING_GRACE_SECONDS))).fail


def test_each_failed_start_widens_the_grace_of_a_slow_machine() -> None:
    failed = run("FAILURE", 60, lived=30, id="b")
    assert not decide(see(run("STARTING", STARTING_GRACE_SECONDS + 1), failed)).acts
    assert decide(see(run("STARTING", 2 * STARTING_GRACE_SECONDS), failed)).fail


def test_a_failed_run_is_started_anew_at_once() -> None:
    assert decide(see(run("FAILURE", 0, lived=1))).start


def test_a_run_that_was_ended_from_outside_is_started_anew() -> None:
    assert decide(see(run("SUCCESS", 3))).start


def test_the_stale_run_of_a_reboot_is_reported_though_its_successor_runs() -> None:
    decision = decide(see(run("STARTED", 60, id="new"), run("STARTED", WEEKS, id="old"), holder=7, holder_run="new"))
    assert decision.fail == ("old",)
    assert not decision.start and not decision.send


def test_a_run_that_waits_to_take_over_is_no_dead_one() -> None:
    old, new = run("STARTED", WEEKS, id="old"), run("STARTED", 60, id="new")
    assert decide(see(new, old, holder=7, holder_run="old")).fail == ("new",)
    assert not decide(see(new, old, holder=7, holder_run="old", next_run="new")).acts
    # The one that ended for it is no reason to start a third.
    assert not decide(see(new, run("SUCCESS", 1, id="old"), next_run="new")).acts


# A lock that Dagster does not own


def test_a_lock_without_a_run_is_ended_first_and_started_later() -> None:
    first = decide(see(run("FAILURE", 60), holder=7, holder_run="aaaaaaaa-1"))
    assert first.send is signal.SIGTERM and not first.start
    assert first.signalled == Signalled(7, NOW)


def test_it_is_killed_when_it_does_not_go() -> None:
    seen = see(run("FAILURE", 60), holder=7)
    waiting = decide(seen, Signalled(7, NOW - KILL_SECONDS + 1))
    assert not waiting.acts and waiting.signalled == Signalled(7, NOW - KILL_SECONDS + 1)
    assert decide(seen, Signalled(7, NOW - KILL_SECONDS)).send is signal.SIGKILL


def test_another_holder_is_asked_first_too() -> None:
    assert decide(see(holder=8), Signalled(7, NOW - WEEKS)).send is signal.SIGTERM


def test_a_run_launched_by_hand_beside_an_orphan_does_not_own_its_lock() -> None:
    decision = decide(see(run("STARTED", 1, id="new"), run("FAILURE", 60, id="old"), holder=7, holder_run="old"))
    assert decision.send is signal.SIGTERM


def test_a_process_that_never_stops_is_reminded_then_killed() -> None:
    stuck = see(run("CANCELING", STOP_SECONDS), holder=7, holder_run="aaaaaaaa-1")
    assert not decide(see(run("CANCELING", STOP_SECONDS - 1), holder=7, holder_run="aaaaaaaa-1")).acts
    assert decide(stuck).send is signal.SIGTERM
    assert decide(stuck, Signalled(7, NOW - KILL_SECONDS)).send is signal.SIGKILL


# What a person stopped


def test_a_terminated_run_stays_stopped() -> None:
    decision = decide(see(run("CANCELED", 3)))
    assert not decision.acts
    assert "stopped by a person" in decision.reason


def test_and_stays_stopped_for_weeks_and_across_reboots() -> None:
    assert not decide(see(run("CANCELED", WEEKS), run("SUCCESS", 2 * WEEKS, id="b"), switched_on=NOW - 2 * WEEKS)).acts


def test_turning_the_sensor_on_switches_it_on() -> None:
    assert decide(see(run("CANCELED", 60), switched_on=NOW - 59)).start


def test_a_run_launched_by_hand_switches_it_on() -> None:
    by_hand = run("FAILURE", 5, id="new")
    assert decide(see(by_hand, run("CANCELED", 60, id="old"))).start


def test_a_cancellation_that_died_halfway_is_one() -> None:
    decision = decide(see(run("CANCELING", 10)))
    assert decision.cancel == ("aaaaaaaa-1",) and not decision.fail and not decision.start


def test_the_moment_between_lock_and_status_is_no_death() -> None:
    assert not decide(see(run("CANCELING", 1))).acts


# Repeated deaths


def failures(count: int, since: float = 0.0) -> list[Run]:
    return [run("FAILURE", since + 100 * n, lived=1, id=f"{n}") for n in range(count)]


@pytest.mark.parametrize("count", range(1, 10))
def test_pauses_grow_up_to_a_minute(count: int) -> None:
    pause = PAUSE_SECONDS[min(count, len(PAUSE_SECONDS) - 1)]
    assert decide(see(*failures(count, pause))).start
    if pause:
        waiting = decide(see(*failures(count, pause - 1)))
        assert not waiting.start
        assert f"failed {count} times" in waiting.reason and "in 1 s" in waiting.reason
    assert pause <= 60


def test_a_long_life_ends_the_row() -> None:
    assert decide(see(run("FAILURE", 0, lived=60), *failures(9, 5))).start


def test_turning_the_sensor_on_ends_a_pause() -> None:
    assert decide(see(*failures(9, 5), switched_on=NOW - 1)).start


def test_a_clock_that_was_set_back_delays_nothing() -> None:
    assert decide(see(*failures(9, -WEEKS))).start
    assert decide(see(run("STARTED", -WEEKS))).fail


# The platform ends


@pytest.mark.parametrize("status", ["STARTED", "FAILURE", "CANCELED", "SUCCESS"])
def test_nothing_is_done_while_the_platform_shuts_down(status: str) -> None:
    assert not decide(see(run(status, WEEKS), shutting_down=True)).acts


# Whatever is seen


STATUSES = st.sampled_from([*sorted(ACTIVE), "SUCCESS", "FAILURE", "CANCELED"])
RUNS = st.lists(st.tuples(STATUSES, st.floats(-1e5, 1e6), st.floats(0, 1e6)), max_size=5)


@given(
    RUNS,
    st.none() | st.integers(2, 9),
    st.none() | st.sampled_from(["0", "1", "gone"]),
    st.none() | st.floats(-1e6, 1e6),
)
def test_never_two_at_a_time(
    runs: list[tuple[str, float, float]], holder: int | None, whose: str | None, on: float | None
) -> None:
    listed = [run(status, since, lived, id=str(n)) for n, (status, since, lived) in enumerate(runs)]
    seen = see(*listed, holder=holder, holder_run=whose if holder else None, switched_on=on and NOW + on)
    decision = decide(seen, Signalled(2, NOW - 100))
    ended = {*decision.fail, *decision.cancel}
    active = [r.id for r in listed if r.status in ACTIVE and r.id not in ended]
    assert not (decision.start and (holder is not None or active))
    assert not (decision.send and (holder is None or decision.start))
    assert ended <= {r.id for r in listed if r.status in ACTIVE}
    assert decision.reason

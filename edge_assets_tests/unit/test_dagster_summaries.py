"""What a service's run says of itself: sentences, and warnings that cannot flood it."""

from __future__ import annotations

import logging

from edge_assets.defs.run_log import LINES, kept, log_path
from edge_assets.defs.summaries import summary
from edge_assets.settings import Settings


def test_the_bridge_says_what_came_and_went() -> None:
    before = {"received": 1_000, "logged": 990, "in_flight": 10, "dead_letters": 1}
    now = {
        "received": 1_540,
        "logged": 1_540,
        "in_flight": 0,
        "dead_letters": 1,
        "suppressed": 2,
        "connected": True,
        "last_received_at": "2026-11-22T10:12:03.250+00:00",
        "alarm": None,
    }
    assert summary("bridge", now, before, 300) == (
        "in 5 minutes: 540 messages taken from the broker (108 a minute), 550 acknowledged by Kafka; 1,540 since the "
        "start; 0 on their way; newest at 10:12:03 UTC; 2 redeliveries left out"
    )


def test_the_stream_writer_says_lag_and_last_offsets() -> None:
    before = {"batch": 100, "written": {"records": 10_000, "readings": 40_000, "dead_letter": 3}}
    now = {
        "batch": 130,
        "written": {"records": 10_540, "readings": 42_100, "dead_letter": 4},
        "positions": {"sensor-events/0": 12_345, **{f"telemetry.lab-{n}/0": 10 * n for n in range(1, 9)}},
        "progress": {"lag": 12, "batch_duration_ms": 912},
        "lost": {"records": 0},
    }
    assert summary("stream_writer", now, before, 300) == (
        "in 5 minutes: 540 records of the log written in 30 batches, the last in 0.9 s (108 a minute); 2,100 readings "
        "of them; 1 DEAD LETTERS; lag 12 records; last offsets sensor-events/0 12,344, telemetry.lab-1/0 9, "
        "telemetry.lab-2/0 19, telemetry.lab-3/0 29 and of 5 other partitions"
    )
    # Batches are numbered on across starts: the first summary of a run does not take all of them for its own.
    assert "batches" not in summary("stream_writer", now, {}, 300)


def test_trouble_is_in_the_sentence() -> None:
    said = summary("bridge", {"connected": False, "alarm": "Kafka does not answer; the MQTT broker queues"}, {}, 60)
    assert "NOT connected to the broker" in said
    assert said.endswith("PROBLEM: Kafka does not answer; the MQTT broker queues")


def test_every_service_has_a_sentence_whatever_it_counts() -> None:
    for service in ("simulators", "alerter", "live", "bridge", "stream_writer", "another"):
        assert summary(service, {}, {}, 300) == "nothing to count yet"
        assert summary(service, {"connected": True, "run_id": "x"}, {"messages": "odd"}, 0).startswith("in 0 s: ")
    assert summary("another", {"counted": 3}, {"counted": 1}, 7200) == "in 2.0 hours: counted 3 (+2)"


def test_warnings_reach_the_run_and_cannot_flood_it(settings: Settings) -> None:
    log = logging.getLogger("edge_assets.bridge.loop")
    with kept(settings, "bridge") as said:
        log.info("only in the file")
        for number in range(LINES + 5):
            log.warning("the broker is away: %d", number)
        assert [line for _, line in said.take()] == [f"the broker is away: {number}" for number in range(LINES)]
        assert said.renew() == 5
        log.error("and again")
        assert list(said.take()) == [(logging.ERROR, "and again")]
    log.warning("not heard any more")
    written = log_path(settings, "bridge").read_text()
    assert written.count("the broker is away") == LINES + 5
    assert "INFO edge_assets.bridge.loop: only in the file" in written and "any more" not in written

"""The services as Dagster sees them: a job with one op each, whose run lasts for weeks.

The op holds a loop (`edge_assets.service`) that knows nothing of Dagster. The loop works in a thread of its own, so
that neither a slow write to Dagster's storage nor a signal ever interrupts it; the main thread watches: it hears
signals and Dagster's word, writes a summary every few minutes and what the loop warns of, and reports materializations.

How a run ends:

| who | how | the run becomes |
|---|---|---|
| a person, in Dagster | Terminate | CANCELED: stays stopped until it is switched on |
| a person, in Dagster | launches the job anew | SUCCESS: the new run takes over (`edge_assets.defs.takeover`) |
| `edge down` | SIGTERM | SUCCESS: the next `edge up` starts it |
| the loop | raises, or returns unasked | FAILURE: started anew |
| nobody | kill -9, reboot | FAILURE, by the code server or by the keep-alive: started anew |
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg

from edge_assets.defs import takeover
from edge_assets.defs.reporting import Reporter
from edge_assets.defs.run_log import RunLog, kept, log_path
from edge_assets.defs.shutdown import is_shutting_down, wanted
from edge_assets.defs.storage import held_open
from edge_assets.defs.summaries import summary
from edge_assets.errors import PlatformError
from edge_assets.service import Report, run_service
from edge_assets.settings import Settings

log = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
DAGSTER_SECONDS = 5.0
"""how often the run asks Dagster whether it is to stop, which matters where the code server that could have told
it has been replaced"""
SUMMARY_SECONDS = 300.0

STOP_STATUSES = (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE)
JOB_TAG = "edge/service"
LOG_TAG = "edge/log"
SENSOR_TAG, PARENT_TAG = "dagster/sensor_name", "dagster/parent_run_id"
"""Dagster's own: of a run that a sensor asked for; of one that a person executes again"""


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    loop: str
    """`module:function` of its loop, imported only where it runs"""
    description: str


SIMULATORS = Service(
    "simulators",
    "edge_assets.sources.simulators:run",
    "Simulated devices (a Zigbee2MQTT with door contacts and plugs, a Pico W, rooms of a building): publishes to the "
    "MQTT broker as the real ones do.",
)
BRIDGE = Service(
    "bridge",
    "edge_assets.bridge.loop:run",
    "MQTT → Kafka: carries each message over byte for byte, once, and acknowledges it when the log has it.",
)
STREAM_WRITER = Service(
    "stream_writer",
    "edge_assets.stream.loop:run",
    "Kafka → Delta: Spark decodes the log's records, and is the only one to commit to the lake's tables.",
)
ALERTER = Service(
    "alerter",
    "edge_assets.alerts.loop:run",
    "MQTT → people: watches what devices say by the rules, notifies, and publishes each alert for the lake. Needs "
    "neither Kafka nor Spark.",
)
LIVE = Service(
    "live",
    "edge_assets.live.loop:run",
    "MQTT → screens: the live page, the API that dashboards read, and metrics for Prometheus. Needs neither Kafka nor "
    "Spark.",
)


def services(settings: Settings) -> list[Service]:
    """The services that these settings ask for, in the order in which a reading travels."""
    known = {service.name: service for service in (SIMULATORS, ALERTER, LIVE, BRIDGE, STREAM_WRITER)}
    return [known[name] for name in wanted(settings)]


def service_job(service: Service, settings: Settings) -> dg.JobDefinition:
    """The job that holds the service up, in one process."""
    path = log_path(settings, service.name)

    @dg.op(name=f"hold_{service.name}", description=service.description)
    def hold(context: dg.OpExecutionContext) -> None:
        hold_loop(context, service, settings)

    @dg.job(
        name=service.name,
        description=f"{service.description} Runs for weeks; its keep-alive sensor starts it. To stop the service, "
        "terminate its run: it stays stopped. To start or restart it, launch this job: where it runs, the new run "
        f"takes over. Its run's log has a summary every few minutes and warnings; all that it says is in {path}.",
        executor_def=dg.in_process_executor,
        tags={JOB_TAG: service.name, LOG_TAG: str(path)},
        metadata={"log": dg.MetadataValue.path(str(path))},
    )
    def job() -> None:
        hold()

    return job


def hold_loop(context: dg.OpExecutionContext, service: Service, settings: Settings) -> None:
    """Run the loop until it ends or somebody ends it; returns when it was sent SIGTERM and has stopped.

    Raises what the loop raised, and Dagster's own interruption where the run is being terminated.
    """
    if is_shutting_down(settings):
        context.log.info(f"{service.name} does not start: the platform is shutting down")
        return
    stop = threading.Event()
    dagster_home = Path(context.instance.root_directory)
    with stop_on_signals(stop), held_open(dagster_home), kept(settings, service.name) as said:
        watch = Watch(context, service, settings, stop, said)
        log.info("%s begins: pid %d, run %s", service.name, os.getpid(), context.run_id)
        said.say(
            f"{service.name} is pid {os.getpid()}. Here: a summary every {SUMMARY_SECONDS / 60:.0f} minutes, and "
            f"warnings. All that it says: {log_path(settings, service.name)}"
        )
        with ThreadPoolExecutor(1, service.name) as thread:
            # The loop is imported in its thread too: an import of seconds delays no signal.
            work = thread.submit(watch.hold)
            watch.until_done(work)
        log.info("%s has ended", service.name)
    work.result()
    status = _status(context)
    terminated = status in STOP_STATUSES
    if not terminated and not stop.is_set():
        raise PlatformError(f"{service.name}: its loop ended unasked, expected it to run on; its log lines say why")
    context.log.info(f"{service.name} stopped: {_why(settings, status, watch.successor)}")
    if terminated:
        raise dg.DagsterExecutionInterruptedError()


def _why(settings: Settings, status: dg.DagsterRunStatus | None, successor: str | None) -> str:
    """Who has ended it, and what comes next, for the person who reads its run."""
    if status == dg.DagsterRunStatus.FAILURE:
        return "this run was reported failed. Its keep-alive starts the service again"
    if status in STOP_STATUSES:
        return "a person terminated this run. It stays stopped; launch the job to start it again"
    if is_shutting_down(settings):
        return "the platform is shutting down. `edge up` starts it again"
    if successor:
        return f"run {successor[:8]} takes over"
    return "its process was sent SIGTERM. Its keep-alive starts it again"


class Watch:
    """What the run's main thread does while the loop works in another."""

    def __init__(
        self,
        context: dg.OpExecutionContext,
        service: Service,
        settings: Settings,
        stop: threading.Event,
        said: RunLog,
    ) -> None:
        self.counters: dict[str, Any] = {}
        self.successor: str | None = None
        """the run that takes the service over, where this one ended for it"""
        self._context = context
        self._service = service
        self._settings = settings
        self._stop = stop
        self._said = said
        self._reporter = Reporter(settings, service.name)
        self._before: dict[str, Any] = {}
        self._summed_up = time.monotonic()
        self._trouble: str | None = None

    def hold(self) -> None:
        """In the loop's thread: run the loop under its lock; a run that a person launched takes the lock over."""
        tags = self._context.run.tags
        if SENSOR_TAG not in tags or PARENT_TAG in tags:
            takeover.take_over(self._settings, self._service.name, self._context.run_id, self._stop, self._said.say)
        if not self._stop.is_set():
            run_service(self._service.name, self._counting, self._settings, self._stop)

    def _counting(self, settings: Settings, stop: threading.Event, report: Report) -> None:
        """The loop, with its counters kept where the main thread sees them."""

        def keep(news: Mapping[str, Any]) -> None:
            self.counters.update(news)
            report(news)

        keep({"run_id": self._context.run_id})
        module, _, function = self._service.loop.partition(":")
        try:
            getattr(import_module(module), function)(settings, stop, keep)
        finally:
            # As long as the lock is held, whoever waits for it says so.
            self.successor = takeover.next_run(settings, self._service.name)

    def until_done(self, work: Future[None]) -> None:
        done = threading.Event()
        work.add_done_callback(lambda _: done.set())
        asked = time.monotonic()
        while not done.wait(WATCH_SECONDS):
            if is_shutting_down(self._settings):
                self._stop.set()
            now = time.monotonic()
            if now - asked >= DAGSTER_SECONDS:
                asked = now
                self._attempt(self._obey)
                self._attempt(self._report)
                self._attempt(self._repeat)
            if now - self._summed_up >= SUMMARY_SECONDS:
                self._attempt(self._sum_up)
        self._attempt(lambda: self._report(last=True))
        self._attempt(self._repeat)
        self._attempt(lambda: self._sum_up(last=True))

    def _obey(self) -> None:
        if _status(self._context) in STOP_STATUSES:
            self._stop.set()

    def _report(self, last: bool = False) -> None:
        self._reporter.report(self._context.instance, dict(self.counters), last)

    def _repeat(self) -> None:
        """What the loop has warned of, on the run's page."""
        for level, line in self._said.take():
            self._context.log.log(level, line)

    def _sum_up(self, last: bool = False) -> None:
        counters, now = dict(self.counters), time.monotonic()
        if last:
            counters.pop("connected", None)  # who has stopped is not connected, which is no trouble
        seconds, before = now - self._summed_up, self._before
        self._summed_up, self._before = now, counters
        left_out = self._said.renew()
        more = (
            f"; {left_out:,} further warnings are in {log_path(self._settings, self._service.name)}" if left_out else ""
        )
        told = summary(self._service.name, counters, before, seconds) + more
        log.info("%s", told)
        self._context.log.info(told)

    def _attempt(self, step: Callable[[], None]) -> None:
        """Dagster's storage in trouble (locked, disk full) stops no service: said once when it starts and ends."""
        try:
            step()
        except Exception as error:
            if self._trouble is None:
                print(f"Dagster's storage cannot be used: {error!r}; the service works on", file=sys.stderr, flush=True)
            self._trouble = step.__name__
        else:
            if self._trouble == step.__name__:
                print("Dagster's storage can be used again", file=sys.stderr, flush=True)
                self._trouble = None


def _status(context: dg.OpExecutionContext) -> dg.DagsterRunStatus | None:
    run = context.instance.get_run_by_id(context.run_id)
    return run.status if run else None


@contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Let SIGTERM and Dagster's own interrupt set `stop`, in place of an exception at a random line."""
    if threading.current_thread() is not threading.main_thread():
        # Only in tests that execute the job in a thread; signals reach the main thread alone.
        yield
        return
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

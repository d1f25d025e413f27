"""`edge up` and `edge down`: the platform's parts, started in order, kept running, stopped in order.

    EDGE_HOME/run/supervisor.lock   held while the platform is up: a second `edge up` is refused
    EDGE_HOME/run/supervisor.json   what runs, where, since when; `edge status` reads it
    EDGE_HOME/logs/supervisor.log   what it said

A supervisor that is killed leaves its parts running. The next one finds them by their pid files and stops them first,
so that nothing fights for ports and files.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from edge_assets import lake_claim, upgrades
from edge_assets.alerts import farewell
from edge_assets.defs import shutdown
from edge_assets.errors import AlreadyRunning, PlatformError
from edge_assets.platform import broker, endpoints, jars, parts, process
from edge_assets.platform.broker import Engine
from edge_assets.platform.console import Console
from edge_assets.platform.java import find_java
from edge_assets.platform.keeper import Keeper
from edge_assets.platform.renewal import Renewal
from edge_assets.service import lock_holder, read_status, service_lock, status_path, write_json
from edge_assets.settings import Settings
from edge_assets.upgrades import home_format

NAME = "supervisor"
HOUSEKEEPING_SECONDS = 60.0
SERVICES_STOP_SECONDS = 40.0
DOWN_SECONDS = 150.0
DETACH_SECONDS = 900.0
FIRST_SUBSCRIPTION_SECONDS = 30.0
BRIDGE = "bridge"


def up(settings: Settings, console: Console) -> None:
    """Run the platform until SIGINT, SIGTERM or SIGHUP; returns when all is stopped.

    Raises `AlreadyRunning` where one runs, and what kept a part from starting, after stopping the others.
    """
    home_format.refuse_newer(settings)
    settings.home.mkdir(parents=True, exist_ok=True)
    with service_lock(settings, NAME):
        supervisor = Supervisor(settings, console)
        with _signals(supervisor.kill) as stop:
            try:
                supervisor.start(stop)
                supervisor.watch(stop)
            except _Interrupted:
                pass
            finally:
                supervisor.stop()


class _Interrupted(Exception):
    """It was told to stop while it fetched something."""


class Supervisor:
    """The parts of one platform, and the status file that tells of them."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self.original = settings
        self.settings = settings
        self.console = console
        self.keepers: list[Keeper] = []
        self._state = "starting"
        self._started = _now()
        self._writing = threading.Lock()
        self._troubles: set[str] = set()

    def start(self, stop: threading.Event) -> None:
        """In order: sweep up after a killed predecessor, claim the lake, let the home be of this version, fetch what is
        missing, choose ports, start the parts."""
        self._tell()
        sweep(self.original, self.console.say)
        lake_claim.ensure_where_reached(self.original, self.console.say)
        upgrades.ensure(self.original, parts.environment(self.original), self.console.say)
        shutdown.clear_shutdown(self.original)
        engine = self._fetch(stop)
        self.settings = endpoints.resolve(self.original)
        parts.prepare_dagster(self.settings)
        wanted = parts.parts(self.settings, self.original, engine)
        self.keepers = [Keeper(part, self.console.say, self._tell) for part in wanted]
        first = not status_path(self.settings, BRIDGE).exists()
        self._start_parts(stop)
        if first:
            self._await_subscription(stop)
        if not stop.is_set():
            if farewell.leave(self.settings):
                self.console.say("alerts are switched off: the broker no longer keeps messages for them")
            self._state = "running"
            self._tell()
            for line in addresses(self.settings):
                self.console.say(line)

    def watch(self, stop: threading.Event) -> None:
        """Keep log files small, and Dagster's processes young, until it is time to stop."""
        renewal = Renewal(self.settings)
        while not stop.wait(HOUSEKEEPING_SECONDS):
            with self._told_once("keeping log files small"):
                for log in (self.settings.home / "logs").glob("*.log"):
                    process.rotate(log)
            # One at a time: the next one is due a minute later at the earliest.
            any(keeper.renew(renewal.reason) for keeper in self.keepers)

    def stop(self) -> None:
        """In order: no new services, the daemon, the services, the rest in the reverse order of starting."""
        self._state = "stopping"
        self._tell()
        self.console.say("stopping")
        shutdown.mark_shutdown(self.settings)
        keepers = {keeper.part.name: keeper for keeper in self.keepers}
        for name in _stop_order():
            if name is None:
                self._stop_services()
            elif name in keepers:
                self.console.progress(f"stopping {name}")
                keepers[name].stop()
        self._state = "stopped"
        self._tell()
        self.console.say("stopped")

    def kill(self) -> None:
        """For who can't wait: the parts, and the services with them, end without a goodbye."""
        for keeper in self.keepers:
            keeper.kill()

    def _fetch(self, stop: threading.Event) -> Engine | None:
        """Make sure of Java, jars and the broker. Returns the broker to run, None where the user has their own."""

        def progress(news: object) -> None:
            if stop.is_set():
                raise _Interrupted
            self.console.progress(news)

        find_java()
        engine = self._engine()
        for name in jars.needed(self.original):
            jars.ensure_jars(self.original, name, progress)
        return engine

    def _engine(self) -> Engine | None:
        if self.original.mqtt.host is not None:
            return None
        engine = broker.ensure(self.original, self.console.say)
        if engine.mosquitto is None:
            self.console.say(
                f"running amqtt in place of Mosquitto ({engine.instead}): when it or the bridge dies, messages are lost"
            )
        return engine

    def _start_parts(self, stop: threading.Event) -> None:
        """Each as soon as those that it needs are up."""
        up: set[str] = set()
        waiting = list(self.keepers)
        started: list[Keeper] = []
        while (waiting or started) and not stop.is_set():
            ready = [keeper for keeper in waiting if up.issuperset(keeper.part.after)]
            waiting = [keeper for keeper in waiting if keeper not in ready]
            for keeper in ready:
                keeper.start()
            started += ready
            self.console.progress(f"starting {', '.join(keeper.part.name for keeper in started)}")
            seconds = started[0].first_start(stop)
            up.add(started[0].part.name)
            if not stop.is_set():
                self.console.say(f"{started[0].part.name} is up ({seconds:.1f} s)")
            del started[0]

    def _await_subscription(self, stop: threading.Event) -> None:
        """Before the bridge's first subscription a broker keeps nothing for it: "up" is said when it has one.

        A broker that is not there yet (the user's own) is not waited for longer than `FIRST_SUBSCRIPTION_SECONDS`.
        """
        self.console.progress("waiting for the bridge's first subscription")
        deadline = time.monotonic() + FIRST_SUBSCRIPTION_SECONDS
        while not read_status(self.settings, BRIDGE).get("connected") and not stop.wait(process.POLL_SECONDS):
            if time.monotonic() > deadline:
                self.console.say(
                    "the bridge has not subscribed yet: what is published before it has is not kept; "
                    "`edge status` says what it waits for"
                )
                return

    def _stop_services(self) -> None:
        self.console.progress("stopping the services")
        for name in shutdown.stop_services(self.settings, SERVICES_STOP_SECONDS):
            self.console.say(f"{name} did not stop in {SERVICES_STOP_SECONDS:.0f} s and was killed")

    def _tell(self) -> None:
        """Write the status file. What runs goes on where that can't be done; told once when it starts and ends."""
        news = {
            "pid": os.getpid(),
            "state": self._state,
            "started_at": self._started,
            "services": {keeper.part.name: keeper.status() for keeper in self.keepers},
        }
        with self._writing, self._told_once("writing the status"):
            write_json(status_path(self.settings, NAME), news)

    @contextmanager
    def _told_once(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if doing not in self._troubles:
                self.console.say(f"{doing}: {error.strerror}; going on without. `edge doctor` says more")
            self._troubles.add(doing)
        else:
            if doing in self._troubles:
                self._troubles.remove(doing)
                self.console.say(f"{doing}: possible again")


def detach(settings: Settings, arguments: list[str], console: Console) -> None:
    """Start `edge up` in the background, and wait until the platform is up.

    `arguments` are those of the command line that the child needs too. Raises what the child met.
    """
    home_format.refuse_newer(settings)
    holder = lock_holder(settings, NAME)
    if holder is not None:
        raise AlreadyRunning(f"the platform of {settings.home} runs already (pid {holder}); `edge status` shows it")
    log = settings.home / "logs" / f"{NAME}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    status_path(settings, NAME).unlink(missing_ok=True)
    with log.open("ab") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "edge_assets.cli", "up", "--background", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    _await_running(settings, child, log, console)


def _await_running(settings: Settings, child: subprocess.Popen[bytes], log: Path, console: Console) -> None:
    """Show what the child says until the platform is up. Raises with the child's exit code where it ended."""
    shown = log.stat().st_size
    deadline = time.monotonic() + DETACH_SECONDS
    running = False
    while not running and child.poll() is None and time.monotonic() < deadline:
        running = read_status(settings, NAME).get("state") == "running"
        shown = _show_from(log, shown, console)
        time.sleep(process.POLL_SECONDS)
    _show_from(log, shown, console)
    if not running:
        problem = f"ended with code {child.returncode}" if child.returncode is not None else "is not up yet"
        error = PlatformError(f"starting the platform of {settings.home}: it {problem}; {log} says why")
        error.exit_code = child.returncode or PlatformError.exit_code
        raise error


def down(settings: Settings, console: Console) -> bool:
    """Stop the platform, and what a killed one left behind. False where nothing ran."""
    holder = lock_holder(settings, NAME)
    if holder is not None:
        shutdown.send(holder, signal.SIGTERM)
        console.progress(f"stopping the platform (pid {holder})")
        if not process.wait_until(lambda: lock_holder(settings, NAME) != holder, DOWN_SECONDS):
            console.say(f"the supervisor (pid {holder}) did not end in {DOWN_SECONDS:.0f} s: killing it")
            shutdown.send(holder, signal.SIGKILL)
            process.wait_until(lambda: lock_holder(settings, NAME) != holder, 10)
        process.wait_until(lambda: process.identity(holder) is None, 10)  # its lock is free a moment before it is gone
    with service_lock(settings, NAME):
        left = sweep(settings, console.say)
    return holder is not None or left


def sweep(settings: Settings, say: Callable[[str], None]) -> bool:
    """Stop what a killed supervisor left running, in the order of stopping. False where there was nothing.

    To be called with the supervisor's lock held.
    """
    left = {part: found for part in parts.ORDER if (found := process.find(settings, part))}
    services = [name for name in shutdown.SERVICES if lock_holder(settings, name)]
    if not left and not services:
        return False
    say(f"an earlier platform left {', '.join([*left, *services])} running: stopping them first")
    shutdown.mark_shutdown(settings)
    for name in _stop_order():
        if name is None:
            shutdown.stop_services(settings, SERVICES_STOP_SECONDS)
        elif name in left:
            left[name].stop(grace_seconds=15)
    return True


def addresses(settings: Settings) -> list[str]:
    """Where to look, for a person."""
    live = [
        f"  live page {endpoints.url(settings.live)}",
        f"  metrics   {endpoints.url(settings.metrics)}/metrics",
    ]
    host, port = broker.address(settings)
    return [
        "the platform is up:",
        *(live[:1] if settings.live.enabled else []),
        f"  Dagster   {endpoints.url(settings.dagster)}",
        f"  MQTT      {host}:{port}",
        f"  Kafka     {settings.kafka.bootstrap}",
        f"  lake      {settings.lake_path}",
        *(live[1:] if settings.live.enabled else []),
        "look with `edge status`, ask with `edge sql`, stop with Ctrl-C or `edge down`",
    ]


def _stop_order() -> list[str | None]:
    """Names of parts; None stands for the services that Dagster runs."""
    return [parts.DAEMON, None, *(name for name in reversed(parts.ORDER) if name != parts.DAEMON)]


def _show_from(log: Path, position: int, console: Console) -> int:
    """Show the lines of a log from a position on, without their times. Returns the position behind them."""
    with log.open("rb") as file:
        file.seek(position)
        for raw in file:
            if not raw.endswith(b"\n"):
                break
            position += len(raw)
            console.show(raw.decode(errors="replace").rstrip("\n"))
    return position


@contextmanager
def _signals(kill: Callable[[], None]) -> Iterator[threading.Event]:
    """An event that SIGINT, SIGTERM and SIGHUP set; a second SIGINT calls `kill`.

    What a parent left ignored or blocked (`nohup`, a shell's `&`) would otherwise reach our children too.
    """
    stop = threading.Event()

    def on_signal(number: int, _frame: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            kill()
        stop.set()

    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

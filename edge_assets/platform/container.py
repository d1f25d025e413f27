"""The platform in containers: one image, and a container each for Dagster's code server, web page and daemon.

    python -m edge_assets.platform.container code --as code     the code server, and the services as its runs
    python -m edge_assets.platform.container web --code code    the web page
    python -m edge_assets.platform.container daemon --code code
    python -m edge_assets.platform.container prepare            what `code` does before all else; ends when it is done
    python -m edge_assets.platform.container fetch              while the image is built: jars into its cache

Broker, log and store are containers of their own, which the settings name. An engine restarts what dies and stops in
the order of `depends_on` (page and daemon, then code), so that little is left here of what `edge up` does elsewhere: to
prepare, to wait for others (after a reboot an engine starts all at once), and to end the services in order.

`code` alone has the platform's home, with locks and pids: they mean something in one container only. Page and daemon
share `EDGE_HOME/dagster` with it and nothing else. It holds the supervisor's lock and writes its status file, so that
`edge status`, and every other command, works in it.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from edge_assets import lake_claim, upgrades
from edge_assets.alerts import farewell
from edge_assets.defs import shutdown
from edge_assets.errors import EdgeError, PlatformError, SettingsError
from edge_assets.platform import broker, endpoints, health, parts, process
from edge_assets.platform.renewal import Renewal
from edge_assets.service import service_lock, status_path, write_json
from edge_assets.settings import Settings, load_settings
from edge_assets.upgrades import home_format

EVERYWHERE = "0.0.0.0"
NAME = "supervisor"
PREPARE_SECONDS = 120.0
"""how long the services wait for the log; alerts and the live page do not need it, so then they start without"""
WAIT_SECONDS = 300.0
"""how long page and daemon wait for the code server before they end, and are started anew"""
SERVICES_STOP_SECONDS = 40.0
STATUS_SECONDS = 15.0
PAUSE_SECONDS = (0.0, 2.0, 5.0, 15.0)
"""before the code server starts again, by how often in a row it died young; after the last one the container ends"""
STEADY_SECONDS = 60.0
POLL_SECONDS = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code; `web` and `daemon` become Dagster's process and do not return."""
    parser = argparse.ArgumentParser(prog="edge_assets.platform.container")
    parser.add_argument("role", choices=("code", "web", "daemon", "prepare", "fetch"))
    parser.add_argument("--as", dest="own", default=parts.LOOPBACK, help="the name under which others reach this one")
    parser.add_argument("--code", default=parts.LOOPBACK, help="the name of the code server's container")
    parser.add_argument("--web", help="the name of the page's container, to tell how it is")
    given = parser.parse_args(arguments)
    try:
        original = load_settings()
        settings = endpoints.remembered(original)
        if given.role == "fetch":
            fetch(settings)
        elif given.role == "prepare":
            prepare(settings)
            _end_here()
        elif given.role == "code":
            _require_own_log_and_broker(original)
            return code(settings, given.own, given.web)
        else:
            command = parts.web_command(settings) if given.role == "web" else parts.daemon_command(settings)
            become(settings, command, given.code)
    except EdgeError as error:
        say(str(error))
        return error.exit_code
    return 0


def code(settings: Settings, own_name: str, web_name: str | None = None) -> int:
    """Serve code and run services until SIGTERM, and end them in order. Returns the exit code."""
    home_format.refuse_newer(settings)
    settings.home.mkdir(parents=True, exist_ok=True)
    with service_lock(settings, NAME):
        upgrades.ensure(settings, parts.environment(settings), say)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        shutdown.clear_shutdown(settings)
        parts.prepare_dagster(settings, own_name)
        server = CodeServer(settings, own_name, web_name)
        try:
            return server.run(stop)
        finally:
            server.end()


class CodeServer:
    """The code server's process, what is done before it, and the status file that tells of all containers."""

    def __init__(self, settings: Settings, own_name: str, web_name: str | None) -> None:
        self._settings = settings
        self._host = parts.LOOPBACK if own_name == parts.LOOPBACK else EVERYWHERE
        self._web = f"http://{web_name}:{settings.dagster.port}{parts.PAGE}" if web_name else None
        self._preparing: subprocess.Popen[bytes] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._state = "starting"
        self._started = _now()
        self._restarts = 0
        self._seen: dict[str, dict[str, Any]] = {}
        self._renewal = Renewal(settings)

    def run(self, stop: threading.Event) -> int:
        """Until `stop` is set, or the code server dies too often. Returns the exit code."""
        self._tell()
        if not self._prepare(stop):
            return 0
        early = 0
        while not stop.wait(PAUSE_SECONDS[early]):
            began = time.monotonic()
            exit_code = self._serve(stop)
            if stop.is_set():
                break
            if exit_code is None:
                early = 0
                continue
            early = 0 if time.monotonic() - began >= STEADY_SECONDS else early + 1
            say(f"the code server ended unasked (code {exit_code}); the services work on")
            if early == len(PAUSE_SECONDS):
                say(f"it did so {early} times in a row, each within {STEADY_SECONDS:.0f} s: this container ends")
                return exit_code or PlatformError.exit_code
            self._restarts += 1
        return 0

    def end(self) -> None:
        """No new services, the services by SIGTERM, the code server."""
        self._state = "stopping"
        self._tell()
        shutdown.mark_shutdown(self._settings)
        if self._preparing is not None:
            self._preparing.kill()
            self._preparing.wait()
        for name in shutdown.stop_services(self._settings, SERVICES_STOP_SECONDS):
            say(f"{name} did not stop in {SERVICES_STOP_SECONDS:.0f} s and was killed")
        if self._child is not None:
            _stop(self._child, parts.CODE_STOP_SECONDS)
        self._state = "stopped"
        self._tell()
        say("stopped")

    def _prepare(self, stop: threading.Event) -> bool:
        """In a process of its own, whose libraries are then not kept in memory. False where `stop` was set.

        Without a log in time it goes on: the process then compares log and tables as soon as the log answers. Raises
        `PlatformError` where it fails.
        """
        command = [sys.executable, "-m", "edge_assets.platform.container", "prepare"]
        self._preparing = subprocess.Popen(command, env=parts.environment(self._settings))
        deadline = time.monotonic() + PREPARE_SECONDS
        while self._preparing.poll() is None and time.monotonic() < deadline:
            if stop.wait(POLL_SECONDS):
                return False
        if self._preparing.returncode:
            code = self._preparing.returncode
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            error = PlatformError(f"preparing the platform {how}; where it could, the line above says why")
            error.exit_code = code if code > 0 else PlatformError.exit_code
            raise error
        if self._preparing.returncode is None:
            say(f"no log in {PREPARE_SECONDS:.0f} s: starting without it; the log is compared when it answers")
        return True

    def _serve(self, stop: threading.Event) -> int | None:
        """One life of the code server. Returns its exit code, None where `stop` was set or it is to be started anew."""
        began = time.monotonic()
        self._child = subprocess.Popen(
            parts.code_command(self._settings, self._host),
            env=parts.environment(self._settings),
            cwd=self._settings.home,
            start_new_session=True,
        )
        told = 0.0
        while self._child.poll() is None and not stop.wait(POLL_SECONDS):
            if self._state != "running" and health.takes_connections(parts.LOOPBACK, self._settings.dagster.grpc_port):
                self._state = "running"
                say("the platform is up; `docker compose exec code edge status` shows it")
                told = 0.0
            if not told or time.monotonic() - told >= STATUS_SECONDS:
                told = time.monotonic()
                self._tell()
                if why := self._renewal.reason(self._child.pid, told - began):
                    say(f"the code server is started anew: {why}; the services work on")
                    self._child.kill()  # alone: at SIGTERM it would wait for its runs
                    self._child.wait()
                    return None
        return self._child.poll()

    def _tell(self) -> None:
        """Write the status file, as the supervisor of `edge up` does; a full disk stops nothing."""
        news = {"pid": os.getpid(), "state": self._state, "started_at": self._started, "services": self._look()}
        with suppress(OSError):
            write_json(status_path(self._settings, NAME), news)

    def _look(self) -> dict[str, dict[str, Any]]:
        """How each container is, as seen from here. Pids of others mean nothing here."""
        host, port = broker.address(self._settings)
        kafka_host, _, kafka_port = (self._settings.kafka.bootstrap or "").split(",")[0].partition(":")
        beat = health.heartbeat_age(parts.dagster_home(self._settings))
        up = {
            "broker": health.takes_connections(host, port),
            "kafka": health.takes_connections(kafka_host, int(kafka_port or 9092)),
            parts.CODE: self._state == "running" and self._child is not None and self._child.poll() is None,
            parts.DAEMON: beat is not None and beat < health.HEARTBEAT_SECONDS,
            **({parts.WEB: health.serves_page(self._web)} if self._web else {}),
        }
        for name, is_up in up.items():
            state = "up" if is_up else "starting" if self._state == "starting" else "down"
            if self._seen.get(name, {}).get("state") != state:
                self._seen[name] = {"state": state, "pid": None, "restarts": 0, "since": _now()}
        if self._child is not None:
            self._seen[parts.CODE] |= {"pid": self._child.pid, "restarts": self._restarts}
        return self._seen


def become(settings: Settings, command: Sequence[str], code_host: str) -> None:
    """Wait for the code server, and become one of Dagster's other processes.

    Raises `PlatformError` where it does not come; the engine then starts this one anew.
    """
    port = settings.dagster.grpc_port
    if not process.wait_until(lambda: health.takes_connections(code_host, port), WAIT_SECONDS, POLL_SECONDS):
        raise PlatformError(
            f"waiting for the code server at {code_host}:{port}: no answer in {WAIT_SECONDS:.0f} s; "
            "`docker compose logs code` says why"
        )
    os.execve(command[0], list(command), parts.environment(settings))


def prepare(settings: Settings) -> None:
    """What must be so before the bridge writes to the log: jars that are there, a log that does not end before the
    tables. Waits for the log without end. Raises what keeps it from that.
    """
    from edge_assets.platform import jars, log
    from edge_assets.platform.java import java_home

    lake_claim.ensure_where_reached(settings, say)
    java_home(settings)
    for name in jars.needed(settings):
        jars.ensure_jars(settings, name)
    while log.answers(settings) is None:
        time.sleep(1)
    parts.fill_up_log(settings)
    farewell.leave(settings)


def fetch(settings: Settings) -> None:
    """Bring every set of jars that containers need into the cache, whatever the lake is. Raises `DownloadError`.

    A layer of an image keeps times in whole seconds, and by its time a jar is known again without reading it; so each
    is given such a time, and verified once more.
    """
    from edge_assets.platform import jars
    from edge_assets.platform.java import java_home

    java_home(settings)
    sets: tuple[jars.Set, ...] = ("spark", "s3")
    for name in sets:
        for path in jars.ensure_jars(settings, name, lambda news: say(str(news))):
            second = int(path.stat().st_mtime)
            os.utime(path, (second, second))
        jars.ensure_jars(settings, name)


def _end_here() -> None:
    """What is prepared is prepared: the clients of log and store, whose threads may still be at work, can fail no more.

    At an interpreter's ordinary end such a thread may take the process with it, by a signal and without a word.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def say(line: str) -> None:
    print(f"{_now()} {line}", file=sys.stderr, flush=True)


def _require_own_log_and_broker(settings: Settings) -> None:
    """Raises `SettingsError`: nothing here starts what `edge up` would."""
    for name, value in (("EDGE_MQTT__HOST", settings.mqtt.host), ("EDGE_KAFKA__BOOTSTRAP", settings.kafka.bootstrap)):
        if not value:
            raise SettingsError(
                f"setting {name}: a container runs no broker and no log of its own; name the one to use"
            )


def _stop(child: subprocess.Popen[bytes], seconds: float) -> None:
    """SIGTERM, patience, and SIGKILL to all that it started."""
    child.terminate()
    with suppress(subprocess.TimeoutExpired):
        child.wait(seconds)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    sys.exit(main())

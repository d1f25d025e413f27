"""The parts that `edge up` runs: how each is started, how one knows that it is up, how long it may take to stop.

Three of them are Dagster's: its code server (which also launches the runs), its web page, its daemon.
"""

from __future__ import annotations

import http.client
import logging
import os
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edge_assets.errors import EdgeError, LakeError, PlatformError
from edge_assets.platform import broker, endpoints, log, log_repair, process
from edge_assets.platform.broker import Engine
from edge_assets.platform.process import Process
from edge_assets.settings import Settings

logger = logging.getLogger(__name__)

CODE, WEB, DAEMON = "dagster_code", "dagster_web", "dagster_daemon"
ORDER = (broker.NAME, log.NAME, CODE, WEB, DAEMON)
"""the order of starting; stopping goes the other way"""
DEFINITIONS = "edge_assets.definitions"
START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the platform. `launch` returns at once, `wait` when it is up; both raise `PlatformError`."""

    name: str
    launch: Callable[[], Process]
    wait: Callable[[Process], None]
    grace_seconds: float
    after: tuple[str, ...] = field(default=())


def parts(settings: Settings, original: Settings, engine: Engine | None) -> list[Part]:
    """The parts that this platform runs itself, in the order of starting.

    `settings` are resolved; `original` says which parts are the user's own; `engine` is the embedded broker.
    """
    wanted = []
    if engine is not None:
        wanted.append(_broker(settings, engine))
    if original.kafka.bootstrap is None:
        wanted.append(_kafka(settings))
    before = tuple(part.name for part in wanted)
    return [*wanted, _code(settings), _web(settings), _daemon(settings, (*before, CODE))]


def prepare_dagster(settings: Settings) -> None:
    """Write Dagster's instance and workspace files into the home."""
    folder = dagster_home(settings)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("dagster.yaml"), folder / "dagster.yaml")
    _workspace(settings).write_text(
        f"load_from:\n  - grpc_server:\n      host: 127.0.0.1\n      port: {settings.dagster.grpc_port}\n"
        "      location_name: edge_assets\n"
    )


def dagster_home(settings: Settings) -> Path:
    return settings.home / "dagster"


def environment(settings: Settings) -> dict[str, str]:
    """What Dagster's processes and the runs that they launch are told: the resolved settings, whole."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith("EDGE_")}
    return {
        **inherited,
        **settings.environment(),
        "DAGSTER_HOME": str(dagster_home(settings)),
        # Spark would take the first python3 on PATH, which may be another version without our packages.
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONUNBUFFERED": "1",
        # No import from the working directory, which is the home, with folders named as packages are.
        "PYTHONSAFEPATH": "1",
        # Fewer malloc arenas: tens of megabytes less in processes with many threads.
        "MALLOC_ARENA_MAX": "2",
    }


def _broker(settings: Settings, engine: Engine) -> Part:
    return Part(
        broker.NAME,
        lambda: broker.launch(settings, engine),
        lambda running: broker.wait_until_up(settings, running),
        broker.STOP_SECONDS,
    )


def _kafka(settings: Settings) -> Part:
    return Part(
        log.NAME,
        lambda: log.launch(settings),
        lambda running: _wait_for_kafka(settings, running),
        log.STOP_SECONDS,
    )


def _wait_for_kafka(settings: Settings, running: Process) -> None:
    """The bridge starts only after it: so nobody writes to the log while it is filled up."""
    log.wait_until_up(settings, running)
    try:
        log_repair.fill_up(settings)
    except LakeError as error:  # a bucket that is away must not keep the bridge from the log
        logger.warning("the log was not compared with the tables: %s", error)
    except EdgeError as error:
        raise PlatformError(str(error)) from error


def _code(settings: Settings) -> Part:
    port = str(settings.dagster.grpc_port)
    command = ["-m", "dagster", "api", "grpc", "--module-name", DEFINITIONS, "--host", "127.0.0.1", "--port", port]
    # Each keep-alive sensor watches in a thread of its own; the default is four more than there are cores.
    options = ["--location-name", "edge_assets", "--log-level", "warning", "--empty-working-directory", "-n", "16"]
    return _dagster(
        settings,
        CODE,
        [*command, *options],
        port=settings.dagster.grpc_port,
        answers=lambda: _takes_connections("127.0.0.1", settings.dagster.grpc_port),
        grace_seconds=20,
    )


def _web(settings: Settings) -> Part:
    host, port = settings.dagster.host, settings.dagster.port
    options = ["--host", host, "--port", str(port), "--workspace", str(_workspace(settings))]
    return _dagster(
        settings,
        WEB,
        ["-m", "dagster_webserver", *options, "--dagster-log-level", "warning"],
        port=port,
        answers=lambda: _serves_page(endpoints.reachable(host), port),
        grace_seconds=10,
        after=(CODE,),
    )


def _daemon(settings: Settings, after: tuple[str, ...]) -> Part:
    command = ["-m", "dagster._daemon", "run", "--workspace", str(_workspace(settings)), "--log-level", "warning"]
    return _dagster(settings, DAEMON, command, port=0, answers=lambda: True, grace_seconds=20, after=after)


def _dagster(
    settings: Settings,
    name: str,
    command: list[str],
    *,
    port: int,
    answers: Callable[[], bool],
    grace_seconds: float,
    after: tuple[str, ...] = (),
) -> Part:
    def launch() -> Process:
        endpoints.claim(name, settings.dagster.host if name == WEB else "127.0.0.1", port)
        return process.start(settings, name, [sys.executable, *command], environment(settings))

    def wait(running: Process) -> None:
        up = process.wait_until(lambda: not running.alive or answers(), START_SECONDS)
        if not up or not running.alive:
            problem = f"no answer in {START_SECONDS:.0f} s" if running.alive else f"ended with code {running.exit_code}"
            raise PlatformError(
                f"starting {name}: {problem}; it said: {running.last_words() or 'nothing'}; see {running.log}"
            )

    return Part(name, launch, wait, grace_seconds, after)


def _workspace(settings: Settings) -> Path:
    return dagster_home(settings) / "workspace.yaml"


def _takes_connections(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


def _serves_page(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/server_info")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

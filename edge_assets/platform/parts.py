"""The parts that `edge up` runs: how each is started, how one knows that it is up, how long it may take to stop.

Three of them are Dagster's: its code server (which also launches the runs), its web page, its daemon. Where they are
containers, `edge_assets.platform.container` starts them by the same commands.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edge_assets.errors import EdgeError, LakeError, PlatformError
from edge_assets.platform import broker, endpoints, health, log, log_repair, process
from edge_assets.platform.broker import Engine
from edge_assets.platform.process import Process
from edge_assets.settings import Settings

logger = logging.getLogger(__name__)

CODE, WEB, DAEMON = "dagster_code", "dagster_web", "dagster_daemon"
ORDER = (broker.NAME, log.NAME, CODE, WEB, DAEMON)
"""the order of starting; stopping goes the other way"""
DEFINITIONS = "edge_assets.definitions"
LOOPBACK = "127.0.0.1"
PAGE = "/server_info"
"""of Dagster's web page: answers when it is up"""
START_SECONDS = 120.0
CODE_STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the platform. `launch` returns at once, `wait` when it is up; both raise `PlatformError`."""

    name: str
    launch: Callable[[], Process]
    wait: Callable[[Process], None]
    grace_seconds: float
    after: tuple[str, ...] = field(default=())
    renew: signal.Signals | None = None
    """what ends it alone, without those that it has started, where it may be started anew while all goes on"""


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


def prepare_dagster(settings: Settings, code_host: str = LOOPBACK) -> None:
    """Write Dagster's instance and workspace files into the home; `code_host` is where others reach the code server."""
    dagster_home(settings).mkdir(parents=True, exist_ok=True)
    _replace(dagster_home(settings) / "dagster.yaml", Path(__file__).with_name("dagster.yaml").read_text())
    _replace(
        _workspace(settings),
        f"load_from:\n  - grpc_server:\n      host: {code_host}\n      port: {settings.dagster.grpc_port}\n"
        "      location_name: edge_assets\n",
    )


def _replace(path: Path, text: str) -> None:
    """Others may read it at any moment: in containers, page and daemon live on while the code server starts anew."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text)
    aside.replace(path)


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
    fill_up_log(settings)


def fill_up_log(settings: Settings) -> None:
    """Make good what a power cut took of the log and the tables have. Raises `PlatformError`."""
    try:
        log_repair.fill_up(settings)
    except LakeError as error:  # a bucket that is away must not keep the bridge from the log
        logger.warning("the log was not compared with the tables: %s", error)
    except EdgeError as error:
        raise PlatformError(str(error)) from error


def code_command(settings: Settings, host: str = LOOPBACK) -> list[str]:
    """Dagster's code server, listening at `host`. It asks nobody for a password."""
    port = str(settings.dagster.grpc_port)
    command = ["-m", "dagster", "api", "grpc", "--module-name", DEFINITIONS, "--host", host, "--port", port]
    # Each keep-alive sensor watches in a thread of its own; the default is four more than there are cores.
    options = ["--location-name", "edge_assets", "--log-level", "warning", "--empty-working-directory", "-n", "16"]
    return [sys.executable, *command, *options]


def web_command(settings: Settings) -> list[str]:
    host, port = settings.dagster.host, settings.dagster.port
    options = ["--host", host, "--port", str(port), "--workspace", str(_workspace(settings))]
    return [sys.executable, "-m", "dagster_webserver", *options, "--dagster-log-level", "warning"]


def daemon_command(settings: Settings) -> list[str]:
    options = ["--workspace", str(_workspace(settings)), "--log-level", "warning"]
    return [sys.executable, "-m", "dagster._daemon", "run", *options]


def _code(settings: Settings) -> Part:
    return _dagster(
        settings,
        CODE,
        code_command(settings),
        port=settings.dagster.grpc_port,
        answers=lambda: health.takes_connections(LOOPBACK, settings.dagster.grpc_port),
        grace_seconds=CODE_STOP_SECONDS,
        # At SIGTERM it would wait for its runs, and services run on for weeks.
        renew=signal.SIGKILL,
    )


def _web(settings: Settings) -> Part:
    port = settings.dagster.port
    page = f"http://{endpoints.reachable(settings.dagster.host)}:{port}{PAGE}"
    return _dagster(
        settings,
        WEB,
        web_command(settings),
        port=port,
        answers=lambda: health.serves_page(page),
        grace_seconds=10,
        after=(CODE,),
    )


def _daemon(settings: Settings, after: tuple[str, ...]) -> Part:
    command = daemon_command(settings)
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
    renew: signal.Signals = signal.SIGTERM,
) -> Part:
    def launch() -> Process:
        endpoints.claim(name, settings.dagster.host if name == WEB else LOOPBACK, port)
        return process.start(settings, name, command, environment(settings))

    def wait(running: Process) -> None:
        up = process.wait_until(lambda: not running.alive or answers(), START_SECONDS)
        if not up or not running.alive:
            problem = f"no answer in {START_SECONDS:.0f} s" if running.alive else f"ended with code {running.exit_code}"
            raise PlatformError(
                f"starting {name}: {problem}; it said: {running.last_words() or 'nothing'}; see {running.log}"
            )

    return Part(name, launch, wait, grace_seconds, after, renew)


def _workspace(settings: Settings) -> Path:
    return dagster_home(settings) / "workspace.yaml"

"""Mosquitto: the one on this machine, or the distribution's package unpacked into the cache; its configuration.

    <cache_dir>/mosquitto/<distribution>-<machine>/   the package and the libraries that it needs, unpacked

Debian's package tools fetch and verify (the archive's signature) without root, and also without package lists: those
are then fetched into the cache, used once, and removed. See docs/decisions/0002-embedded-broker.md.
"""

from __future__ import annotations

import base64
import fcntl
import getpass
import hashlib
import os
import platform
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edge_assets.errors import DownloadError
from edge_assets.settings import Settings

PLACES = ("/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto")
SYS_INTERVAL_SECONDS = 10
APT_SECONDS = 300
_UNREADABLE = "Couldn't open database"


def find() -> Path | None:
    """Mosquitto on PATH or where systems put it: `sbin` is often not on a user's PATH."""
    on_path = shutil.which("mosquitto")
    places = [Path(on_path)] if on_path else [Path(place) for place in PLACES]
    return next((place for place in places if os.access(place, os.X_OK)), None)


def unpacked(settings: Settings) -> Path | None:
    """The one in the cache."""
    executable = _executable(_folder(settings))
    return executable if executable.exists() else None


def unpack(settings: Settings, progress: Callable[[str], None] | None = None) -> Path:
    """Fetch the distribution's package and unpack it into the cache, without root. Returns the executable.

    Atomic: a kill midway leaves nothing half-done, and two at once do it once. Raises `DownloadError` where the
    machine has no Debian package tools, is offline, or what was unpacked does not run.
    """
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise DownloadError("fetching Mosquitto: this machine has no apt; install it with its own package manager")
    folder = _folder(settings)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _executable(folder).exists():
            work = folder.with_name(f".unpacking-{folder.name}")
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            _unpack_into(work, progress or (lambda _: None))
            os.sync()  # a power cut must not leave a name without its content
            (work / "root").rename(folder)
            shutil.rmtree(work)
    return _executable(folder)


def environment(executable: Path) -> dict[str, str]:
    """The environment to run it in: an unpacked one finds its libraries beside it."""
    root = executable.parents[2]
    libraries = sorted({str(path.parent) for path in root.glob("**/*.so.*")}) if _is_unpacked(executable) else []
    before = [os.environ["LD_LIBRARY_PATH"]] if os.environ.get("LD_LIBRARY_PATH") else []
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries + before)} if libraries else dict(os.environ)


def version(executable: Path) -> str | None:
    """What it says it is, for example "2.0.11"; None where it does not run."""
    try:
        said = subprocess.run(
            [str(executable), "-h"], capture_output=True, text=True, env=environment(executable), timeout=30
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"mosquitto version (\S+)", said)
    return found[1] if found else None


def set_aside_unreadable(folder: Path, words: str) -> Path | None:
    """Move saved queues away that Mosquitto says it cannot open, so that it starts. Returns where they went.

    It reads a file that was cut short as far as it goes; one with garbage in it keeps it from starting for ever.
    """
    if _UNREADABLE not in words:
        return None
    return (folder / "mosquitto.db").rename(folder / f"mosquitto.db.unreadable-{int(time.time())}")


def configuration(settings: Settings, folder: Path) -> str:
    """The text of mosquitto.conf; 2.0.11 (Debian 12) and later know every option. `folder` takes its database."""
    mqtt = settings.mqtt
    values: dict[str, Any] = {
        "listener": f"{mqtt.port} {mqtt.bind}",
        "user": getpass.getuser(),  # as root it would drop to a user that may not write here
        "persistence": "true",
        "persistence_location": f"{folder}/",
        "autosave_interval": mqtt.autosave_seconds,
        # What a device sends at QoS 0 is queued for the bridge like the rest, and redelivered.
        "upgrade_outgoing_qos": "true",
        "queue_qos0_messages": "true",
        "max_queued_messages": mqtt.queue_max_messages,
        "max_queued_bytes": mqtt.queue_max_bytes,
        "max_inflight_messages": mqtt.max_inflight,
        "sys_interval": SYS_INTERVAL_SECONDS,
        "set_tcp_nodelay": "true",
        "log_dest": "stderr",
        "log_timestamp_format": "%Y-%m-%dT%H:%M:%S",
        **_access(settings, folder),
    }
    kinds = "".join(f"log_type {kind}\n" for kind in ("error", "warning", "notice"))
    return "".join(f"{name} {value}\n" for name, value in values.items()) + kinds


def _access(settings: Settings, folder: Path) -> dict[str, str]:
    if settings.mqtt.username is None:
        return {"allow_anonymous": "true"}
    password = settings.mqtt.password.get_secret_value() if settings.mqtt.password else ""
    file = folder / "passwords"
    file.touch(mode=0o600)
    file.write_text(_password_line(settings.mqtt.username, password))
    return {"allow_anonymous": "false", "password_file": str(file)}


def _password_line(username: str, password: str, iterations: int = 101) -> str:
    """A line of a Mosquitto 2 password file: PBKDF2 with SHA-512, as `mosquitto_passwd` writes it."""
    salt = secrets.token_bytes(12)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    return f"{username}:$7${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}\n"


def _folder(settings: Settings) -> Path:
    """The name has the distribution's release: after an upgrade of the system its libraries are others."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    name = f"{release.get('ID', 'linux')}{release.get('VERSION_ID', '')}-{platform.machine()}"
    return settings.cache_dir / "mosquitto" / name


def _executable(folder: Path) -> Path:
    return folder / "usr" / "sbin" / "mosquitto"


def _is_unpacked(executable: Path) -> bool:
    return executable.parts[-3:] == ("usr", "sbin", "mosquitto") and executable.parents[2] != Path("/")


def _unpack_into(work: Path, progress: Callable[[str], None]) -> None:
    """Fetch with the machine's package lists, and where those are missing or too old with fresh ones of our own."""
    progress("fetching Mosquitto from the distribution's packages")
    problem = _fetch(work, [])
    if problem:
        progress("fetching package lists for Mosquitto: this machine's are missing or too old")
        problem = _fetch(work, _own_lists(work))
    if problem:
        raise DownloadError(
            f"fetching Mosquitto with apt-get: {problem}; connect to the network and start again, or have it installed "
            "(`apt install mosquitto`)"
        )
    (work / "root").mkdir()
    for package in sorted(work.glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(work / "root")], work)
    if version(_executable(work / "root")) is None:
        raise DownloadError(
            "unpacking Mosquitto from the distribution's packages: it does not run from the cache; have it installed "
            "(`apt install mosquitto`)"
        )


def _fetch(work: Path, options: Sequence[str]) -> str | None:
    """Bring the packages that are not installed into `work`. Returns the problem, None where it went well."""
    apt = ["apt-get", *options]
    code, said = _run([*apt, "install", "--simulate", "--no-install-recommends", "mosquitto"], work)
    if code:
        return said
    packages = re.findall(r"^Inst (\S+) (?:\[\S+\] )?\((\S+)", said, re.MULTILINE)
    wanted = [f"{name}={at}" for name, at in packages] or ["mosquitto"]
    code, said = _run([*apt, "download", *wanted], work)
    return said if code else None


def _own_lists(work: Path) -> list[str]:
    """Options that let apt keep its lists here, with the lists fetched. A source that fails stops no other."""
    (work / "lists" / "partial").mkdir(parents=True)
    (work / "cache" / "archives" / "partial").mkdir(parents=True)
    options = ["-o", f"Dir::State::lists={work / 'lists'}", "-o", f"Dir::Cache={work / 'cache'}"]
    options += ["-o", "Debug::NoLocking=true"]
    _run(["apt-get", *options, "update"], work)
    return options


def _run(command: Sequence[str], work: Path) -> tuple[int, str]:
    """Exit code and output; on failure only the line of it that says why."""
    try:
        done = subprocess.run(
            list(command),
            cwd=work,
            capture_output=True,
            text=True,
            timeout=APT_SECONDS,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        )
    except subprocess.TimeoutExpired:
        return 1, f"no end after {APT_SECONDS} s"
    if done.returncode == 0:
        return 0, done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("E:")] or done.stderr.splitlines()
    return done.returncode, lines[0] if lines else f"it ended with code {done.returncode}"

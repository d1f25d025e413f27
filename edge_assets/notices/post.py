"""Hands what is due to the channels, and ends: `python -m edge_assets.notices`, a process of a second or two.

A process of its own, because the library that knows the channels takes tens of megabytes, which Dagster's code server
is not to keep for a message a month. One at a time, by a kernel lock; it works whether the alerter runs or not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from edge_assets.errors import AlreadyRunning
from edge_assets.notices import store
from edge_assets.service import service_lock
from edge_assets.settings import Settings

LOCK = "notices"
PATIENCE_SECONDS = 40.0
"""so long a tick waits for the process; it goes on by itself, and the next tick asks again"""
NO_CHANNEL = "no setting names this channel: EDGE_ALERTS__NOTIFY"


def send(settings: Settings) -> str:
    """Hand over what is due in a process of its own. Returns what it said, one line; nothing when nothing was due."""
    if not store.waiting(settings, time.time()):
        return ""
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_assets.notices"],
        env={**os.environ, **settings.environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        return "the channels are being told"
    return said.strip().splitlines()[-1] if said.strip() else ""


def deliver(settings: Settings) -> dict[str, str | None]:
    """Hand over what is due. Returns by channel what was wrong, None where all was taken; empty where another process
    is at it. Raises `AlertError` where the file cannot be used."""
    try:
        with service_lock(settings, LOCK):
            channels = store.waiting(settings, time.time())
            with ThreadPoolExecutor(max(len(channels), 1)) as threads:
                return dict(zip(channels, threads.map(lambda one: _serve(settings, one), channels), strict=True))
    except AlreadyRunning:
        return {}


def _serve(settings: Settings, name: str) -> str | None:
    """One channel: in order, and none after the first that it does not take."""
    from edge_assets.alerts.channels import Channel

    url = settings.alerts.notify.get(name)
    channel = Channel(name, url, settings.alerts.notify_timeout_seconds) if url else None
    for parcel in store.due(settings, name, time.time()):
        said = parcel.message
        problem = channel.send(said.title, said.body, said.kind) if channel else NO_CHANNEL
        store.settle(settings, parcel, problem, time.time())
        if problem is not None:
            return problem
    return None

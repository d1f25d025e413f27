"""Messages to people, through Apprise: one thread a channel, so that a slow or dead one holds up nobody else.

A channel is an Apprise URL, which holds secrets: it is never printed, nor is what Apprise logs (its URLs and tokens).
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

from pydantic import SecretStr

from edge_assets.alert_record import AlertEvent
from edge_assets.alerts import wording
from edge_assets.alerts.outbox import Parcel
from edge_assets.errors import AlertError
from edge_assets.settings import Settings

SHORTEST_SECRET = 4

log = logging.getLogger(__name__)

Result = Callable[[str, Parcel | None, str | None], None]
"""channel, parcel, and what was wrong; None: it was taken. Without a parcel: the channel is free again"""


class Channel:
    """One way to people. Not for several threads at once."""

    def __init__(self, name: str, url: SecretStr, timeout_seconds: float) -> None:
        self.name = name
        self._url, self._timeout = url, timeout_seconds
        self._apprise: Any = None

    def prepare(self) -> str | None:
        """Load what it takes, which is much, so that the first message need not wait. Returns what is wrong."""
        import apprise

        if self._apprise is None:
            _hush()
            made = apprise.Apprise()
            if not made.add(self._url.get_secret_value()):
                return "its URL is none that Apprise knows: see EDGE_ALERTS__NOTIFY"
            self._apprise = made
        return None

    def send(self, title: str, body: str, kind: str) -> str | None:
        """Hand a message over. Returns what was wrong, in words without secrets; None: it was taken."""
        try:
            if (problem := self.prepare()) is not None:
                return problem
            import apprise

            result = self._apprise.notify(
                body=body,
                title=title,
                notify_type=apprise.NotifyType(kind),
                body_format=apprise.NotifyFormat.TEXT,
                timeout=self._timeout,
            )
        except Exception as error:  # a channel's own defect must not end the alerter
            return self._without_secrets(f"{type(error).__name__}: {error}")
        return None if result else self._why(result)

    def _why(self, result: Any) -> str:
        said = [entry for service in result for attempt in service for entry in attempt]
        words = str(getattr(said[-1], "message", said[-1])).splitlines()[0] if said else ""
        return self._without_secrets(words or getattr(getattr(result, "status", None), "name", "not taken").lower())

    def _without_secrets(self, words: str) -> str:
        scheme, _, rest = self._url.get_secret_value().partition("://")
        parts = [part for part in re.split(r"[/:@?&=,]+", rest) if len(part) >= SHORTEST_SECRET]
        return f"the {scheme} service failed" if any(part in words for part in parts) else words


class Channels:
    """All channels, each with its thread, and a few messages on their way at most."""

    def __init__(self, settings: Settings, on_result: Result) -> None:
        self._on_result = on_result
        self._site = settings.site
        self._busy: set[str] = set()
        self._queues: dict[str, SimpleQueue[Sequence[Parcel]]] = {}
        for name, url in settings.alerts.notify.items():
            channel = Channel(name, url, settings.alerts.notify_timeout_seconds)
            self._queues[name] = SimpleQueue()
            threading.Thread(target=self._serve, args=(channel,), name=f"channel {name}", daemon=True).start()

    def free(self) -> list[str]:
        return [name for name in self._queues if name not in self._busy]

    def give(self, name: str, parcels: Sequence[Parcel]) -> None:
        """Hand some over to a free channel. After the first that it does not take it leaves the others alone."""
        self._busy.add(name)
        self._queues[name].put(parcels)

    def freed(self, name: str) -> None:
        """It has said that it is done, and what it said of its messages was dealt with."""
        self._busy.discard(name)

    def close(self) -> None:
        for queue in self._queues.values():
            queue.put(())

    def _serve(self, channel: Channel) -> None:
        if (problem := channel.prepare()) is not None:
            log.error("alerts: the channel %s: %s", channel.name, problem)
        while parcels := self._queues[channel.name].get():
            for parcel in parcels:
                problem = channel.send(*text(parcel.event, self._site, parcel.again))
                self._on_result(channel.name, parcel, problem)
                if problem is not None:
                    break
            self._on_result(channel.name, None, None)


def text(event: AlertEvent, site: str, again: bool = False) -> tuple[str, str, str]:
    """Title, body and Apprise's type of a message about an event. Who looks after several sites has one phone."""
    title = wording.title(event)
    kind = "success" if event.transition == "cleared" else _TYPES[event.severity]
    return f"{site}: {'still ' if again else ''}{title}", event.message, kind


_TYPES = {"info": "info", "warning": "warning", "critical": "failure"}


def test(settings: Settings, name: str | None = None) -> dict[str, str | None]:
    """Send a test message to one channel, or to all. Returns what was wrong by channel, None where it was taken.

    Raises `AlertError` where there is no such channel.
    """
    channels = settings.alerts.notify
    if not channels or (name is not None and name not in channels):
        there = ", ".join(sorted(channels)) or "none: EDGE_ALERTS__NOTIFY has their names and URLs"
        raise AlertError(f"testing the channel {name or '*'}: there is no such channel; there are: {there}")
    return {
        one: Channel(one, url, settings.alerts.notify_timeout_seconds).send(
            f"test: {settings.site}", f"This is what an alert looks like on the channel {one}.", "info"
        )
        for one, url in channels.items()
        if name in (None, one)
    }


def _hush() -> None:
    logger = logging.getLogger("apprise")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())

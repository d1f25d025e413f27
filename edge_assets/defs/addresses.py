"""Where each thing is: what `edge up` has chosen, else what is customary. URLs are as a browser here reaches them."""

from __future__ import annotations

import dagster as dg

from edge_assets.platform import endpoints
from edge_assets.settings import Settings

URI = "dagster/uri"


def mqtt(settings: Settings, topics: str = "") -> str:
    """The broker, or topics of it."""
    known = endpoints.remembered(settings).mqtt
    return f"{'mqtts' if known.tls else 'mqtt'}://{known.host}:{known.port}/{topics}".rstrip("/")


def kafka(settings: Settings, topic: str) -> str:
    return f"kafka://{endpoints.remembered(settings).kafka.bootstrap}/{topic}"


def live(settings: Settings, path: str = "/") -> dg.MetadataValue:
    """A page of the live server."""
    return dg.MetadataValue.url(endpoints.url(endpoints.remembered(settings).live) + path)


def metrics(settings: Settings) -> dg.MetadataValue:
    return dg.MetadataValue.url(endpoints.url(endpoints.remembered(settings).metrics) + "/metrics")

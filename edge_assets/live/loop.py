"""The live server: from the broker to every screen that looks, in one process and one thread.

    broker's thread ─▶ inbox ─▶ decoder ─▶ devices ─▶ hub ─▶ viewers
                                       └─▶ alerts ──┘

It reads the broker directly, and needs neither Kafka nor Spark nor the lake; what those know (the last hours, history,
the alerter's desk) is asked for in threads beside it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from edge_assets import rooms
from edge_assets.alert_record import ALERTS, AlertEvent
from edge_assets.alerts import desk
from edge_assets.errors import AlertError, SettingsError
from edge_assets.listening.decoder import Decoder
from edge_assets.listening.heard import Message
from edge_assets.listening.subscription import Subscription
from edge_assets.live import metrics, past, protocol, scrape, web
from edge_assets.live.alerts import Alerts
from edge_assets.live.devices import Devices
from edge_assets.live.hub import Hub
from edge_assets.live.inbox import Inbox
from edge_assets.live.server import Server, run_all
from edge_assets.live.visitors import OwnNamesOnly
from edge_assets.platform import endpoints
from edge_assets.platform_metrics.collector import PlatformCollector
from edge_assets.service import Report
from edge_assets.serving.opened import Warehouse
from edge_assets.settings import Settings

PACE_SECONDS = (0.002, 0.01)
"""frames leave no more often than this, for one viewer and for many; what comes alone leaves at once"""
PACE_PER_VIEWER_SECONDS = 0.0002
"""what one more viewer adds to the pace: several times what a frame costs for it"""
TICK_SECONDS = 1.0
QUIET_TICKS = 10
"""so many ticks without a change, and viewers are told that the server is alive"""
ASIDE_TICKS = 5
"""so often we look for what comes without an event: alerts that are muted, rooms that are named"""
STOP_SECONDS = 0.05
PAST_SECONDS = 10.0
"""the first viewers wait so long for what the lake remembers"""

HELLO_POINTS = 200_000
"""in one hello, some 5 MB: of very many series, each gets fewer of its last points"""
FEWEST_POINTS = 60
LATEST_ALERTS = 50
"""so many alerts are on the page though they may be over"""

log = logging.getLogger(__name__)


def run(settings: Settings, stop: threading.Event, report: Report) -> None:
    """Serve the page, the API and the metrics until stopped. Raises `PlatformError` where an address is taken."""
    asyncio.run(_run(settings, stop, report))


async def _run(settings: Settings, stop: threading.Event, report: Report) -> None:
    live = Live(settings, report)
    page = Server("the live page", settings.live.host, settings.live.port, live.page_app())
    try:
        scraped = Server("the metrics", settings.metrics.host, settings.metrics.port, live.metrics_app())
    except BaseException:
        page.let_go()
        raise
    addresses = {"page": (settings.live.host, page.port), "metrics": (settings.metrics.host, scraped.port)}
    report({name: f"http://{endpoints.reachable(host)}:{port}" for name, (host, port) in addresses.items()})
    stopping = asyncio.Event()
    watching = asyncio.create_task(_watch(stop, stopping))
    try:
        await run_all([page, scraped], [live.begin(), live.tick_on()], stopping)
    finally:
        watching.cancel()
        await asyncio.to_thread(live.end)


async def _watch(stop: threading.Event, stopping: asyncio.Event) -> None:
    while not stop.is_set():
        await asyncio.sleep(STOP_SECONDS)
    stopping.set()


class Live:
    """What is known, and who is told. Everything but the connection to the broker happens in the server's thread."""

    def __init__(self, settings: Settings, report: Report) -> None:
        self._settings = settings
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._decoder = Decoder(settings)
        self._devices = Devices(settings)
        self._alerts = Alerts()
        self._hub = Hub(self._hello)
        self._warehouse = Warehouse(settings)
        self._inbox = Inbox(self._loop, self._take, self._flush_soon)
        self._subscription = Subscription(
            settings,
            f"{settings.bridge.id}-live-{uuid.uuid4().hex[:8]}",
            self._inbox.put,
            self._connection_changed,
        )
        self._messages = 0
        self._flushed_at = 0.0
        self._flush_waits = False
        self._desk_asked = asyncio.Event()
        self._desk_problem = ""

    def page_app(self) -> Any:
        return web.application(self._settings, self._hub, self._look_at_desk, self._warehouse)

    def metrics_app(self) -> Any:
        samples = metrics.Samples()
        registry = metrics.registry(samples, PlatformCollector(self._settings))
        return OwnNamesOnly(scrape.application(self._samples, samples, registry), self._settings.live)

    async def begin(self) -> None:
        """Listen, and take in what is known from before; viewers are greeted when that is there."""
        self._subscription.start()
        await self._look_aside()
        remembering = asyncio.create_task(past.bring_back(self._settings, self._warehouse, self._devices, _now()))
        done, _ = await asyncio.wait([remembering], timeout=PAST_SECONDS)
        self._hub.ready.set()
        if not done:
            await remembering
            self._hub.start_over()

    def end(self) -> None:
        self._subscription.stop()

    # -- in --------------------------------------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        self._messages += 1
        if message.topic.startswith(ALERTS):
            self._hear_alert(message)
            return
        heard = self._decoder.hear(message)
        if heard.describes:
            self._devices.describe(self._decoder.devices, message.received_at)
        elif heard.observations:
            self._devices.hear(heard)

    def _hear_alert(self, message: Message) -> None:
        try:
            event = AlertEvent.decode(message.payload)
        except ValueError:
            return  # a dead letter of the lake
        if told := self._alerts.hear(event):
            self._hub.send(protocol.alert(told))
        self._desk_asked.set()

    def _connection_changed(self, up: bool) -> None:
        """In the connection's thread."""
        with suppress(RuntimeError):  # the server has ended
            self._loop.call_soon_threadsafe(lambda: self._hub.send(protocol.broker(up)))

    # -- out -------------------------------------------------------------------------------------------------------

    def _flush_soon(self) -> None:
        """Tell viewers the news: now, where the last time is a moment ago, else when it is."""
        if self._flush_waits or not self._devices.has_news:
            return
        fastest, slowest = PACE_SECONDS
        pace = min(fastest + self._hub.viewers * PACE_PER_VIEWER_SECONDS, slowest)
        wait = self._flushed_at + pace - self._loop.time()
        if wait <= 0:
            self._flush()
        else:
            self._flush_waits = True
            self._loop.call_later(wait, self._flush)

    def _flush(self) -> None:
        self._flush_waits = False
        self._flushed_at = self._loop.time()
        if not self._hub.has_listeners:
            self._devices.drop_news()
            return
        for frame in self._devices.take_news():
            self._hub.send(frame)

    def _hello(self) -> Iterator[str]:
        """The pieces of the hello of now. What is news until now is in it, and told to the others first."""
        self._flush()
        series = [
            (known.key, [(name, one.series) for name, one in known.measurements.items() if one.series])
            for known in self._devices
        ]
        most = max(HELLO_POINTS // max(sum(len(some) for _, some in series), 1), FEWEST_POINTS)
        history = [(key, [(name, one.points(most)) for name, one in some]) for key, some in series]
        return protocol.hello(
            self._settings.site,
            _now() // 1_000,
            self._subscription.connected,
            sorted((known.told() for known in self._devices), key=_order),
            history,
            self._alerts.told(),
        )

    # -- now and then ----------------------------------------------------------------------------------------------

    async def tick_on(self) -> None:
        stale: list[str] = []
        number = 0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            number += 1
            self._devices.grow_stale(_now())
            before, stale = stale, self._devices.stale
            if stale != before or number % QUIET_TICKS == 0:
                self._hub.send(protocol.tick(_now() // 1_000, stale))
            self._hub.forget_greeting()
            if self._desk_asked.is_set() or (self._hub.has_listeners and number % ASIDE_TICKS == 0):
                await self._look_aside()
            self._report(self._status())

    async def _look_aside(self) -> None:
        """At what people say of rooms and alerts in other processes."""
        await self._look_at_desk()
        try:
            known = await asyncio.to_thread(rooms.known, self._settings)
        except SettingsError as error:
            log.warning("%s", error)
            return
        self._decoder.room_names = rooms.names(known)

    async def _look_at_desk(self) -> None:
        self._desk_asked.clear()
        try:
            known = await asyncio.to_thread(_on_desk, self._settings)
        except AlertError as error:
            if str(error) != self._desk_problem:
                log.warning("%s", error)
            self._desk_problem = str(error)
            return
        self._desk_problem = ""
        for told in self._alerts.know(known):
            self._hub.send(protocol.alert(told))

    # -- what is told of itself ------------------------------------------------------------------------------------

    def _status(self) -> dict[str, Any]:
        return {
            "connected": self._subscription.connected,
            "problem": self._subscription.problem,
            "viewers": self._hub.viewers,
            "messages": self._messages,
            "devices": len(self._devices),
            "stale": len(self._devices.stale),
            "frames": self._hub.frames,
            "resyncs": self._hub.resyncs,
            "dropped_viewers": self._hub.cut_off,
            "dropped_messages": self._inbox.dropped,
        }

    def _samples(self) -> Iterable[metrics.Sample]:
        server = {
            "edge_live_devices": len(self._devices),
            "edge_live_stale_devices": len(self._devices.stale),
            "edge_live_open_alerts": self._alerts.open,
            "edge_live_viewers": self._hub.viewers,
            "edge_live_broker_up": self._subscription.connected,
            "edge_live_messages_total": self._messages,
            "edge_live_dropped_messages_total": self._inbox.dropped,
            "edge_live_refused_values_total": self._devices.refused,
            "edge_live_frames_total": self._hub.frames,
            "edge_live_frames_sent_total": self._hub.sent,
            "edge_live_resyncs_total": self._hub.resyncs,
            "edge_live_cut_off_total": self._hub.cut_off,
        }
        return metrics.samples_of(self._devices, {name: float(value) for name, value in server.items()})


def _order(told: Mapping[str, Any]) -> tuple[int, str, str]:
    return protocol.GROUPS.index(told["group"]), told["name"].casefold(), told["key"]


def _on_desk(settings: Settings) -> list[desk.Alert]:
    """All that are open, and the latest others."""
    found = {alert.alert_id: alert for alert in desk.alerts(settings, limit=LATEST_ALERTS)}
    return list({**found, **{alert.alert_id: alert for alert in desk.alerts(settings, open_only=True)}}.values())


def _now() -> int:
    return time.time_ns() // 1_000

"""The live page as a person sees it: a real Chromium before the real server, behind a real Mosquitto.

With SCREENSHOTS set to a folder, pictures of a home with all simulators and a year behind it are kept there.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from edge_assets.alert_record import AlertEvent
from edge_assets.alerts import desk
from edge_assets.bench.browser import PROGRAMS, Browser
from edge_assets.settings import Settings, SimulatorSettings
from edge_assets.tables import ROOM_TELEMETRY
from edge_assets.warehouse.rollups.update import update
from edge_assets_tests.bridge_rig import Publisher, with_settings
from edge_assets_tests.conftest import Mosquitto
from edge_assets_tests.lake_tables import position, write
from edge_assets_tests.live_rig import live_settings, until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

ROOM = "open_office"
YEAR_DAYS = 365
RULES = """
rules:
  - name: plug-overload
    condition: {measurement: power, above: 2000, clear: 1900}
    severity: critical
    message: "{device} draws {value}"
"""
RULES_OF_PICTURES = """
rules:
  - name: stale-air
    devices: ["open_office", "Open office"]
    condition: {measurement: co2_ppm, above: 480, clear: 400}
    severity: warning
    message: "{value} {unit} of CO₂: time to open a window"
"""
HOSTILE = '<img src=x onerror="document.title=1"><b>bold</b>'


class Live:
    """`python -m edge_assets.live`, which can be killed and started again at the same address."""

    def __init__(self, settings: Settings) -> None:
        own = with_settings(settings, alerts={"rules": settings.home / "rules.yaml"})
        self.settings = live_settings(own, stale_seconds=0.5)
        self.url = f"http://127.0.0.1:{self.settings.live.port}/"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, module: str = "live") -> None:
        environment = {**os.environ, **self.settings.environment()}
        log = self.settings.home / "logs" / f"{module}-test.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            command = [sys.executable, "-m", f"edge_assets.{module}"]
            self._processes[module] = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        print(f"the log of {module}: {log}")
        if module == "live":
            until(self._answers, 60)

    def kill(self) -> None:
        self._processes["live"].kill()
        self._processes["live"].wait(30)

    def _answers(self) -> bool:
        assert self._processes["live"].poll() is None, "the live server ended"
        with suppress(OSError), urllib.request.urlopen(self.url, timeout=5):
            return True
        return False

    def __enter__(self) -> Live:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            process.wait(30)


class Page:
    """What is looked at in it, in one word each."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.url = url

    def open(self, path: str = "") -> None:
        self.browser.open("about:blank")  # another fragment alone would load nothing
        self.browser.open(self.url + path)
        self.browser.wait_for("edgeLive.connection === 'live'")

    def card(self, name: str) -> str:
        """The text of a device's card, empty where there is none; in JavaScript."""
        cards = "[...document.querySelectorAll('.card')]"
        return f"({cards}.find((c) => c.querySelector('h3').textContent === {json.dumps(name)})?.innerText ?? '')"

    def wait_for_card(self, name: str, *words: str) -> str:
        shown = self.card(name)
        wanted = " && ".join(f"t.includes({json.dumps(word)})" for word in words) or "true"
        return str(self.browser.wait_for(f"((t) => t && {wanted} ? t : '')({shown})"))

    def no_complaints(self) -> None:
        assert self.browser.problems == []


@pytest.fixture
def live(settings: Settings, mosquitto: Mosquitto) -> Iterator[Live]:
    with Live(settings) as running:
        yield running


@pytest.fixture
def browser() -> Iterator[Browser]:
    if not any(map(shutil.which, PROGRAMS)):
        pytest.skip("no Chromium on PATH; on Debian: `apt install chromium`")
    with Browser() as opened:
        yield opened


@pytest.fixture
def page(live: Live, browser: Browser) -> Page:
    page = Page(browser, live.url)
    page.open()
    return page


@pytest.fixture
def publisher(live: Live) -> Iterator[Publisher]:
    with Publisher(live.settings) as publisher:
        yield publisher


def say(publisher: Publisher, topic: str, payload: object, *, retain: bool = False) -> None:
    body = payload if isinstance(payload, str) else json.dumps(payload)
    publisher.publish(topic, body.encode(), retain=retain)
    publisher.settle()


def heard(page: Page, publisher: Publisher, topic: str, payload: object, *words: str, name: str = "") -> str:
    """Say it until the card shows it: a server that has just started listens to its broker a moment later."""
    shown = page.card(name or topic.removeprefix("zigbee2mqtt/"))

    def is_shown() -> str:
        say(publisher, topic, payload)
        return str(page.browser.evaluate(shown))

    return str(until(lambda: (text := is_shown()) and all(word in text for word in words) and text))


def test_a_device_appears_by_itself_and_its_value_follows(page: Page, publisher: Publisher) -> None:
    assert "Waiting for the first word" in page.browser.evaluate("document.body.innerText")
    text = heard(page, publisher, "zigbee2mqtt/hall sensor", {"temperature": 21.5, "humidity": 40, "battery": 7})
    assert all(word in text for word in ("21.5", "°C" if "°C" in text else "Temperature", "40", "7 %"))
    assert page.browser.evaluate("document.querySelector('.group:not([hidden]) h2').innerText").startswith("Climate")
    # How soon, measured in the page: from the publish to the frame in which it is painted.
    page.browser.evaluate(
        "window.painted = new Promise((done) => edgeLive.onPaint((points) =>"
        "  points.some((p) => p[3] === 23.7) && done(document.querySelector('.figure').textContent)))"
    )
    say(publisher, "zigbee2mqtt/hall sensor", {"temperature": 23.7, "humidity": 41})
    assert page.browser.evaluate("painted", await_promise=True) == "23.70"
    assert page.browser.evaluate("document.querySelectorAll('.card').length") == 1
    page.no_complaints()


def test_a_contact_is_said_in_words(page: Page, publisher: Publisher) -> None:
    heard(page, publisher, "zigbee2mqtt/front door", {"contact": True}, "closed")
    say(publisher, "zigbee2mqtt/front door", {"contact": False})
    page.wait_for_card("front door", "open")
    assert page.browser.evaluate("document.querySelector('#group-doors').closest('section').hidden") is False


def test_the_page_survives_a_killed_server(live: Live, page: Page, publisher: Publisher) -> None:
    heard(page, publisher, "pico/temperature/desk", "21.5", "21.5", name="pico/desk")
    page.browser.evaluate("window.sameDocument = true")
    live.kill()
    page.browser.wait_for("document.getElementById('connection').innerText === 'reconnecting…'")
    assert "does not answer" in page.browser.evaluate("document.getElementById('notice').innerText")
    live.start()
    page.browser.wait_for("edgeLive.connection === 'live' && document.getElementById('notice').hidden")
    heard(page, publisher, "pico/temperature/desk", "22.5", "22.5", name="pico/desk")
    assert page.browser.evaluate("window.sameDocument") is True, "it was not loaded again"


def test_a_silent_device_goes_stale_and_comes_back(page: Page, publisher: Publisher) -> None:
    heard(page, publisher, "pico/temperature/desk", "20", "20", name="pico/desk")
    for number in range(5):  # it has a rhythm now
        page.browser.evaluate("new Promise((go) => setTimeout(go, 150))", await_promise=True)
        say(publisher, "pico/temperature/desk", f"2{number}.25")
    page.wait_for_card("pico/desk", "stale")
    assert page.browser.evaluate("document.querySelector('.card').dataset.state") == "stale"
    say(publisher, "pico/temperature/desk", "25.25")
    page.browser.wait_for("document.querySelector('.card').dataset.state === 'ok'")
    assert "stale" not in page.browser.evaluate(page.card("pico/desk"))


def test_a_device_is_offline_when_its_network_says_so(page: Page, publisher: Publisher) -> None:
    heard(page, publisher, "zigbee2mqtt/lamp", {"brightness": 12}, "12")
    say(publisher, "zigbee2mqtt/lamp/availability", {"state": "offline"}, retain=True)
    page.wait_for_card("lamp", "offline")
    say(publisher, "zigbee2mqtt/lamp/availability", {"state": "online"}, retain=True)
    page.browser.wait_for(f"!{page.card('lamp')}.includes('offline')")


def test_a_hostile_name_is_text(page: Page, publisher: Publisher) -> None:
    title = page.browser.evaluate("document.title")
    say(publisher, "zigbee2mqtt/bridge/devices", [_described("0x01", HOSTILE)], retain=True)
    heard(page, publisher, f"zigbee2mqtt/{HOSTILE}", {"temperature": 20, "__proto__": 3, "action": HOSTILE}, "20")
    page.browser.evaluate("document.querySelector('.card a').click()")
    page.browser.wait_for("document.getElementById('detail').open")
    assert page.browser.evaluate("document.getElementById('detail-name').textContent") == HOSTILE
    page.browser.wait_for(f"document.getElementById('others').textContent.includes({json.dumps(HOSTILE)})")
    assert page.browser.evaluate("document.querySelectorAll('b, main img').length") == 0
    assert page.browser.evaluate("document.title") == title


def test_an_alert_is_acknowledged_muted_and_cleared(live: Live, page: Page, publisher: Publisher) -> None:
    _write_rules(live, RULES)
    live.start("alerts")
    alert = "document.querySelector('#alert-list .alert')"
    clicked = "[...{}.querySelectorAll('button')].find((b) => b.innerText === '{}').click()"

    def fires() -> str:
        say(publisher, "zigbee2mqtt/kettle", {"power": 2400, "state": "ON"})
        return str(page.browser.evaluate(f"{alert}?.innerText ?? ''"))

    text = until(fires, 30)
    assert all(word in text for word in ("critical", "kettle draws 2400", "Acknowledge", "Mute")), text
    assert page.browser.evaluate("document.getElementById('alert-count').innerText") == "1 open alert"
    page.browser.wait_for("document.title.startsWith('(1)')")
    page.wait_for_card("kettle", "2,400", "on", "critical")
    page.browser.evaluate(clicked.format(alert, "Acknowledge"))
    page.browser.wait_for(f"{alert}.innerText.includes('acknowledged') && !{alert}.innerText.includes('Acknowledge')")
    assert [one.acknowledged_by for one in desk.alerts(live.settings, open_only=True)] == ["live page"]
    page.browser.evaluate(clicked.format(alert, "Mute…"))
    page.browser.evaluate(clicked.format(alert, "1 h"))
    page.browser.wait_for(f"{alert}.innerText.includes('muted')")
    say(publisher, "zigbee2mqtt/kettle", {"power": 3, "state": "OFF"})
    page.browser.wait_for("document.getElementById('alert-count').hidden")
    assert "1 cleared" in page.browser.evaluate("document.getElementById('past').innerText")
    page.no_complaints()


def test_a_phone_is_wide_enough(page: Page, publisher: Publisher) -> None:
    for number in range(6):
        heard(page, publisher, f"zigbee2mqtt/{'a long name of a device ' * 3}{number}", {"temperature": 20 + number})
    _alert(publisher, "firing", datetime.now(UTC), device="x" * 90)
    page.browser.wait_for("document.querySelectorAll('#alert-list .alert').length")
    for width in (360, 390):
        page.browser.look(width, 844, mobile=True)
        assert page.browser.evaluate("document.documentElement.scrollWidth") <= width
    page.browser.evaluate("document.querySelector('.card a').click()")
    page.browser.wait_for("document.getElementById('detail').open")
    assert page.browser.evaluate("document.getElementById('detail').scrollWidth") <= 390
    page.no_complaints()


def test_search_and_groups(page: Page, publisher: Publisher) -> None:
    heard(page, publisher, "zigbee2mqtt/kettle", {"power": 10}, "10")
    heard(page, publisher, "zigbee2mqtt/front door", {"contact": True}, "closed")
    shown = (
        "[...document.querySelectorAll('.card')].filter((c) => c.checkVisibility())"
        ".map((c) => c.querySelector('h3').innerText)"
    )
    _type(page, "kett")
    page.browser.wait_for(f"({shown}).join() === 'kettle'")
    _type(page, "")
    page.browser.evaluate(
        "[...document.querySelectorAll('#chips button')].find((b) => /Doors/.test(b.innerText)).click()"
    )
    page.browser.wait_for(f"({shown}).join() === 'front door'")


def test_the_theme_is_remembered(page: Page) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.browser.evaluate(ground)
    page.browser.evaluate("document.getElementById('theme').click(); document.getElementById('theme').click()")
    dark = page.browser.evaluate(ground)
    assert light != dark
    page.open()
    assert page.browser.evaluate(ground) == dark


def test_a_year_of_history_in_well_under_a_second(
    settings: Settings, mosquitto: Mosquitto, browser: Browser, tmp_path: Path
) -> None:
    _a_year(settings, one_day_in=10)
    with Live(settings) as live:
        page = Page(browser, live.url)
        page.open()
        page.wait_for_card(ROOM, "°C")
        page.open(f"#device={quote('room:' + ROOM)}&range=1y")
        _drawn(page)
        asked = page.browser.evaluate(
            "performance.getEntriesByType('resource').filter((r) => r.name.includes('/series')).map((r) => r.duration)"
        )
        assert asked and max(asked) < 1_000, f"milliseconds of each series: {asked}"
        summary = page.browser.evaluate("document.querySelector('.chart .readout').innerText")
        assert "°C" in summary and page.browser.evaluate("document.querySelectorAll('.chart canvas').length") >= 2
        page.browser.evaluate(
            "[...document.querySelectorAll('#ranges button')].find((b) => b.innerText === '1 h').click()"
        )
        page.browser.wait_for("location.hash.includes('range=1h')")
        page.browser.wait_for("document.querySelector('.plot-message').innerText.includes('No history yet')")
        page.browser.evaluate("document.getElementById('detail-close').click()")
        page.browser.wait_for("!document.getElementById('detail').open && location.hash === ''")
        page.no_complaints()


if "SCREENSHOTS" in os.environ:  # no test that is skipped elsewhere: it proves nothing

    @pytest.mark.timeout(900)
    def test_pictures(settings: Settings, mosquitto: Mosquitto, browser: Browser) -> None:
        folder = Path(os.environ["SCREENSHOTS"])
        folder.mkdir(parents=True, exist_ok=True)
        _a_year(settings, one_day_in=3)
        everything = settings.model_copy(update={"simulators": SimulatorSettings(speed=20)})
        with Live(everything) as live:
            _write_rules(live, RULES_OF_PICTURES)
            live.start("alerts")
            live.start("sources")
            page = Page(browser, live.url)
            page.open()
            page.wait_for_card("Kitchen", "°C")
            page.browser.wait_for("edgeLive.devices >= 17", 90)
            page.browser.wait_for("document.querySelectorAll('#alert-list .alert').length", 60)
            curves = "new Promise((done) => setTimeout(done, 60000))"
            page.browser.evaluate(curves, await_promise=True)
            browser.screenshot(folder / "live_light.png", 1400, 1000)
            browser.screenshot(folder / "live_dark.png", 1400, 1000, dark=True)
            browser.screenshot(folder / "live_phone.png", 390, 844, mobile=True)
            browser.look(1400, 1000)
            page.open(f"#device={quote('room:' + ROOM)}&range=1y")
            _drawn(page)
            browser.screenshot(folder / "live_detail.png", 1400, 1000)


def _write_rules(live: Live, rules: str) -> None:
    path = live.settings.alerts.rules
    assert path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rules)


def _drawn(page: Page) -> None:
    """The first charts are there, and none is loading."""
    page.browser.wait_for(
        "document.querySelectorAll('.chart[data-state=ready] .plot canvas').length"
        " && !document.querySelector('.chart[data-state=loading]')"
    )


def _type(page: Page, text: str) -> None:
    page.browser.evaluate(
        f"(() => {{ const f = document.getElementById('filter'); f.value = {json.dumps(text)};"
        " f.dispatchEvent(new Event('input')) })()"
    )


def _alert(
    publisher: Publisher,
    transition: Any,
    at: datetime,
    device: str = "kettle",
    message: str = "kettle draws 2400 W",
    severity: Any = "critical",
) -> None:
    micros = int(at.timestamp() * 1_000_000)
    event = AlertEvent(
        event_id=f"7-{transition}",
        alert_id="7",
        transition=transition,
        rule="plug-overload",
        severity=severity,
        kind="device",
        device_id=device,
        device_name=device,
        measurement="power",
        value=2_400.0,
        unit="W",
        since=micros,
        event_time=micros,
        message=message,
    )
    publisher.publish(event.topic, event.encode())
    publisher.settle()


def _described(address: str, name: str) -> dict[str, Any]:
    expose = {"type": "numeric", "name": "temperature", "property": "temperature", "unit": "°C", "access": 1}
    definition = {"model": "T1", "vendor": "Evil & Sons <hr>", "description": "", "exposes": [expose]}
    return {"ieee_address": address, "friendly_name": name, "type": "EndDevice", "definition": definition}


def _a_year(settings: Settings, one_day_in: int) -> None:
    """A room's year in the lake, by the half hour, and its rollups."""
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    rows = []
    for step in range(YEAR_DAYS * 48):
        at = end - timedelta(minutes=30 * step)
        if at.toordinal() % one_day_in == 0 or step == 0:
            told = {"site": settings.site, "room_id": ROOM, "event_time": at, "received_at": at, "date": at.date()}
            rows.append(told | position(step, topic="telemetry.rooms") | _weather(at) | {"quality": "good"})
    write(settings, ROOM_TELEMETRY, rows)
    update(settings)


def _weather(at: datetime) -> dict[str, float]:
    """An office: warm summers, people on working days, and what they breathe."""
    season = -math.cos((at.timetuple().tm_yday - 20) / YEAR_DAYS * 2 * math.pi)
    open_now = at.weekday() < 5 and 8 <= at.hour < 18
    noise = math.sin(at.timestamp() / 7_919) + math.sin(at.timestamp() / 104_729) + math.sin(at.timestamp() / 611_953)
    people = int(open_now) * (6 + round(2 * noise))
    return {
        "temperature": 21.5 + 2.2 * season + 0.5 * noise + 0.12 * people,
        "humidity": 45 + 8 * season + 2 * noise,
        "co2_ppm": 430 + 62 * people + 12 * noise,
        "light_lux": 380.0 * open_now + max(0.0, 90 * season * (6 < at.hour < 20)),
        "occupancy_count": people,
        "energy_kwh": (at.timestamp() - 1_700_000_000) / 40_000,
        "air_quality_index": 24 + 3 * people + 2 * noise,
    }

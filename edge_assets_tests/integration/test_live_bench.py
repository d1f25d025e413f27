"""`edge bench live` on the real parts, in small: that it measures what it says, not how fast this machine is."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_assets.bench import live
from edge_assets.bench.browser import Browser, PageError
from edge_assets.settings import Settings

pytestmark = [pytest.mark.broker, pytest.mark.slow]


def test_bench_counts_every_message_at_every_place(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "RATES", (30,))
    monkeypatch.setattr(live, "VIEWERS", (3,))
    monkeypatch.setattr(live, "WARM_UP_SECONDS", 1)
    found = live.run(settings, seconds=2)["30_per_s_3_viewers"]
    assert found["messages"] == 60 and found["server_rss_mb"] > 10 and found["server_cpu_us_a_message"] > 0
    for place in ("painted", "reference_mqtt_only", "reference_at_a_viewer"):
        figures = [found[place][name] for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms")]
        assert figures[0] > -1 and figures == sorted(figures)


def test_browser_sees_a_page_and_its_complaints(tmp_path: Path) -> None:
    with Browser(400, 300, dark=True) as browser:
        browser.open("data:text/html,<p>hello</p><script>setTimeout(() => { throw Error('woe') })</script>")
        assert browser.evaluate("document.querySelector('p').textContent") == "hello"
        assert browser.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") is True
        assert browser.evaluate("Promise.resolve(7)", await_promise=True) == 7
        browser.wait_for("true")
        assert "woe" in browser.problems[0]
        browser.screenshot(tmp_path / "page.png", 200, 100)
        assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG") and browser.evaluate("innerWidth") == 200
        with pytest.raises(PageError, match="nothing is not defined"):
            browser.evaluate("nothing")
        with pytest.raises(PageError, match="not true within"):
            browser.wait_for("false", 0.1)

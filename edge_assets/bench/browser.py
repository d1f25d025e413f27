"""A real Chromium without a window, driven over its DevTools protocol: what a person would see, for benches and tests.

One page in one browser with a profile of its own, which goes with it. Plain calls, one after the other; what the page
complains of meanwhile (exceptions, refused requests, its security policy) is gathered in `problems`.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from websockets.sync.client import connect

from edge_assets.errors import PlatformError

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
DEADLINE_SECONDS = 30.0
POLL_SECONDS = 0.02
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


class PageError(Exception):
    """A script of ours raised in the page, or the browser refused a command."""


class Browser:
    """`with Browser() as browser: browser.open(url)`. Raises `PlatformError` where there is no Chromium."""

    def __init__(self, width: int = 1280, height: int = 800, *, dark: bool = False) -> None:
        program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
        if program is None:
            raise PlatformError(
                f"no Chromium on this machine (looked for {', '.join(PROGRAMS)}); on Debian: `apt install chromium`"
            )
        self.problems: list[str] = []
        self._numbers = itertools.count(1)
        self._loads = 0
        self._session: str | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="edge-browser-"))
        self._process = subprocess.Popen(
            [program, *_OPTIONS, f"--user-data-dir={self._folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._socket = connect(self._address(), max_size=None, compression=None, open_timeout=DEADLINE_SECONDS)
            self._attach()
            self.look(width, height, dark=dark)
        except BaseException:
            self.close()
            raise

    def open(self, url: str) -> None:
        """Go there and wait until the page and what it asks for are loaded."""
        before = self._loads
        if problem := self._call("Page.navigate", {"url": url}).get("errorText"):
            raise PageError(f"opening {url}: {problem}")
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self._loads == before:
            self._take(deadline - time.monotonic())

    def evaluate(self, script: str, *, await_promise: bool = False) -> Any:
        """The value of a JavaScript expression in the page, as JSON has it. Raises `PageError`."""
        asked = {"expression": script, "awaitPromise": await_promise, "returnByValue": True}
        answer = self._call("Runtime.evaluate", asked)
        if trouble := answer.get("exceptionDetails"):
            raise PageError(_described(trouble))
        return answer["result"].get("value")

    def wait_for(self, script: str, seconds: float = DEADLINE_SECONDS) -> Any:
        """The first value of the expression that JavaScript takes for true. Raises `PageError` when there is none in
        time, with the page's complaints."""
        deadline = time.monotonic() + seconds
        while not (value := self.evaluate(f"(() => {{ const v = ({script}); return v ? v : null }})()")):
            if time.monotonic() > deadline:
                raise PageError(f"not true within {seconds:g} s: {script}; the page says: {self.problems or 'nothing'}")
            time.sleep(POLL_SECONDS)
        return value

    def look(self, width: int, height: int, *, dark: bool = False, mobile: bool = False) -> None:
        """Be a screen of that size, of a person who likes it dark, of a phone."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 2 if mobile else 1, "mobile": mobile}
        self._call("Emulation.setDeviceMetricsOverride", screen)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", {"features": [scheme]})

    def screenshot(
        self,
        path: Path,
        width: int | None = None,
        height: int | None = None,
        *,
        dark: bool = False,
        mobile: bool = False,
    ) -> None:
        """A PNG of what is on the screen now, of another size and scheme where one is given."""
        if width and height:
            self.look(width, height, dark=dark, mobile=mobile)
        # Two frames: what the change of size or scheme asks for is drawn in the first.
        self.evaluate("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))", await_promise=True)
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", {"format": "png"})["data"]))

    def close(self) -> None:
        """End the browser and remove its profile."""
        with suppress(Exception):
            self._socket.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    # -- the protocol ------------------------------------------------------------------------------------------------

    def _address(self) -> str:
        """Where it listens; it says so in a file of its profile: port, then path."""
        place = self._folder / "DevToolsActivePort"
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            with suppress(FileNotFoundError):
                if len(lines := place.read_text().splitlines()) == 2:
                    return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise PlatformError(f"Chromium did not start (exit code {self._process.poll()}); try it by hand")
            time.sleep(POLL_SECONDS)

    def _attach(self) -> None:
        pages = self._call("Target.getTargets")["targetInfos"]
        target = next(page["targetId"] for page in pages if page["type"] == "page")
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def _call(self, method: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        number = next(self._numbers)
        command: dict[str, Any] = {"id": number, "method": method, "params": given or {}}
        if self._session:
            command["sessionId"] = self._session
        self._socket.send(json.dumps(command))
        deadline = time.monotonic() + 10 * DEADLINE_SECONDS
        while (answer := self._take(deadline - time.monotonic())).get("id") != number:
            pass
        if "error" in answer:
            raise PageError(f"{method}: {answer['error'].get('message')}")
        result: dict[str, Any] = answer["result"]
        return result

    def _take(self, seconds: float) -> dict[str, Any]:
        """The next thing that the browser says. Raises `PageError` when it says nothing for so long."""
        try:
            said: dict[str, Any] = json.loads(self._socket.recv(timeout=max(0.0, seconds)))
        except TimeoutError:
            raise PageError("the browser does not answer") from None
        what, about = said.get("method"), said.get("params", {})
        if what == "Page.loadEventFired":
            self._loads += 1
        elif what == "Runtime.exceptionThrown":
            self.problems.append(_described(about["exceptionDetails"]))
        elif what == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.problems.append(f"{about['entry']['text']} {about['entry'].get('url', '')}".strip())
        return said


def _described(trouble: Mapping[str, Any]) -> str:
    exception = trouble.get("exception", {})
    return str(exception.get("description") or exception.get("value") or trouble.get("text"))

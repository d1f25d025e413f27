"""Readers while rollups are swapped and tables committed under them, and what a query may cost."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import duckdb
import pytest

from edge_assets.serving.refusals import Away, Crowded
from edge_assets.serving.turns import Turn, Turns
from edge_assets.settings import Settings
from edge_assets.tables import READINGS
from edge_assets.warehouse.rollups.update import update
from edge_assets_tests.lake_tables import AT, write
from edge_assets_tests.serving_rig import MINUTE, Api, rooms, served, temperature

READERS, SWAPS = 8, 12
ENDLESS = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range * b.range % 7 = 3"


def ten(number: int) -> list[dict[str, Any]]:
    """Ten readings of one minute: whoever sees them sees ten."""
    return [temperature(number * 10 + n, AT + number * 377 * MINUTE, 20 + n) for n in range(10)]


def test_many_readers_while_the_file_is_swapped(settings: Settings) -> None:
    write(settings, READINGS, ten(0))
    update(settings)
    problems: list[str] = []
    seen: set[int] = set()
    stop = threading.Event()

    def read(address: str, number: int) -> None:
        own = Api(address)
        asked = {"device": "0x01", "measurement": "temperature", "from": "2026-02-01", "points": 500 + number}
        while not stop.is_set():
            for path in ("/series", "/devices", "/views/grafana_climate"):
                answer = own.ask(path, **(asked if path == "/series" else {}))
                if answer.status_code != 200:
                    problems.append(f"{path}: {answer.status_code} {answer.text[:300]}")
                elif path == "/views/grafana_climate":
                    seen.add(len(answer.json()))

    with served(settings) as api:
        threads = [threading.Thread(target=read, args=(api.address, number)) for number in range(READERS)]
        for thread in threads:
            thread.start()
        for number in range(1, SWAPS):
            write(settings, READINGS, ten(number))
            update(settings)
        stop.set()
        for thread in threads:
            thread.join()
        assert len(api.get("/views/grafana_climate")) == SWAPS, "the last one is served"
    assert not problems, problems[0]
    assert len(seen) > 2, "they have read while it was swapped"


def test_tables_of_the_lake_are_read_as_they_are_now(settings: Settings) -> None:
    with served(settings) as api:
        assert api.get("/views/grafana_sessions") == []
        rooms(settings)
        deadline = time.monotonic() + 10
        while not api.get("/views/grafana_sessions"):
            assert time.monotonic() < deadline, "a commit is seen within a second or so"
        first = api.ask("/views/grafana_sessions")
        assert api.ask("/views/grafana_sessions", {"If-None-Match": first.headers["ETag"]}).status_code == 304


def endless(turn: Turn) -> Any:
    with duckdb.connect() as opened:
        return turn.execute(opened, ENDLESS)


def test_a_query_that_takes_too_long_is_ended_and_its_thread_is_free_again() -> None:
    async def ask() -> float:
        turns = Turns(threads=1, deadline_seconds=0.3)
        begun = time.monotonic()
        with pytest.raises(Away, match="too long"):
            await turns.run(endless)
        taken = time.monotonic() - begun
        assert await turns.run(lambda turn: 42) == 42
        turns.close()
        return taken

    assert asyncio.run(ask()) < 5


def test_an_asker_who_goes_takes_the_query_along() -> None:
    async def ask() -> None:
        turns = Turns(threads=1, deadline_seconds=60)
        asked = asyncio.ensure_future(turns.run(endless))
        await asyncio.sleep(0.3)
        asked.cancel()
        assert await asyncio.wait_for(turns.run(lambda turn: 42), 10) == 42
        turns.close()

    asyncio.run(ask())


def test_only_so_many_may_wait() -> None:
    async def ask() -> None:
        turns = Turns(threads=1, waiting=3, deadline_seconds=0.3)
        asked = [asyncio.ensure_future(turns.run(endless)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Crowded, match="ask again"):
            await turns.run(lambda turn: 42)
        for found in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(found, Away)
        assert await turns.run(lambda turn: 42) == 42
        turns.close()

    asyncio.run(ask())

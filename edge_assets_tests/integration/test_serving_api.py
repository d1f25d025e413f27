"""The serving API over HTTP: what it answers, what it refuses, and that nobody gets at more than they may ask for."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.openapi.models import OpenAPI
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from edge_assets.serving import parameters
from edge_assets.serving.api import PREFIX, router
from edge_assets.serving.catalogue import all_views
from edge_assets.settings import Settings, load_settings
from edge_assets.tables import READINGS
from edge_assets.warehouse.rollups.layout import database_path
from edge_assets.warehouse.rollups.update import rebuild_all, update
from edge_assets_tests.lake_tables import write
from edge_assets_tests.serving_rig import (
    DAY,
    HOUR,
    MINUTE,
    Api,
    alert_events,
    anomaly,
    home_of_readings,
    rooms,
    served,
    temperature,
)

BEGIN = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - DAY
"""of the home's readings: yesterday"""
RANGE = {"from": BEGIN.isoformat(), "to": (BEGIN + 10 * HOUR).isoformat()}
SERIES = {"device": "0x01", "measurement": "temperature", **RANGE}
ASKED: dict[str, dict[str, Any]] = {
    "/devices": {},
    "/series": SERIES,
    "/views": {},
    "/views/{name}": {},
    "/alerts": {},
    "/alerts/summary": {},
    "/status": {},
}
"""each endpoint, with what makes it answer"""
TIMED = ("/devices", "/views/{name}", "/alerts")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = load_settings(_env_file=None, home=tmp_path_factory.mktemp("serving"))
    for make in (home_of_readings, rooms, anomaly, alert_events):
        make(settings, BEGIN)
    update(settings)
    return settings


@pytest.fixture(scope="module")
def api(home: Settings) -> Iterator[Api]:
    with served(home) as api:
        yield api


def endpoints_of(settings: Settings) -> dict[str, APIRoute]:
    return {route.path: route for route in router(settings).routes if isinstance(route, APIRoute)}


def test_every_endpoint_answers_as_its_model_says(home: Settings, api: Api) -> None:
    found = endpoints_of(home)
    assert sorted(found) == sorted(ASKED), "an endpoint that this test does not know"
    for path, route in found.items():
        assert route.methods == {"GET"}
        names = all_views() if "{name}" in path else [""]
        for name in names:
            for time_format in ("iso", "ms"):
                asked = ASKED[path] | ({"time": time_format} if path in TIMED else {})
                asked |= RANGE if name == "grafana_room_windows" else {}
                body = api.get(path.replace("{name}", name), **asked)
                TypeAdapter(route.response_model).validate_python(body)
                assert body or path == "/alerts", f"{path} {name}: nothing in it"


def test_openapi_is_valid_and_says_something_of_everything(api: Api) -> None:
    document = json.loads(api._session.get(f"{api.address}/openapi.json", timeout=10).text)
    OpenAPI.model_validate(document)
    for path, methods in document["paths"].items():
        assert path.startswith(PREFIX) and list(methods) == ["get"]
        said = methods["get"]
        assert said["summary"] and said["description"]
        assert said["responses"]["200"]["content"]["application/json"]["schema"]
        for parameter in said.get("parameters", []):
            assert parameter.get("description"), f"{path}: {parameter['name']} is not described"


def test_devices_with_health_and_latest_values(settings: Settings) -> None:
    begin = datetime.now(UTC).replace(second=0, microsecond=0) - HOUR
    home_of_readings(settings, begin, minutes=30)
    update(settings)
    with served(settings) as api:
        attic, hall = api.get("/devices", time="ms")
    assert (attic["key"], attic["name"], attic["battery_percent"]) == ("device:0x01", "attic", None)
    assert (hall["name"], hall["battery_percent"], hall["linkquality"]) == ("hall, front", 90.0, 100.0)
    (value,) = attic["measurements"]
    assert (value["measurement"], value["unit"], value["value"]) == ("temperature", "°C", 20 + 29 % 7)
    assert value["at"] == (begin + 29 * MINUTE).timestamp() * 1_000


INJECTIONS = [
    "' OR '1'='1",
    "0x01' OR 1=1 --",
    "0x01'; DROP VIEW climate; --",
    "\"; ATTACH 'x.db'; --",
    "$begin",
    "0x01\x00",
    "read_csv('/etc/passwd')",
    "%27%20OR%201=1",
    "{{device}}",
    "../../etc/passwd",
    "\u2019 OR 1=1",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_what_is_no_name_is_no_sql_either(api: Api, text: str) -> None:
    as_json = json.dumps([text])
    for name in ("device", "measurement", "kind"):
        assert api.get("/views/grafana_climate", **{name: as_json}) == []
    assert api.get("/series", **SERIES | {"device": text})["points"] == []
    assert api.get("/series", **SERIES | {"measurement": text})["points"] == []
    for name in ("from", "to", "points", "limit", "time", "form", text):
        assert api.ask("/views/grafana_climate", **{name: text}).status_code == 422
    for path in (f"/views/{text}", f"/views/grafana_climate {text}", "/views/readings_1m", "/views/settings"):
        assert api.ask(path).status_code == 404
    assert api.get("/views/grafana_climate", limit=1), "all is as it was"


def test_names_that_look_like_sql_are_found(settings: Settings) -> None:
    for number, name in enumerate(INJECTIONS):
        if "\x00" not in name:
            write(settings, READINGS, [temperature(number, BEGIN, number, device_id=name, device_name=f"name {name}")])
    update(settings)
    with served(settings) as api:
        for number, name in enumerate(INJECTIONS):
            if "\x00" not in name:
                (row,) = api.get("/views/grafana_climate", device=json.dumps([name]))
                assert (row["device_id"], row["value"]) == (name, number)
                assert len(api.get("/series", **SERIES | {"device": name})["points"]) == 1


@pytest.mark.parametrize(
    ("path", "asked", "says"),
    [
        ("/views/grafana_climate", {"limit": parameters.MOST_ROWS + 1}, "limit: "),
        ("/views/grafana_climate", {"limit": 0}, "limit: "),
        ("/views/grafana_climate", {"points": parameters.MOST_POINTS + 1}, "points: "),
        ("/views/grafana_climate", {"points": 5}, "say `from` too"),
        ("/views/grafana_climate", {"room": "r1"}, "cannot be cut by room; it can by: device, measurement, kind"),
        ("/views/grafana_climate", {"from": "tomorrow"}, "from: 'tomorrow' is no time"),
        ("/views/grafana_climate", {"from": "now", "to": "-1h"}, "later than to"),
        ("/views/grafana_climate", {"time": "unix"}, "time: "),
        ("/views/grafana_climate", {"fron": "-1h"}, "fron: there is no such parameter"),
        ("/views/grafana_climate", {"device": ",".join(map(str, range(600)))}, "device: "),
        ("/series", {"measurement": "temperature"}, "device: Field required"),
        ("/series", SERIES | {"points": parameters.MOST_POINTS + 1}, "points: "),
        ("/series", SERIES | {"kind": "everything"}, "kind: "),
        ("/alerts", {"limit": 1_000_000}, "limit: "),
        ("/alerts", {"from": "x"}, "from: "),
        ("/status", {"secrets": "1"}, "secrets: there is no such parameter"),
    ],
)
def test_a_wrong_question_is_told_so_in_one_line(api: Api, path: str, asked: dict[str, Any], says: str) -> None:
    answer = api.ask(path, **asked)
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert says in detail and "\n" not in detail and len(detail) < 400


def test_nothing_can_be_changed(api: Api) -> None:
    for path in ASKED:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            answer = api._session.request(method, f"{api.address}{PREFIX}{path}", timeout=10)
            assert answer.status_code in (404, 405)


def test_an_answer_has_an_end_and_says_so(api: Api) -> None:
    whole = api.get("/views/grafana_climate", kind="device")
    assert len(whole) == 9, "ten hours, one of them silent"
    answer = api.ask("/views/grafana_climate", kind="device", limit=4)
    assert answer.headers["X-Truncated"] == "true"
    assert answer.json() == whole[-4:], "the newest"
    assert "X-Truncated" not in api.ask("/views/grafana_climate", kind="device", limit=9).headers


def test_lists_and_names(api: Api) -> None:
    assert {row["device_id"] for row in api.get("/views/grafana_latest", device="All")} <= {"0x01", "0x02", "r1"}
    for device in ("0x02", '["hall, front"]', "{0x02,0x09}", ["0x02", "0x09"]):
        rows = api.get("/views/grafana_power", device=device)
        assert len(rows) == 10 and {row["device_id"] for row in rows} == {"0x02"}
    assert api.get("/views/grafana_power", device="nobody") == []


def test_who_has_the_answer_is_told_that_it_stands(settings: Settings) -> None:
    home_of_readings(settings, BEGIN, minutes=5)
    update(settings)
    paths: list[tuple[str, dict[str, Any]]] = [
        ("/series", SERIES),
        ("/views/grafana_climate", RANGE),
        ("/views", {}),
        ("/alerts", {}),
    ]
    with served(settings) as api:
        tags = {}
        for path, asked in paths:
            first = api.ask(path, **asked)
            tags[path] = first.headers["ETag"]
            again = api.ask(path, {"If-None-Match": f'"other", {tags[path]}'}, **asked)
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["ETag"] == tags[path] and "max-age" in again.headers["Cache-Control"]
            assert api.ask(path, {"If-None-Match": '"other"'}, **asked).content == first.content
        assert len(set(tags.values())) == len(tags)
        other = api.ask("/series", {"If-None-Match": tags["/series"]}, **SERIES | {"points": 1})
        assert other.status_code == 200, "another question"
        write(settings, READINGS, [temperature(999, BEGIN + HOUR, 30)])
        update(settings)
        news = api.ask("/series", {"If-None-Match": tags["/series"]}, **SERIES)
        assert news.status_code == 200 and news.json()["points"][-1][1] == 30


def test_before_the_first_rollups(settings: Settings) -> None:
    """What the lake has is served; the rest says when it comes, and comes without a restart."""
    rooms(settings, BEGIN)
    with served(settings) as api:
        for path in ("/devices", "/series", "/views/grafana_climate"):
            answer = api.ask(path, **ASKED.get(path, {}))
            assert answer.status_code == 503 and "Retry-After" in answer.headers
            assert "every ten minutes" in answer.json()["detail"]
        assert api.get("/views/grafana_sessions")
        assert {view["group"] for view in api.get("/views")} == {"lake"}
        assert api.get("/status")["rollups"]["published_at"] is None
        home_of_readings(settings, BEGIN, minutes=5)
        update(settings)
        assert api.get("/views/grafana_climate")
        database_path(settings).unlink()
        assert api.ask("/devices").status_code == 503


def test_files_that_went_meanwhile_are_looked_for_anew(settings: Settings) -> None:
    home_of_readings(settings, BEGIN, minutes=5)
    update(settings)
    with served(settings) as api:
        before = api.get("/series", **SERIES)
        path = database_path(settings)
        kept = path.read_bytes()
        rebuild_all(settings)
        shutil.rmtree(path.parent / "rollups" / "1")  # the generation that the kept file names
        fresh = path.read_bytes()
        path.with_name("kept").write_bytes(kept)
        path.with_name("kept").replace(path)
        gone = api.ask("/series", **SERIES | {"points": 7})
        assert gone.status_code == 503 and "\n" not in gone.json()["detail"]
        path.with_name("fresh").write_bytes(fresh)
        path.with_name("fresh").replace(path)
        assert api.get("/series", **SERIES) == before


def test_status_keeps_to_itself_what_is_nobodys_business(settings: Settings) -> None:
    with served(settings) as api:
        text = api.ask("/status").text
    for secret in (str(settings.home), "pid", "bootstrap", "127.0.0.1"):
        assert secret not in text
    assert json.loads(text)["services"]["stream_writer"]["state"] == "stopped"


def test_a_hundred_viewers_of_one_chart(home: Settings, api: Api) -> None:
    problems: list[str] = []

    def view() -> None:
        own = Api(api.address)
        for _ in range(5):
            answer = own.ask("/series", **SERIES)
            if answer.status_code != 200 or len(answer.json()["points"]) != 540:
                problems.append(answer.text[:200])

    threads = [threading.Thread(target=view) for _ in range(60)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, f"{len(problems)} after {time.monotonic() - begun:.1f} s: {problems[0]}"


def test_rows_of_a_day_that_began_before_the_range_are_in_it(api: Api) -> None:
    """A panel of the last six hours shows today's energy, whose row begins at midnight."""
    asked = {"from": (BEGIN + HOUR).isoformat(), "to": (BEGIN + 2 * HOUR).isoformat()}
    (row,) = api.get("/views/grafana_energy_daily", **asked)
    assert row["time"] == f"{BEGIN.date()}T00:00:00.000Z"
    assert api.get("/views/energy_cost", **asked)[0]["day"] == str(BEGIN.date())
    assert api.get("/views/grafana_energy_daily", **{"from": (BEGIN + DAY).isoformat()}) == []

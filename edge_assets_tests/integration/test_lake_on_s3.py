"""The lake in a bucket of a real S3 server: the stream writes it, killed or not, and the three readers read it."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from edge_assets import delta_log, object_store
from edge_assets.errors import LakeError
from edge_assets.platform import doctor, endpoints, jars
from edge_assets.settings import Settings, load_settings
from edge_assets.stream import asking, requests
from edge_assets.warehouse import open_lake
from edge_assets.warehouse.export import export
from edge_assets.warehouse.rollups.compare import compare
from edge_assets.warehouse.rollups.update import update
from edge_assets.warehouse.sql import run_sql
from edge_assets.warehouse.verify import verify
from edge_assets_tests import s3_rig
from edge_assets_tests.stream_rig import Log, records, table, until, writer

pytestmark = [pytest.mark.java, pytest.mark.timeout(300)]

SPOKEN = datetime(2026, 9, 21, 12, 0, tzinfo=UTC)

WRITES = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from edge_assets import object_store
from edge_assets.platform import jars, java
from edge_assets.settings import load_settings
from edge_assets.stream.session import spark_session

settings = load_settings()
with spark_session(settings, jars.ensure_spark(settings), java.java_home(settings)) as spark:
    jvm = spark._jvm
    conf = spark._jsc.hadoopConfiguration()
    store = jvm.edge_assets.OneWriterLogStore(conf)

    def write(number, text):
        commit = object_store.spark_uri(settings.lake_path / "t" / "_delta_log" / f"{number:020}.json")
        lines = jvm.java.util.ArrayList()
        lines.add(text)
        try:
            store.write(jvm.org.apache.hadoop.fs.Path(commit), lines.iterator(), False, conf)
            return "written"
        except Exception as error:
            return "refused" if "another writer has committed" in str(error) else str(error)

    answers = {"first": write(0, "a"), "again": write(0, "a"), "other": write(0, "b")}
    with ThreadPoolExecutor(8) as racers:
        answers["race"] = list(racers.map(lambda number: write(1, str(number)), range(8)))
print("ANSWERS" + json.dumps(answers))
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = s3_rig.gateway(load_settings(_env_file=None))
    with s3_rig.served(program, tmp_path_factory.mktemp("s3") / "data") as address:
        yield address


@pytest.fixture
def on_s3(settings: Settings, address: str, request: pytest.FixtureRequest) -> Settings:
    own = s3_rig.on(settings, address, f"homes/{request.node.name}")
    jars.ensure_spark(own)
    return own


def test_a_killed_writer_goes_on_where_the_bucket_stands_and_every_reader_reads_it(
    on_s3: Settings, kafka: Settings, tmp_path: Path
) -> None:
    half_made = on_s3.lake_path / "bronze" / "events" / delta_log.FOLDER / ".begun"
    assert object_store.put(on_s3, half_made, b"", new=True)
    log = Log(on_s3)
    log.put("zigbee2mqtt/bridge/devices", _devices(20))
    sent = 0
    for kill_at in (40, 90, None):
        for _ in range(50):
            sent += 1
            log.put(f"zigbee2mqtt/plug {sent % 20}", {"power": sent, "energy": sent / 10})
        log.flush()
        with writer(on_s3) as process:
            until(partial(_has, on_s3, kill_at or 1 + sent), "records", process)
            if kill_at is not None:
                _kill(process, on_s3)
    values = sorted(row["value"] for row in table(on_s3, "silver.readings") if row["measurement"] == "power")
    assert values == [float(number) for number in range(1, sent + 1)]
    report = verify(on_s3)
    assert report.holds, report.render()
    _readers_agree(on_s3, sent, tmp_path)


@pytest.mark.slow  # two to four minutes: each commit asks the server some dozen times
def test_windows_corrections_and_maintenance_go_on_in_a_bucket(on_s3: Settings, kafka: Settings) -> None:
    log = Log(on_s3)
    room = str(on_s3.bridge.routes[2].topic).replace("<room>", "lab")
    settings = on_s3.model_copy(update={"windows": on_s3.windows.model_copy(update={"repair_minutes": 0.05})})

    def say(at: int, temperature: float) -> None:
        moment = SPOKEN + timedelta(seconds=at)
        message = {"temperature": temperature, "timestamp": moment.isoformat()}
        log.put("building/lab/telemetry", message, room, at=int(moment.timestamp() * 1e6))
        log.flush()

    def means() -> dict[int, float]:
        rows = table(settings, "gold.telemetry_5s_agg")
        return {int((row["window_start"] - SPOKEN).total_seconds()): row["avg_temperature"] for row in rows}

    with writer(settings) as process:
        for at in (1, 4, 60):
            say(at, 20.0)
        until(lambda: means() == {-5: 20.0, 0: 20.0}, "windows", process)
        say(2, 26.0)  # too late for them
        until(lambda: means() == {-5: 22.0, 0: 22.0}, "corrected windows", process)
        assert "silver.room_telemetry" in requests.maintain(settings)["tables"]
        with ThreadPoolExecutor(1) as pool:
            for name in ("silver", "gold"):
                answer = pool.submit(asking.recompute, settings, SPOKEN - timedelta(hours=1), None, name)
                until(answer.done, f"{name} again", process)
                assert not any(answer.result()["rewritten"].values())
        say(90, 23.0)
        until(lambda: 55 in means(), "windows behind all of it", process)
    report = verify(settings)
    assert report.holds, report.render()


@pytest.mark.slow
def test_while_the_bucket_is_away_the_log_keeps_what_comes(settings: Settings, kafka: Settings, tmp_path: Path) -> None:
    """The writer ends, and so does one that is started meanwhile; one that finds the bucket again goes on."""
    program, port = s3_rig.gateway(settings), endpoints.free_port()
    served = partial(s3_rig.served, program, tmp_path / "s3" / "data", port)
    with ExitStack() as writing:
        with served() as address:
            on_s3 = s3_rig.on(settings, address, "home")
            jars.ensure_spark(on_s3)
            log = Log(on_s3)
            for number in range(50):
                log.put(f"zigbee2mqtt/plug {number % 5}", {"power": number})
            log.flush()
            process = writing.enter_context(writer(on_s3))
            until(partial(_has, on_s3, 50), "records", process)
        for number in range(50, 100):
            log.put(f"zigbee2mqtt/plug {number % 5}", {"power": number})
        log.flush()
        assert process.wait(200) != 0
        with writer(on_s3) as another:
            assert another.wait(60) != 0
        assert "EDGE_S3__ENDPOINT" in (on_s3.home / "writer.log").read_text().splitlines()[-1]
    with served(), writer(on_s3) as process:
        until(partial(_has, on_s3, 100), "records", process)
        report = verify(on_s3, wait_seconds=60)
        assert report.holds, report.render()
        values = sorted(row["value"] for row in table(on_s3, "silver.readings"))
    assert values == [float(number) for number in range(100)]


def _readers_agree(settings: Settings, sent: int, folder: Path) -> None:
    """DuckDB, the rollups, an export and a notebook's connection see what is in the bucket."""
    counted = "SELECT count(*) AS n, sum(value) AS total FROM silver.readings WHERE measurement = 'power'"
    expected = {"n": sent, "total": float(sum(range(1, sent + 1)))}
    assert json.loads(run_sql(settings, counted, "json")) == [expected]
    assert update(settings).buckets
    assert update(settings).buckets == 0
    assert compare(settings).holds
    rolled = "SELECT sum(n)::INT AS n FROM readings_1m WHERE measurement = 'power'"
    assert json.loads(run_sql(settings, rolled, "json")) == [{"n": sent}]
    exported = export(settings, "silver.readings", folder / "all.parquet")
    assert pq.read_metadata(exported.file).num_rows == exported.rows == 2 * sent
    with open_lake(settings) as opened:
        assert opened.execute(counted).fetchone() == (sent, expected["total"])


def test_a_commit_is_written_once_whoever_writes_it(on_s3: Settings) -> None:
    environment = {**os.environ, **on_s3.environment()}
    done = subprocess.run([sys.executable, "-c", WRITES], env=environment, capture_output=True, text=True)
    assert "ANSWERS" in done.stdout, done.stderr
    answers = json.loads(done.stdout.partition("ANSWERS")[2])
    assert (answers["first"], answers["again"], answers["other"]) == ("written", "written", "refused")
    assert sorted(answers["race"]) == ["refused"] * 7 + ["written"]
    there = on_s3.lake_path / "t" / "_delta_log"
    assert (there / f"{0:020}.json").read_text() == "a\n"
    assert (there / f"{1:020}.json").read_text() == f"{answers['race'].index('written')}\n"


def test_doctor_trusts_a_store_that_takes_a_new_file_once(on_s3: Settings) -> None:
    assert _finding(on_s3).level == "ok"
    assert not list(on_s3.lake_path.glob(".race-*"))


def test_doctor_does_not_trust_a_store_that_ignores_the_condition(on_s3: Settings) -> None:
    with _forgetful() as forgetful:
        finding = _finding(s3_rig.on(on_s3, forgetful, "forgetful"))
    assert finding.level == "fail"
    assert "overwrite each other" in finding.found
    assert "If-None-Match" in finding.next_step


@pytest.mark.parametrize("wrong", ["secret_key", "endpoint", "bucket"])
def test_a_bucket_that_cannot_be_used_is_said_on_one_line(on_s3: Settings, wrong: str) -> None:
    other: dict[str, Any] = {"secret_key": "wrong"} if wrong == "secret_key" else {"endpoint": "http://127.0.0.1:9"}
    if wrong == "bucket":
        own = on_s3.model_copy(update={"lake": on_s3.lake.model_copy(update={"path": "s3://elsewhere/lake"})})
    else:
        own = on_s3.model_copy(update={"s3": on_s3.s3.model_validate(on_s3.s3.model_dump() | other)})
    finding = _finding(own)
    assert finding.level == "fail"
    assert "EDGE_S3__ENDPOINT" in finding.next_step
    assert "\n" not in str(finding)
    with pytest.raises(LakeError):
        object_store.race(own)


def test_duckdb_writes_nothing_there(on_s3: Settings) -> None:
    with open_lake(on_s3) as opened, pytest.raises((duckdb.Error, LakeError)):
        opened.execute("COPY (SELECT 1) TO 's3://lake/mine.parquet'")


def _has(settings: Settings, count: int) -> bool:
    return len(records(settings)) >= count


def _finding(settings: Settings) -> doctor.Finding:
    return next(finding for finding in doctor.examine(settings) if finding.check == "lake")


def _kill(process: subprocess.Popen, settings: Settings) -> None:
    """Both halves of the writer, at once: Python and the JVM."""
    jvm = int((settings.home / "run" / "stream_writer.jvm.lock").read_text())
    os.kill(jvm, signal.SIGKILL)
    process.kill()
    process.wait()


def _devices(count: int) -> list[dict[str, Any]]:
    exposes = [{"type": "numeric", "property": "power", "unit": "W"}]
    exposes += [{"type": "numeric", "property": "energy", "unit": "kWh"}]
    definition = {"model": "S60ZBTPF", "vendor": "SONOFF", "description": "Plug", "exposes": exposes}
    known = {"type": "Router", "definition": definition}
    return [{"ieee_address": f"0x{number:02}", "friendly_name": f"plug {number}", **known} for number in range(count)]


@contextmanager
def _forgetful() -> Iterator[str]:
    """A store that never heard of `If-None-Match`, as there are some: what is put last is there."""
    files: dict[str, bytes] = {}

    class Store(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            files[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(b"")

        def do_GET(self) -> None:
            self._answer(files[self.path])

        def _answer(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Sat, 21 Nov 2026 12:00:00 GMT")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()

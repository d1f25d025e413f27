"""What a file of history may look like, and what is said of a line that is bad."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from edge_assets.decoding.knowledge import Knowledge
from edge_assets.decoding.reference import Record, decode
from edge_assets.decoding.registry import Registry
from edge_assets.errors import HistoryError
from edge_assets.log_record import Header
from edge_assets.settings import Settings, StreamSettings
from edge_assets.sources.history import columns, ledger, lines, record
from edge_assets.sources.history.columns import Options
from edge_assets.sources.history.importing import Rejected, examine
from edge_assets.sources.history.lines import BadLine, Bounds, Entry
from edge_assets.sources.history.times import TimeReader, iso
from edge_assets.sources.history.values import value_of

AT = "2015-02-04T17:51:00.000Z"
BOUNDS = Bounds(latest=4_000_000_000_000_000, record_bytes=100_000)


def read(path: Path, options: Options | None = None) -> list[Entry | BadLine]:
    said = options or Options()
    layout = columns.look(path, said)
    with columns.opened(path, said.encoding) as (_, text, _):
        return list(lines.read(text, layout, said, BOUNDS))


def written(tmp_path: Path, content: str | bytes, name: str = "attic.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def told(entries: list[Entry | BadLine]) -> list[tuple[str, dict[str, Any]]]:
    """(time, measurements) of entries that must all be good."""
    assert [str(entry) for entry in entries if isinstance(entry, BadLine)] == []
    return [(iso(entry.at), entry.measurements) for entry in entries if isinstance(entry, Entry)]


ODD_FILES = {
    "plain": "time,temperature,humidity\n2015-02-04 17:51:00,23.18,27\n",
    "carriage returns and line feeds": "time,temperature,humidity\r\n2015-02-04 17:51:00,23.18,27\r\n",
    "carriage returns alone": "time,temperature,humidity\r2015-02-04 17:51:00,23.18,27\r",
    "no line end at the end": "time,temperature,humidity\n2015-02-04 17:51:00,23.18,27",
    "byte order mark": "\ufefftime,temperature,humidity\n2015-02-04 17:51:00,23.18,27\n",
    "UTF-16": "time,temperature,humidity\n2015-02-04 17:51:00,23.18,27\n".encode("utf-16"),
    "packed": gzip.compress(b"time,temperature,humidity\n2015-02-04 17:51:00,23.18,27\n"),
    "semicolons, commas and German dates": "Zeit;temperature;humidity\n04.02.2015 17:51;23,18;27\n",
    "German seconds": "Datum;temperature;humidity\n4.2.2015 17:51:00;23,18;27,0\n",
    "semicolons and points": "time;temperature;humidity\n2015-02-04 17:51:00;23.18;27\n",
    "tabs": "time\ttemperature\thumidity\n2015-02-04T17:51:00Z\t23.18\t27\n",
    "bars": "time|temperature|humidity\n2015-02-04 17:51|23.18|27\n",
    "Excel says the separator": "sep=;\ntime;temperature;humidity\n2015-02-04 17:51:00;23,18;27\n",
    "comments": "# of the attic\ntime,temperature,humidity\n# moved\n2015-02-04 17:51:00,23.18,27\n",
    "blank lines": "\n\ntime,temperature,humidity\n\n2015-02-04 17:51:00,23.18,27\n\n",
    "quotes": '"time","temperature","humidity"\n"2015-02-04 17:51:00","23.18","27"\n',
    "seven names over eight columns": '"date","temperature","humidity"\n"1","2015-02-04 17:51:00",23.18,27\n',
    "an empty name in front": ",time,temperature,humidity\n0,2015-02-04 17:51:00,23.18,27\n",
    "separators at the ends of lines": "time,temperature,humidity\n2015-02-04 17:51:00,23.18,27,\n",
    "seconds since 1970 first, separators at the ends": "ts,temperature,humidity\n1423072260,23.18,27,\n",
    "a number in front and nothing behind": "time,temperature,humidity,dew\n1,2015-02-04 17:51,23.18,27,\n",
    "separators at the ends of all lines": "time,temperature,humidity,\n2015-02-04 17:51:00,23.18,27,\n",
    "spaces around": "time , temperature , humidity\n 2015-02-04 17:51:00 , 23.18 , 27 \n",
    "the time is last": "temperature,humidity,ts\n23.18,27,1423072260\n",
    "milliseconds since 1970": "ts,temperature,humidity\n1423072260000,23.18,27\n",
    "microseconds since 1970": "ts,temperature,humidity\n1423072260000000,23.18,27\n",
    "nanoseconds since 1970": "ts,temperature,humidity\n1423072260000000000,23.18,27\n",
    "an offset": "time,temperature,humidity\n2015-02-04T18:51:00+01:00,23.18,27\n",
    "an offset after a space": "time,temperature,humidity\n2015-02-04 18:51:00 +0100,23.18,27\n",
    "the word UTC": "time,temperature,humidity\n2015-02-04 17:51:00 UTC,23.18,27\n",
    "slashes, the year first": "time,temperature,humidity\n2015/02/04 17:51:00,23.18,27\n",
    "a time under another name": "gemessen um,temperature,humidity\n2015-02-04 17:51:00,23.18,27\n",
    "JSON lines": '{"time":"2015-02-04T17:51:00Z","temperature":23.18,"humidity":27}\n',
    "JSON lines of seconds": '{"temperature":23.18,"ts":1423072260.0,"humidity":27,"door":null}\n',
    "JSON lines of texts": '{"time":"2015-02-04 17:51:00","temperature":"23.18","humidity":"27","a":"","b":"NaN"}\n',
    "JSON lines with NaN": '{"time":"2015-02-04 17:51:00","temperature":23.18,"humidity":27,"dew":NaN}\r\n',
}


@pytest.mark.parametrize("content", ODD_FILES.values(), ids=list(ODD_FILES))
def test_odd_files_say_the_same(tmp_path: Path, content: str | bytes) -> None:
    assert told(read(written(tmp_path, content))) == [(AT, {"temperature": 23.18, "humidity": 27})]


@pytest.mark.parametrize("mark", ["", "NA", "NaN", "null", "-", "?", "n/a", "NULL", " ", '""'])
def test_what_is_missing_is_left_out(tmp_path: Path, mark: str) -> None:
    path = written(tmp_path, f"time,a,b\n2015-02-04 17:51,{mark},1\n2015-02-04 17:52,{mark},{mark}\n")
    assert told(read(path)) == [(AT, {"b": 1}), ("2015-02-04T17:52:00.000Z", {})]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("21.5", 21.5),
        ("-0.5", -0.5),
        ("+5", 5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1_000.0),
        ("0", 0),
        ("12345678901234567890", 12345678901234567890.0),
        ("true", True),
        ("FALSE", False),
        ("open", "open"),
        ("1.0.2", "1.0.2"),
        ("10:30", "10:30"),
        ("grün", "grün"),
    ],
)
def test_cells(cell: str, value: Any) -> None:
    found = value_of(cell)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "cell", ["21,5", "1_000", "007", "1,234.5", "1.234,5", "inf", "-Infinity", "1e999", "٢١", "+-5", "--5"][:8]
)
def test_what_looks_like_a_number_and_is_none(cell: str) -> None:
    with pytest.raises(ValueError, match="looks like a number and is none"):
        value_of(cell)


def test_a_decimal_comma_and_nothing_else() -> None:
    assert value_of("21,5", ",") == 21.5
    for cell in ("21.5", "1.234,5", "1,234,5"):
        with pytest.raises(ValueError, match="none"):
            value_of(cell, ",")


def test_points_and_commas_in_one_file_are_not_guessed(tmp_path: Path) -> None:
    path = written(tmp_path, "time;a;b\n2015-02-04 17:51;1.5;2,5\n")
    (bad,) = read(path)
    assert str(bad) == "line 2: column 'b': '2,5' looks like a number and is none"
    (bad,) = read(path, Options(decimal=","))
    assert "column 'a'" in str(bad)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("2015-02-04 17:51,1", "expected 3 cells, got 2"),
        ("2015-02-04 17:51,1,2,3", "expected 3 cells, got 4"),
        ('2015-02-04 17:51,"1,2', "a quote is not closed"),
        (",1,2", "no time"),
        ("yesterday,1,2", "'yesterday' is no time that is known; --time-format"),
        ("2015-02-30 17:51,1,2", "'2015-02-30 17:51' is no time: day is out of range"),
        ("2015-02-04 25:51,1,2", "hour must be in 0..23"),
        ("02/04/2015 17:51,1,2", "can be two days: say --time-format MM/DD/YYYY"),
        ("99,1,2", "'99' is no time: expected seconds"),
        ("1960-01-01 00:00,1,2", "before 1970"),
        ("2963-01-01 00:00,1,2", "in the future"),
        ("2015-02-04 17:51,21_5,2", "column 'a': '21_5' looks like a number"),
        ("2015-02-04 17:51,gr\udcfcn,2", "not UTF-8; say --encoding"),
        (f"2015-02-04 17:51,{'x' * 100_001},2", "more than the log's limit"),
    ],
)
def test_a_bad_line_says_its_number_and_spoils_no_other(tmp_path: Path, line: str, says: str) -> None:
    good = "2015-02-04 17:50,1,2\n"
    content = f"time,a,b\n{good}{line}\n2015-02-04 17:52,3,4\n"
    first, bad, last = read(written(tmp_path, content.encode(errors="surrogateescape")))
    assert isinstance(first, Entry) and isinstance(last, Entry) and last.number == 4
    assert isinstance(bad, BadLine)
    assert str(bad).startswith("line 3: ") and says in str(bad)
    assert bad.raw == line[:10_000]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("[1]", "expected a JSON object"),
        ("nonsense", "not JSON: Expecting value at character 0"),
        ('{"time":"2015-02-04 17:51","a":1,"a":2}', "names a property twice"),
        ('{"a":1}', "no time in 'time'"),
        ('{"time":true,"a":1}', "no time in 'time'"),
        ('{"time":"2015-02-04 17:51","a":1e999}', "looks like a number"),
        ('{"time":"2015-02-04 17:51","a":{"b":NaN}}', "not JSON compliant"),
        ('{"time":"2015-02-04 17:51","a":"\\ud800"}', "surrogates"),
        ('{"time":"2015-02-04 17:51","a":' + "[" * 100_000, "recursion"),
        ('{"time":"2015-02-04 17:51","a":' + "9" * 400 + "}", "looks like a number"),
    ],
)
def test_a_bad_json_line(tmp_path: Path, line: str, says: str) -> None:
    good = '{"time":"2015-02-04 17:50","a":1}\n'
    first, bad = read(written(tmp_path, good + line + "\n", "x.jsonl"))
    assert isinstance(first, Entry) and isinstance(bad, BadLine)
    assert str(bad).startswith("line 2: ") and says in str(bad)


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ("", Options(), "it is empty"),
        ("\n\n", Options(), "it is empty"),
        ("[{}]", Options(), "begins with ["),
        ("just words\n", Options(), "no separator"),
        ("a,b\n1,2\n", Options(), "no column is known as the time; say --time-column, one of: a, b"),
        ("time,a,a\n2015-02-04,1,2\n", Options(), "the name 'a' is there 2 times"),
        ("time,a\nx,2015-02-04,1\ny,2015-02-05,2\n", Options(), "which column has no name?"),
        ("time,a\n2015-02-04,1\n", Options(time_column="when"), "there is no column 'when'; there are: time, a"),
        ("time,a\n2015-02-04,1\n", Options(device_column="who"), "--device-column: there is no column 'who'"),
        ("time,a\n2015-02-04,1\n", Options(timezone="Mars/Base"), "'Mars/Base' is not known"),
        ("time,a\n2015-02-04,1\n", Options(time_format="MM-DD"), "'MM-DD' is not known; expected one of iso"),
        ("time,a\n2015-02-04,1\n", Options(encoding="utf-99"), "'utf-99' is not known"),
        ("time,a\n2015-02-04,1\n", Options(separator=";;"), "expected one character"),
        ("time,a\n2015-02-04,1\n", Options(device="a/set"), "ends like a command"),
        ("time,a\n2015-02-04,1\n", Options(device="bridge/x"), "a topic of Zigbee2MQTT itself"),
        ("time,a\n2015-02-04,1\n", Options(device="a+b"), "holds one of"),
        ("Zeit;Wärme\n2015-02-04;1\n".encode("latin-1"), Options(), "line 1: not UTF-8; say --encoding cp1252"),
        ('{"topic":"a","payload":"1"}\n', Options(), "`edge replay`"),
        (gzip.compress(b"time,a\n2015-02-04,1\n" * 99, mtime=0)[:30], Options(), "cannot be unpacked"),
    ],
)
def test_a_file_that_cannot_be_understood(
    settings: Settings, tmp_path: Path, content: str | bytes, options: Options, says: str
) -> None:
    with pytest.raises(HistoryError) as raised:
        examine(settings, written(tmp_path, content), options, lambda line: None)
    assert says in str(raised.value) and "\n" not in str(raised.value)
    assert raised.value.exit_code == 9


def test_a_file_that_is_not_there(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="No such file"):
        examine(settings, tmp_path / "none.csv", Options(), lambda line: None)


def test_an_encoding_that_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, "Zeit;Wärme\n2015-02-04 17:51;21,5\n".encode("cp1252"))
    assert told(read(path, Options(encoding="cp1252"))) == [(AT, {"Wärme": 21.5})]


def test_a_packed_file_that_was_cut_off_says_where(tmp_path: Path) -> None:
    start = datetime(2015, 2, 4, tzinfo=UTC)
    rows = "".join(f"{start + timedelta(seconds=n):%Y-%m-%d %H:%M:%S},{n * 7919 % 1000}\n" for n in range(60_000))
    packed = gzip.compress(f"time,a\n{rows}".encode())
    entries = read(written(tmp_path, packed[: len(packed) // 2], "a.csv.gz"))
    assert isinstance(entries[-1], BadLine) and "cannot be read further" in str(entries[-1])
    assert len(entries) > 1_000 and all(isinstance(entry, Entry) for entry in entries[:-1])


# -- times ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time_format", "cell"),
    [
        ("MM/DD/YYYY", "02/04/2015 17:51"),
        ("MM/DD/YYYY HH:MM", "2/4/2015 5:51 PM"),
        ("DD/MM/YYYY", "04/02/2015 17:51:00"),
        ("DD.MM.YYYY", "04.02.2015, 17:51"),
        ("epoch", "1423072260"),
        ("epoch_ms", "1423072260000"),
        ("iso", "2015-02-04T17:51:00Z"),
        ("%d.%m.%y %H:%M", "04.02.15 17:51"),
        ("%Y%m%d%H%M%S", "20150204175100"),
        ("%d/%b/%Y:%H:%M:%S %z", "04/Feb/2015:18:51:00 +0100"),
    ],
)
def test_formats_that_are_said(time_format: str, cell: str) -> None:
    assert iso(TimeReader(time_format).micros(cell)) == AT
    with pytest.raises(ValueError, match="'nonsense'"):
        TimeReader(time_format).micros("nonsense")


def test_midnight_and_noon_of_half_days() -> None:
    read = TimeReader("MM/DD/YYYY")
    assert iso(read.micros("02/04/2015 12:00 AM")) == "2015-02-04T00:00:00.000Z"
    assert iso(read.micros("02/04/2015 12:00 pm")) == "2015-02-04T12:00:00.000Z"
    with pytest.raises(ValueError, match="hour 13"):
        read.micros("02/04/2015 13:00 PM")


def test_fractions_are_kept_to_the_microsecond() -> None:
    read = TimeReader()
    assert iso(read.micros("2015-02-04 17:51:00.123456789")) == "2015-02-04T17:51:00.123456Z"
    assert iso(read.micros("1423072260.5")) == "2015-02-04T17:51:00.500Z"
    assert iso(read.micros("1423072260123")) == "2015-02-04T17:51:00.123Z"


def test_times_of_a_zone_across_both_changes_of_the_clock(tmp_path: Path) -> None:
    """Each hour of the day on which clocks are set back, by local time: 02:00 comes twice."""
    zone = ZoneInfo("Europe/Berlin")
    hours = [datetime(2015, 10, 24, 20, tzinfo=UTC) + timedelta(minutes=20 * n) for n in range(30)]
    rows = "".join(f"{hour.astimezone(zone):%Y-%m-%d %H:%M},{n}\n" for n, hour in enumerate(hours))
    entries = read(written(tmp_path, f"time,a\n{rows}"), Options(timezone="Europe/Berlin"))
    assert [time for time, _ in told(entries)] == [f"{hour:%Y-%m-%dT%H:%M}:00.000Z" for hour in hours]
    (bad,) = read(written(tmp_path, "time,a\n2015-03-29 02:30,1\n"), Options(timezone="Europe/Berlin"))
    assert "does not exist in Europe/Berlin" in str(bad)


# -- devices, repetition, columns ----------------------------------------------------------------------------------


def test_the_device_is_said_or_in_a_column_or_the_files_name(tmp_path: Path) -> None:
    path = written(tmp_path, "time,who,a\n2015-02-04 17:51,attic/north,1\n2015-02-04 17:51,,1\n", "Loft.csv")
    assert [e.device for e in read(path) if isinstance(e, Entry)] == ["Loft", "Loft"]
    assert {e.device for e in read(path, Options(device="roof")) if isinstance(e, Entry)} == {"roof"}
    first, bad = read(path, Options(device_column="who"))
    assert isinstance(first, Entry) and (first.device, first.measurements) == ("attic/north", {"a": 1})
    assert str(bad) == "line 3: no device"
    packed = written(tmp_path, gzip.compress(b"time,a\n2015-02-04 17:51,1\n"), "Loft.csv.gz")
    assert [e.device for e in read(packed) if isinstance(e, Entry)] == ["Loft"]


def test_what_the_file_says_again_is_not_new(tmp_path: Path) -> None:
    content = "\n".join(
        [
            '{"time":"2015-02-04 17:51","a":1}',
            '{"time":"2015-02-04 17:51","a":1}',
            '{"time":"2015-02-04 17:51","a":2,"b":3}',
            '{"time":"2015-02-04 17:51","b":4}',
        ]
    )
    entries = read(written(tmp_path, content, "x.jsonl"))
    assert [e.measurements for e in entries if isinstance(e, Entry)] == [{"a": 1}, {}, {"b": 3}, {}]
    assert [e.repeated for e in entries if isinstance(e, Entry)] == [0, 1, 1, 1]


def test_names_that_a_reading_cannot_have(settings: Settings, tmp_path: Path) -> None:
    path = written(tmp_path, "time,temp.in,device,zip\n2015-02-04 17:51,1,x,007\n")
    assert told(read(path, Options(skip=("zip",)))) == [(AT, {"temp_in": 1})]
    found = examine(settings, path, Options(skip=("zip",)), lambda line: None)
    assert found.as_dict()["passed_over"] == ["device"]


def test_a_dry_run_counts_and_shows(settings: Settings, tmp_path: Path) -> None:
    rows = ["2015-02-04 17:51,1.5,on", "2015-02-04 17:52,,", "2015-02-04 17:53,7,off", "oops,1,on"]
    path = written(tmp_path, "\n".join(["time,a,b", *rows]))
    found = examine(settings, path, Options(), lambda line: None).as_dict()
    assert found["lines"] == {"good": 2, "empty": 1, "repeated": 0, "bad": 1}
    assert (found["first_time"], found["last_time"]) == (AT, "2015-02-04T17:53:00.000Z")
    assert found["columns"]["a"] == {"type": "number", "values": 2, "min": 1.5, "max": 7}
    assert found["columns"]["b"]["type"] == "text"
    assert found["first_rows"][0] == {"line": 2, "device": "attic", "time": AT, "a": 1.5, "b": "on"}
    assert found["problems"] == ["line 5: 'oops' is no time that is known; --time-format says how it is written"]


def test_rejected_lines_are_kept_beside_or_in_the_home(settings: Settings, tmp_path: Path) -> None:
    path = written(tmp_path, "time,a\n")
    with Rejected(settings, path) as rejected:
        rejected.add(BadLine(7, "no time", "x,gr\udcfcn"))
    assert rejected.path == tmp_path / "attic.csv.rejected"
    assert rejected.path.read_bytes() == b"7\tno time\tx,gr\xfcn\n"
    with Rejected(settings, tmp_path / "gone" / "attic.csv") as rejected:
        rejected.add(BadLine(7, "no time", "x"))
    assert rejected.path == settings.home / "imports" / "attic.csv.rejected"
    with Rejected(settings, path) as rejected:
        pass
    assert rejected.path is None


# -- round trips ---------------------------------------------------------------------------------------------------

numbers = st.one_of(
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda n: float(f"{n:.6f}")),
)
words = st.text(st.characters(codec="utf-8", categories=("L", "Zs", "Po", "So")), min_size=2, max_size=12).filter(
    lambda word: word.strip() == word and value_or_none(word) == word
)
names = st.text(st.characters(codec="utf-8", categories=("Lu", "Ll")), min_size=1, max_size=12).filter(
    lambda name: name.lower() not in (*columns.TIME_NAMES, "device", "last_seen")
)
FORMS = ("iso", "iso_zone", "german", "epoch", "epoch_ms", "american")


def value_or_none(word: str) -> Any:
    try:
        return value_of(word)
    except ValueError:
        return None


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[tuple[datetime, list[Any]]]]:
    header = draw(st.lists(names, min_size=1, max_size=5, unique_by=str.casefold))
    times = draw(st.lists(st.integers(10**9, 17 * 10**8), min_size=1, max_size=8, unique=True))
    kinds = [draw(st.sampled_from((numbers, numbers, words, st.booleans()))) for _ in header]
    cell = [st.one_of(st.none(), kind) for kind in kinds]
    return header, [(datetime.fromtimestamp(at, UTC), [draw(each) for each in cell]) for at in times]


def in_the_form(at: datetime, form: str) -> str:
    return {
        "iso": f"{at:%Y-%m-%d %H:%M:%S}",
        "iso_zone": (at + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S+02:00"),
        "german": f"{at:%d.%m.%Y %H:%M:%S}",
        "epoch": str(int(at.timestamp())),
        "epoch_ms": str(int(at.timestamp()) * 1_000),
        "american": f"{at:%m/%d/%Y %H:%M:%S}",
    }[form]


@hypothesis_settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=tables(),
    separator=st.sampled_from(list(columns.SEPARATORS)),
    comma=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    mark=st.booleans(),
    packed=st.booleans(),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    index=st.booleans(),
    form=st.sampled_from(FORMS),
    missing=st.sampled_from(["", "NA", "NaN", "null", "-", "?"]),
)
def test_a_table_in_any_dialect_comes_back(
    tmp_path: Path,
    table: tuple[list[str], list[tuple[datetime, list[Any]]]],
    separator: str,
    comma: bool,
    end: str,
    mark: bool,
    packed: bool,
    quoting: Any,
    index: bool,
    form: str,
    missing: str,
) -> None:
    header, rows = table
    comma = comma and separator != ","

    def cell(value: Any) -> str:
        if value is None:
            return missing
        if isinstance(value, float):
            return f"{value:.6f}".replace(".", "," if comma else ".")
        return str(value)

    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writerow(["time", *header])
    for number, (at, values) in enumerate(rows, start=1):
        writer.writerow([*([number] if index else []), in_the_form(at, form), *map(cell, values)])
    content = out.getvalue().encode("utf-8-sig" if mark else "utf-8")
    path = written(tmp_path, gzip.compress(content) if packed else content)
    options = Options(
        time_format="MM/DD/YYYY" if form == "american" else None,
        separator=separator,
        decimal="," if comma else ".",
    )
    clean = [
        (
            iso(int(at.timestamp()) * 1_000_000),
            {name: value for name, value in zip(header, values, strict=True) if value is not None},
        )
        for at, values in rows
    ]
    assert told(read(path, options)) == clean


@hypothesis_settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_no_bytes_make_it_fail_otherwise(settings: Settings, tmp_path: Path, content: bytes) -> None:
    try:
        examine(settings, written(tmp_path, b"time,a\n2015-02-04,1\n" + content), Options(), lambda line: None)
        examine(settings, written(tmp_path, content), Options(), lambda line: None)
    except HistoryError as error:
        assert "\n" not in str(error)


# -- records -------------------------------------------------------------------------------------------------------


def test_a_record_reads_as_any_devices_state(settings: Settings, tmp_path: Path) -> None:
    """The reference decoder, told of the base topic, gives the readings of the line at the line's time."""
    path = written(tmp_path, "time,temperature,state\n2026-02-04 17:51:00.5,23.18,ON\n", "attic.csv")
    (entry,) = read(path)
    assert isinstance(entry, Entry)
    ((name, raw),) = record.Records(settings, "0123456789ab").headers()
    assert isinstance(raw, bytes)
    header = Header.decode(raw)
    assert (name, header.by, header.epoch, header.qos, header.retain) == ("mqtt", "import", "0123456789ab", 1, False)
    assert abs(header.at / 1e6 - time.time()) < 60
    assert record.key_of(entry.device) == b"import/attic"
    assert json.loads(lines.payload_of(entry.at, entry.measurements)) == {
        "temperature": 23.18,
        "state": "ON",
        "last_seen": "2026-02-04T17:51:00.500Z",
    }
    own = settings.model_copy(update={"stream": StreamSettings(base_topics=("zigbee2mqtt", record.BASE_TOPIC))})
    kept = Record(
        record.key_of(entry.device),
        lines.payload_of(entry.at, entry.measurements),
        0,
        raw.decode(),
        "log",
        "imports",
        0,
        0,
    )
    decoded = decode(kept, Registry(), Knowledge(), own)
    assert (decoded.outcome, decoded.device_id, decoded.refused) == ("read", "attic", 0)
    assert (decoded.event_time, decoded.event_time_source) == (entry.at, "payload")
    assert {r.measurement: r.value if r.text is None else r.text for r in decoded.readings} == {
        "temperature": 23.18,
        "state": "ON",
    }


def test_an_import_that_was_just_killed_is_known(settings: Settings, tmp_path: Path) -> None:
    path = written(tmp_path, "time,a\n2015-02-04 17:51,1\n")
    assert not ledger.just_interrupted(settings)
    book = open_ledger(settings, path)
    book.save(1, 1, {0: 1})
    assert ledger.just_interrupted(settings)
    (file,) = (settings.home / "imports").glob("*.json")
    os.utime(file, (time.time() - 100,) * 2)
    assert not ledger.just_interrupted(settings), "nothing of it can be on its way any more"
    book.save(2, 1, {0: 2}, done=True)
    assert not ledger.just_interrupted(settings)


def test_what_was_sent_counts_for_the_same_log_and_the_same_reading(settings: Settings, tmp_path: Path) -> None:
    path = written(tmp_path, "time,a\n2015-02-04 17:51,1\n")
    open_ledger(settings, path).save(2, 2, {0: 7}, done=True)
    assert open_ledger(settings, path).lines_sent == 2
    assert open_ledger(settings, path, log_id="another log").lines_sent == 0, "a new log has nothing of it"
    assert open_ledger(settings, path, bad=1).lines_sent == 0, "other lines of it were bad then"
    assert open_ledger(settings, path, options=Options(timezone="Europe/Berlin")).lines_sent == 0
    assert open_ledger(settings, path, ends={0: 6}).lines_sent == 0, "a power cut took the last record from the log"
    (file,) = (settings.home / "imports").glob("*.json")
    told = json.loads(file.read_text())
    assert (told["file"], told["imports"][0]["records"]) == (str(path), 2)
    for broken in ("", "[]", "{", "\0\0", '{"imports": 7}'):
        file.write_text(broken)
        assert open_ledger(settings, path).lines_sent == 0


def open_ledger(
    settings: Settings,
    path: Path,
    log_id: str = "log",
    ends: dict[int, int] | None = None,
    options: Options | None = None,
    bad: int = 0,
) -> ledger.Ledger:
    said, now = options or Options(), {0: 7} if ends is None else ends
    return ledger.Ledger(settings, path, ledger.sha256_of(path), log_id, now, columns.look(path, said), said, bad)

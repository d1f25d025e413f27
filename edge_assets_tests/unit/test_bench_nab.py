"""NAB's scoring on windows that can be counted by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from edge_assets.bench import made_series, nab
from edge_assets.bench.anomalies import gaussian, made_up, ours, scores
from edge_assets.errors import SettingsError

ROWS = 1_000
WINDOWS = [(300, 399), (600, 699)]


def at(place: float) -> float:
    return 2 / (1 + math.exp(5 * place)) - 1


def test_who_says_nothing_has_minus_one_a_window() -> None:
    assert nab.score(ROWS, WINDOWS, []) == -2


def test_who_speaks_at_each_window_s_first_row_has_one_a_window() -> None:
    assert nab.score(ROWS, WINDOWS, [300, 600]) == pytest.approx(2)


def test_the_first_detection_counts_and_the_more_the_earlier() -> None:
    one = [WINDOWS[0]]
    middle = nab.score(ROWS, one, [350])
    assert middle == pytest.approx(at(-0.5) / at(-1)) and nab.score(ROWS, one, [350, 380, 399]) == middle
    assert nab.score(ROWS, one, [399]) == pytest.approx(at(-0.01) / at(-1))
    assert nab.score(ROWS, one, [390]) < nab.score(ROWS, one, [310])


def test_what_is_said_elsewhere_costs_by_how_far_behind_a_window_it_is() -> None:
    assert nab.score(ROWS, WINDOWS, [200]) == pytest.approx(-2 - 0.11)
    assert nab.score(ROWS, WINDOWS, [200, 210]) == pytest.approx(-2 - 0.22)
    assert nab.score(ROWS, WINDOWS, [999]) == pytest.approx(-2 - 0.11)
    assert nab.score(ROWS, WINDOWS, [409]) == pytest.approx(-2 + 0.11 * at(10 / 99))


def test_probation_counts_nothing_and_is_short_of_a_long_series() -> None:
    assert nab.probation(ROWS) == 150 and nab.probation(7_267) == 750
    assert nab.score(ROWS, WINDOWS, [10, 149]) == -2
    assert nab.score(ROWS, [(10, 100)], []) == 0


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """An hour a row for sixty days, with a jump on the fortieth, labelled."""
    series, windows = tmp_path / "room.csv", tmp_path / "windows.json"
    lines = ["timestamp,value"]
    for hour in range(60 * 24):
        value = 21 + math.sin(2 * math.pi * hour / 24) + 0.1 * math.sin(hour * 12.9) + 12 * (960 <= hour < 964)
        lines.append(f"2026-{hour // 24 // 30 + 3:02}-{hour // 24 % 30 + 1:02} {hour % 24:02}:00:00,{value:.3f}")
    series.write_text("\n".join(lines))
    windows.write_text(json.dumps({"a/room.csv": [["2026-04-09 20:00:00", "2026-04-12 03:00:00"]]}))
    return series, windows


def test_a_labelled_series_is_read_and_scored_beside_the_references(files: tuple[Path, Path]) -> None:
    labelled = nab.load(*files)
    assert labelled.windows == [(932, 987)] and len(labelled.times) == 60 * 24
    found = scores(labelled)
    assert found["null"]["score"] == -1
    assert ours(labelled) == [960]
    assert found["edge_assets"]["score"] == round(at(-(987 - 960 + 1) / (987 - 932 + 1)) / at(-1), 3)
    assert gaussian(labelled)[-4:] == [960, 961, 962, 963]


def test_made_up_series_are_the_same_each_time_and_most_anomalies_are_found() -> None:
    assert made_series.make(2, seed=3) == made_series.make(2, seed=3)
    found = made_up(count=4)
    assert found["mean_score_of_2"] > 0.5 and found["false_alarms_a_series_and_month"] < 0.2


def test_files_that_do_not_fit_are_refused_in_one_line(files: tuple[Path, Path], tmp_path: Path) -> None:
    series, windows = files
    other = tmp_path / "other.csv"
    other.write_text(series.read_text())
    with pytest.raises(SettingsError, match=r"no windows for other\.csv; it names a/room\.csv"):
        nab.load(other, windows)
    series.write_text("time,celsius\n1,2\n")
    with pytest.raises(SettingsError, match="expected a CSV"):
        nab.load(series, windows)

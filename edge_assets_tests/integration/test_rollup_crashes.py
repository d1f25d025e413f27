"""A run that dies between any two writes: readers go on with what there was, and the next run gives the same."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from edge_assets.settings import Settings
from edge_assets.tables import READINGS
from edge_assets.warehouse.rollups import layout
from edge_assets.warehouse.rollups.update import update
from edge_assets_tests.lake_tables import AT, reading, write
from edge_assets_tests.rollup_reference import assert_equal_to_a_recompute, told

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MOST_WRITES = 400


class Killed(BaseException):
    """What no code of ours catches."""


@contextmanager
def killed_at_write(number: int, after: bool) -> Iterator[list[Path]]:
    """Die at the n-th replacement of a file, just before or just after it. Yields what was replaced until then."""
    replaced: list[Path] = []
    home = [module for name, module in sys.modules.items() if name.startswith("edge_assets.warehouse.rollups")]
    real = layout.into_place

    def into_place(aside: Path, path: Path) -> None:
        if len(replaced) == number and not after:
            raise Killed
        real(aside, path)
        replaced.append(path)
        if len(replaced) == number + 1 and after:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        for module in home:
            if hasattr(module, "into_place"):
                patch.setattr(module, "into_place", into_place)
        yield replaced


def rows(begin: int, hours: int) -> list[dict[str, object]]:
    found = []
    for number in range(begin, begin + hours):
        at = AT + number * HOUR
        own = {"event_time": at, "received_at": at, "date": at.date()}
        found.append(reading(4 * number, "temperature", value=20.0 + number % 7, unit="°C", **own))
        found.append(reading(4 * number + 1, "contact", value=float(number % 2), **own))
        found.append(reading(4 * number + 2, "energy", value=float(number), unit="kWh", **own))
        found.append(reading(4 * number + 3, "battery", value=99.0, **own))
    return found


def die_at_each_write(settings: Settings, after: bool, step: int = 1) -> int:
    """Kill one run after the other, each one write later, until one comes through. Returns how many died."""
    for number in range(0, MOST_WRITES, step):
        try:
            with killed_at_write(number, after):
                update(settings)
        except Killed:
            continue
        return number
    raise AssertionError("no run came to its end")


@pytest.mark.parametrize("after", [False, True])
def test_a_first_build_goes_on_where_it_was_killed(settings: Settings, after: bool) -> None:
    write(settings, READINGS, rows(0, 60))
    assert die_at_each_write(settings, after, step=3) > 9
    assert_equal_to_a_recompute(settings)


def test_an_update_that_closes_a_day_is_done_again(settings: Settings) -> None:
    """The killed runs recompute late rows, the open day and a day that closes, over a month's end."""
    write(settings, READINGS, rows(30 * 24 - 40, 40))
    update(settings)
    write(settings, READINGS, rows(30 * 24, 30))
    write(settings, READINGS, [reading(9_999, "temperature", value=5.0, unit="°C", event_time=AT + 29 * DAY)])
    for number in range(MOST_WRITES):
        try:
            with killed_at_write(number, after=False):
                update(settings)
        except Killed:
            # Whatever was written: no bucket is there twice, and a reader is told no error.
            for name in ("readings_1m", "readings_1h", "readings_1d", "energy_daily", "door_activity"):
                told(settings, name)
            continue
        break
    assert number > 5
    assert_equal_to_a_recompute(settings)


def test_what_arrives_between_a_death_and_the_next_run_is_not_forgotten(settings: Settings) -> None:
    write(settings, READINGS, rows(0, 30))
    update(settings)
    for number in range(1, 6):
        write(settings, READINGS, rows(30 * number, 30))
        with pytest.raises(Killed), killed_at_write(number, after=True):
            update(settings)
    update(settings)
    assert_equal_to_a_recompute(settings)


@pytest.mark.parametrize("left", [None, "", "{", '{"format": 0}'])
def test_a_state_that_is_lost_or_torn_means_a_rebuild_beside_the_old_files(
    settings: Settings, left: str | None
) -> None:
    write(settings, READINGS, rows(0, 30))
    update(settings)
    if left is None:
        layout.state_path(settings).unlink()
    else:
        layout.state_path(settings).write_text(left)
    write(settings, READINGS, rows(20, 3), mode="overwrite")
    assert update(settings).rebuilt
    assert_equal_to_a_recompute(settings)

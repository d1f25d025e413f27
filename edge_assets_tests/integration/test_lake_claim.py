"""A site's claim in a bucket of a real S3 server, and a platform whose lake has another one's."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_assets import lake_claim
from edge_assets.errors import LakeError, LakeTaken
from edge_assets.platform import doctor, supervisor
from edge_assets.platform.console import Console
from edge_assets.settings import LakeSettings, Settings
from edge_assets.stream import loop
from edge_assets.tables import READINGS
from edge_assets.warehouse import sites
from edge_assets.warehouse.sql import run_sql
from edge_assets_tests import s3_rig
from edge_assets_tests.lake_tables import reading, write


def of(settings: Settings, tmp_path: Path, home: str, site: str = "barn") -> Settings:
    lake = settings.lake if settings.lake.path else LakeSettings(path=str(tmp_path / "lake"), shared=True)
    return settings.model_copy(update={"site": site, "home": tmp_path / home, "lake": lake})


def test_in_a_bucket_one_of_many_has_it_until_it_is_taken_over(settings: Settings, tmp_path: Path) -> None:
    program = s3_rig.gateway(settings)
    with s3_rig.served(program, tmp_path / "store") as address:
        settings = s3_rig.on(settings, address, "all")
        settings = settings.model_copy(update={"lake": settings.lake.model_copy(update={"shared": True})})
        start = threading.Barrier(8)

        def claim(number: int) -> bool:
            own = of(settings, tmp_path, f"home{number}")
            start.wait()
            try:
                lake_claim.ensure(own)
            except LakeTaken:
                return False
            return True

        with ThreadPoolExecutor(8) as racers:
            won = [number for number, wins in enumerate(racers.map(claim, range(8))) if wins]
        assert len(won) == 1
        loser = of(settings, tmp_path, f"home{(won[0] + 1) % 8}")
        assert [f.level for f in doctor.examine(loser) if f.check == "claim"] == ["fail"]
        before = lake_claim.take_over(loser)
        assert before and before.home.endswith(f"home{won[0]}")
        lake_claim.ensure(loser)
        lake_claim.ensure(of(settings, tmp_path, "other", "house"))
        assert sites.names(loser) == ["barn", "house"]
    with pytest.raises(LakeError, match="is the store up"):
        lake_claim.ensure(loser)
    said: list[str] = []
    lake_claim.ensure_where_reached(loser, said.append)
    assert len(said) == 1


def test_a_platform_whose_site_is_anothers_starts_nothing(settings: Settings, tmp_path: Path) -> None:
    lake_claim.ensure(of(settings, tmp_path, "first"))
    second = of(settings, tmp_path, "second")
    write(of(settings, tmp_path, "first"), READINGS, [reading(1, "contact")])
    with pytest.raises(LakeTaken) as refused:
        supervisor.up(second, Console(second.home / "logs" / "supervisor.log", None))
    assert refused.value.exit_code == 8
    assert not (second.home / "dagster").exists() and not (second.home / "mosquitto").exists()
    with pytest.raises(LakeTaken):  # also where somebody starts the writer alone
        loop.run(second, threading.Event(), lambda news: None)
    assert '"n": 1' in run_sql(second, "SELECT count(*) AS n FROM silver.readings", "json")  # all may look

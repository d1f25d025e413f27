"""The generated texts of the settings are those in the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_assets.platform import settings_page
from edge_assets.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("file", "option", "text"),
    [
        (".env.example", "--env", settings_page.env_example()),
        ("docs/settings.md", "--markdown", settings_page.markdown()),
    ],
)
def test_the_file_in_the_repository_is_not_stale(file: str, option: str, text: str) -> None:
    assert (ROOT / file).read_text() == text, f"stale: `edge settings {option} > {file}`"


def test_every_setting_is_described() -> None:
    assert [setting.variable for setting in settings_page.every_setting() if not setting.description] == []


def test_the_example_with_every_line_taken_in_gives_the_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Settings
) -> None:
    lines = [line[1:] for line in settings_page.env_example().splitlines() if line.startswith("#EDGE_")]
    (tmp_path / "all.env").write_text("\n".join(lines))
    assert load_settings(_env_file=tmp_path / "all.env") == load_settings(_env_file=None)

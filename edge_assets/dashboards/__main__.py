"""`python -m edge_assets.dashboards`: write the dashboards' JSON, to deploy/grafana/dashboards or a folder given."""

import json
import sys
from pathlib import Path

from edge_assets.dashboards.platform import PLATFORM
from edge_assets.dashboards.rendering import render
from edge_assets.dashboards.sensors import SENSORS

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"


def files() -> dict[str, str]:
    """Name → text of each file."""
    return {
        f"{name}.json": json.dumps(render(dashboard), indent=1, ensure_ascii=False) + "\n"
        for name, dashboard in (("sensors", SENSORS), ("platform", PLATFORM))
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text)
        print(folder / name)

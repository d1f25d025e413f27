#!/usr/bin/env bash
# Screenshots of a running platform's cockpit, for the README: docs/images/*.png.
# Needs `edge up` with default settings for some minutes, and Chromium on PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
url="$(.venv/bin/edge status --json | .venv/bin/python -c 'import json, sys; print(json.load(sys.stdin)["dagster"]["url"])')"
mkdir -p docs/images

shot() { # name, path, height: the page draws itself by script, so it is given time
  chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --force-device-scale-factor=1 \
    --window-size="1600,$3" --virtual-time-budget=25000 --timeout=60000 \
    --screenshot="docs/images/$1.png" "$url/$2" >/dev/null 2>&1
  echo "docs/images/$1.png"
}

shot lineage 'asset-groups' 1000
shot readings 'assets/silver/readings?view=overview' 1000
shot checks 'assets/bronze/events?view=checks' 800
shot rollup 'assets/rollups/readings_1h?view=overview' 1000
shot runs 'runs' 800

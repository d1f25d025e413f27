"""`python -m edge_assets.bridge`: the bridge by itself, until SIGTERM or SIGINT."""

from __future__ import annotations

import logging
import signal
import sys
import threading

from edge_assets.bridge.loop import run
from edge_assets.errors import EdgeError
from edge_assets.platform.endpoints import remembered
from edge_assets.service import run_service
from edge_assets.settings import load_settings


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        run_service("bridge", run, remembered(load_settings()), stop)
    except EdgeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A service as a process of its own, without Dagster: `python -m edge_assets.bridge`, `.sources`, `.stream`."""

from __future__ import annotations

import logging
import signal
import sys
import threading

from edge_assets.errors import EdgeError
from edge_assets.platform import endpoints
from edge_assets.service import Loop, run_service
from edge_assets.settings import load_settings


def serve(name: str, loop: Loop) -> int:
    """Run the service until SIGTERM or Ctrl-C, at the addresses that its platform last had. Returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("py4j").setLevel(logging.WARNING)  # it reports each connection of its own
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        run_service(name, loop, endpoints.remembered(load_settings()), stop)
    except EdgeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0

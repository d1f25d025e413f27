"""`python -m edge_assets.sources`: the simulated network as a process of its own."""

import sys

from edge_assets.sources.simulators import run
from edge_assets.standalone import serve

if __name__ == "__main__":
    sys.exit(serve("simulators", run))

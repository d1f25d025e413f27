"""`python -m edge_assets.alerts`: the alerter as a process of its own."""

import sys

from edge_assets.alerts.loop import run
from edge_assets.standalone import serve

if __name__ == "__main__":
    sys.exit(serve("alerter", run))

"""A home that an earlier version wrote, made this version's before anything of it is started; or refused, as it was.

    home_format      which version a home is of, and what is refused
    dagster_storage  Dagster's databases: copied, migrated, put back where that fails
    dagster_schema   the migration itself, Dagster's own
    lake_tables      columns that tables have gained since
    __main__         the steps, in a process of its own: `ensure` starts it where a home is not of this version

The order is so that what can fail comes before what stays: what cannot be done is found before anything is touched,
Dagster's databases can be put back, and a column more hurts no earlier version, which leaves it null. The home's format
is written last. Every step can be done again from its beginning, so after a kill the next `edge up` does just that.

Settings are read before all this: one that was renamed is refused with its new name (`edge_assets.settings.RENAMED`).
What is made from the lake (rollups, `edge.duckdb`, Spark's checkpoint) has formats of its own and is made anew.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping

from edge_assets.errors import PlatformError
from edge_assets.settings import Settings
from edge_assets.upgrades import home_format


def ensure(settings: Settings, environment: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Let the home be of this version. Nothing of the platform may run; `environment` is that of its processes.

    A home that is costs a look at one file. What was done is said line by line. Raises `PlatformError`, with the exit
    code of what failed, where it cannot be done.
    """
    home_format.refuse_newer(settings)
    if home_format.is_current(settings):
        return
    if home_format.is_blank(settings):
        home_format.write_current(settings)
        return
    # The libraries that it needs are not to stay in a process that lives for months.
    command = [sys.executable, "-m", "edge_assets.upgrades"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,  # a Ctrl-C is for us; this is soon done
    )
    last = ""
    with process:
        for line in process.stdout or ():
            last = line.strip() or last
            if line.startswith(SAID):
                say(line.removeprefix(SAID).strip())
    if process.returncode:
        error = PlatformError(last.removeprefix(SAID) or f"upgrading {settings.home}: ended with {process.returncode}")
        error.exit_code = process.returncode if process.returncode > 0 else PlatformError.exit_code
        raise error


SAID = "upgrade: "
"""what the lines begin with that are for people; libraries write others"""

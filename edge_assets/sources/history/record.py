"""Key and headers of a record of the log, as if its device had published it over MQTT (value: `lines.payload_of`)."""

from __future__ import annotations

from edge_assets.bridge.clock import Clock
from edge_assets.log_record import Header, headers_of
from edge_assets.settings import Settings

BY = "import"
"""What stands in the header for the bridge's name: by it readers know that a record may be older than its arrival."""
BASE_TOPIC = "import"

Headers = list[tuple[str, str | bytes | None]]


class Records:
    """Makes the records of one import. `mark` names the file, where the bridge names its session."""

    def __init__(self, settings: Settings, mark: str) -> None:
        self._clock = Clock(settings.clock.trust)
        self._mark = mark
        self._site = settings.site

    def headers(self) -> Headers:
        """The headers of what is sent now: its received time is now, however old it is."""
        self._clock.became_synchronised()
        at, mono = self._clock.now()
        return headers_of(
            Header(
                by=BY,
                inc=1,
                epoch=self._mark,
                at=at,
                sync=self._clock.synchronised,
                mono=mono,
                boot=self._clock.boot,
                qos=1,
                retain=False,
                dup=False,
                mid=0,
                site=self._site,
            )
        )


def key_of(device: str) -> bytes:
    return f"{BASE_TOPIC}/{device}".encode()

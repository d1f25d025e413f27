"""The `mqtt` header at speed: what is the same for many messages is written once.

`edge_assets.log_record.Header` is the contract; a test holds the two equal.
"""

from __future__ import annotations

from edge_assets.log_record import VERSION, said_site

FLAGS = 16


class Headers:
    """Headers of one incarnation: `f"{start}{mono}{ends[flags]}{mid} rep={rep}"`, flags as in the PUBLISH packet."""

    def __init__(self, by: str, inc: int, boot: str, site: str) -> None:
        self._by = f"v={VERSION} by={by} inc={inc}{said_site(site)}"
        self._ends = [
            f" boot={boot} qos={flags >> 1 & 3} retain={flags & 1} dup={flags >> 3} mid=" for flags in range(FLAGS)
        ]

    def batch(self, epoch: str, at: int, sync: bool) -> tuple[str, list[str]]:
        """(start, ends) for the messages of one reading of the socket."""
        return f"{self._by} epoch={epoch} at={at} sync={sync:d} mono=", self._ends

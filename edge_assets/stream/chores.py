"""Work on the tables that takes longer than a batch may wait: done in slices, each of them one turn at the tables.

A chore is a generator. It plans without the turn, yields what it wants to do with the turn as a `Slice`, and returns
its answer. Between two slices the loop goes round, and a batch that waits for its turn gets it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_assets.service import write_json
from edge_assets.stream.requests import Request

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Slice:
    """What is done in one turn; `name` is for the log."""

    name: str
    work: Callable[[], None]


Chore = Generator[Slice, None, dict[str, Any]]
Maker = Callable[[Mapping[str, Any]], Chore]


@dataclass(slots=True)
class Held:
    """How long slices have kept batches waiting since the writer's start."""

    slices: int = 0
    seconds: float = 0.0
    longest_seconds: float = 0.0
    longest: str = ""

    def add(self, name: str, seconds: float) -> None:
        self.slices += 1
        self.seconds += seconds
        if seconds > self.longest_seconds:
            self.longest_seconds, self.longest = seconds, name

    def as_dict(self) -> dict[str, Any]:
        return {
            "slices": self.slices,
            "seconds": round(self.seconds, 3),
            "longest_seconds": round(self.longest_seconds, 3),
            "longest": self.longest,
        }


@dataclass(slots=True)
class _Running:
    kind: str
    chore: Chore
    request: Request | None
    held: Held = field(default_factory=Held)


class Chores:
    """The chores that are asked for, one after another, a slice at a time."""

    def __init__(self, turn: threading.Lock, makers: Mapping[str, Maker], force: Callable[[], None]) -> None:
        self._turn = turn
        self._makers = makers
        self._force = force
        self._running: _Running | None = None
        self.held = Held()
        self.last: dict[str, Any] = {}
        """of each kind: when it was last done, and what came of it"""

    @property
    def idle(self) -> bool:
        return self._running is None

    def takes(self, request: Request) -> bool:
        """Whether a request is for us. It is begun when nothing else is under way, else it waits where it lies."""
        if request.kind not in self._makers:
            return False
        if self.idle:
            begun = request.path.with_suffix(".begun")
            if begun.exists():  # by a writer that is dead: perhaps it died of this, and the next one shall not
                begun.unlink()
                request.answer(error="the stream writer ended in the midst of it; ask again")
            else:
                begun.touch()
                self.begin(request.kind, request.arguments, request)
        return True

    def begin(self, kind: str, arguments: Mapping[str, Any], request: Request | None = None) -> None:
        self._running = _Running(kind, self._makers[kind](arguments), request)

    def step(self) -> None:
        """Do the next slice, if there is one. A chore that fails is given up, and stops no batch."""
        if self._running is None:
            return
        try:
            self._slice(self._running)
        except StopIteration as end:
            self._end({**end.value, "turns": self._running.held.as_dict()})
        except Exception as error:  # Spark's; what is wrong with the tables themselves, the next batch says
            log.exception("%s was given up", self._running.kind)
            self._end({"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"})

    def _slice(self, running: _Running) -> None:
        piece = next(running.chore)
        with self._turn:
            begun = time.monotonic()
            piece.work()
            self._force()
            seconds = time.monotonic() - begun
        log.info("%s took the turn for %.2f s", piece.name, seconds)
        running.held.add(piece.name, seconds)
        self.held.add(piece.name, seconds)

    def _end(self, answer: dict[str, Any]) -> None:
        running, self._running = self._running, None
        assert running is not None
        self.last[running.kind] = {"at": time.time(), **answer}
        if running.request:
            path = running.request.path
            write_json(path.with_suffix(".answer"), answer)
            path.unlink()
            path.with_suffix(".begun").unlink(missing_ok=True)

"""A question answered: on a thread and in time, with an ETag, from memory where it was asked just now.

An answer's tag is made of all that it follows from: the identity of `edge.duckdb`, the versions of the lake's tables,
the query, its parameters, and the time of asking where the answer changes with it. Who has that answer is told so (304)
before anything is read; a hundred viewers of one chart cost one query.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from edge_assets.errors import LakeError
from edge_assets.serving import answers, times
from edge_assets.serving.answers import Answer
from edge_assets.serving.opened import NO_FILE, Opened, Warehouse
from edge_assets.serving.questions import Question
from edge_assets.serving.refusals import Away
from edge_assets.serving.relations import Relations
from edge_assets.serving.turns import Turn, Turns
from edge_assets.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

T = TypeVar("T")

REMEMBERED_BYTES = 4_000_000
TRIES = 2
"""a file that was merged or compacted away meanwhile: open all anew, and try once more"""

NOT_YET = "there are no rollups yet: they come every ten minutes with Dagster's job `rollups`"


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The asker has the answer already."""

    etag: str


class Session:
    """What one turn's work asks with."""

    def __init__(self, asker: Asker, turn: Turn, opened: Opened, cursor: DuckDBPyConnection) -> None:
        self.settings = asker.settings
        self.relations = asker.relations
        self.opened = opened
        self._turn = turn
        self._cursor = cursor

    def rows(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        return self._turn.execute(self._cursor, sql, parameters)

    def needs_rollups(self) -> None:
        """Raises `Away` before the first update."""
        if not self.opened.has_rollups:
            raise Away(NOT_YET)


class Asker:
    """Answers questions about rollups and lake. One for an app; `close` ends it."""

    def __init__(self, settings: Settings, turns: Turns | None = None, warehouse: Warehouse | None = None) -> None:
        self.settings = settings
        self.turns = turns or Turns()
        self.warehouse = warehouse or Warehouse(settings)
        self.relations = Relations(settings)
        self._looks = Turns(threads=1)
        self._remembered = Remembered()

    async def ask(self, question: Callable[[Session], Question], known: str | None = None) -> Answer | Unchanged:
        """The answer, or that the asker knows it already: `known` is the header If-None-Match. Raises `Refusal`."""
        return await self.turns.run(lambda turn: self._answer(turn, question, known))

    async def work(self, work: Callable[[Session], T]) -> T:
        """Anything else on a thread, with a cursor. Raises `Refusal`."""
        return await self.turns.run(lambda turn: self._tried(turn, work))

    async def look(self, work: Callable[[], T]) -> T:
        """What needs no DuckDB and little time, on a thread that no query holds. Raises `Refusal`."""
        return await self._looks.run(lambda turn: work())

    def close(self) -> None:
        self.turns.close()
        self._looks.close()
        self.warehouse.close()

    def _answer(self, turn: Turn, question: Callable[[Session], Question], known: str | None) -> Answer | Unchanged:
        def answer(session: Session) -> Answer | Unchanged:
            asked = question(session)
            if asked.of_rollups:
                session.needs_rollups()
            etag = _etag(session, asked)
            if matches(known, etag):
                return Unchanged(etag)
            if found := self._remembered.get(etag):
                return found
            body, truncated = asked.made(session.rows(asked.sql, asked.parameters or None))
            found = Answer(body, etag, truncated)
            self._remembered.put(found)
            return found

        return self._tried(turn, answer)

    def _tried(self, turn: Turn, work: Callable[[Session], T]) -> T:
        import duckdb

        for attempt in range(1, TRIES + 1):
            with self.warehouse.cursor() as (opened, cursor):
                try:
                    return work(Session(self, turn, opened, cursor))
                except (duckdb.IOException, LakeError) as error:
                    self.warehouse.forget(opened)
                    self.relations.forget()
                    if attempt == TRIES:
                        raise Away(_line(error)) from error
                except duckdb.OutOfMemoryException as error:
                    raise Away(
                        "this needs more memory than there is; ask for a shorter range or fewer points"
                    ) from error
                except duckdb.CatalogException as error:
                    raise Away(f"{_line(error)}; what is new in this version comes with the next rollups") from error
        raise AssertionError


def describe(session: Session, sql: str) -> dict[str, str]:
    """DuckDB's type of each column of a query, which is not run."""
    return {name: kind for name, kind, *_ in session.rows(f"DESCRIBE {sql}")}


def matches(known: str | None, etag: str) -> bool:
    """Whether a header If-None-Match names the tag; `*` does too."""
    tags = [tag.strip().removeprefix("W/") for tag in (known or "").split(",")]
    return etag.removeprefix("W/") in tags or "*" in tags


def _etag(session: Session, asked: Question) -> str:
    identity = session.opened.identity if asked.of_rollups else NO_FILE
    when = times.now() if asked.of_now else None
    parameters = sorted((name, str(value)) for name, value in asked.parameters.items())
    return answers.etag(identity, asked.versions, asked.sql, parameters, when)


def _line(error: Exception) -> str:
    return str(error).split("\n\nLINE ")[0].replace("\n", " ").strip()


class Remembered:
    """The last answers, of so many bytes in all."""

    def __init__(self, most_bytes: int = REMEMBERED_BYTES) -> None:
        self._most = most_bytes
        self._held = 0
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, etag: str) -> Answer | None:
        with self._lock:
            found = self._answers.get(etag)
            if found is not None:
                self._answers.move_to_end(etag)
            return found

    def put(self, answer: Answer) -> None:
        if len(answer.body) > self._most // 4:
            return
        with self._lock:
            if self._answers.get(answer.etag) is None:
                self._answers[answer.etag] = answer
                self._held += len(answer.body)
            while self._held > self._most:
                _, oldest = self._answers.popitem(last=False)
                self._held -= len(oldest.body)

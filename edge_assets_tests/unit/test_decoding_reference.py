"""The reference decoder: the corpus, and what must hold for any record whatever."""

from __future__ import annotations

import pytest

from edge_assets.settings import Settings
from edge_assets_tests.decoding_rig import Case, corpus, decode_in_python, world

CASES = corpus()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_corpus(case: Case, settings: Settings) -> None:
    w = world(settings)
    case.check(decode_in_python([case.record], w.registry, w.knowledge, w.settings)[0])


def test_names_of_cases_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)

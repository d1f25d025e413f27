"""Spark's decoder on a real Spark: the corpus, what nobody thought of, and real recordings, against the reference."""

from __future__ import annotations

import pytest

from edge_assets.decoding.reference import Decoded
from edge_assets.settings import load_settings
from edge_assets_tests.decoding_rig import Case, World, corpus, decode_in_spark, world

pytestmark = [pytest.mark.java, pytest.mark.timeout(600)]

CASES = corpus()


@pytest.fixture(scope="module")
def corpus_world() -> World:
    return world(load_settings(_env_file=None))


@pytest.fixture(scope="module")
def decoded_corpus(spark, corpus_world: World) -> dict[str, Decoded]:
    """All of the corpus in one frame: no record may spoil another's."""
    w = corpus_world
    decoded = decode_in_spark(spark, [case.record for case in CASES], w.registry, w.knowledge, w.settings)
    return {case.name: outcome for case, outcome in zip(CASES, decoded, strict=True)}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_corpus(case: Case, decoded_corpus: dict[str, Decoded]) -> None:
    case.check(decoded_corpus[case.name])

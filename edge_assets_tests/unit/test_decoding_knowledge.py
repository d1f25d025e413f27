"""What of the knowledge concerns the records from a position on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_assets.decoding.knowledge import Fence, Knowledge

FENCES = st.lists(
    st.builds(
        Fence, st.sampled_from("ab"), st.integers(0, 1), st.sampled_from("xy"), st.integers(1, 5), st.integers(0, 9)
    ),
    max_size=12,
)


def is_fenced(fences: tuple[Fence, ...], place: tuple[str, int], by: str, incarnation: int, offset: int) -> bool:
    return any(
        (fence.log_id, fence.kafka_partition, fence.bridge) == (*place, by)
        and offset > fence.kafka_offset
        and incarnation < fence.incarnation
        for fence in fences
    )


@given(FENCES, st.integers(0, 12), st.integers(0, 12), st.integers(0, 6), st.sampled_from("xy"))
def test_what_is_left_out_fences_nothing_from_there_on(fences, position, further, incarnation, by):
    """Barriers of one bridge in one partition: the later, the higher its incarnation."""
    grown: dict[tuple[str, int, str], list[Fence]] = {}
    for fence in sorted(fences, key=lambda fence: fence.kafka_offset):
        key = (fence.log_id, fence.kafka_partition, fence.bridge)
        last = grown.setdefault(key, [])
        if not last or (last[-1].incarnation < fence.incarnation and last[-1].kafka_offset < fence.kafka_offset):
            last.append(fence)
    known = Knowledge(tuple(fence for each in grown.values() for fence in each))
    here = known.from_here({("a", 0): position})
    offset = position + further
    for place in [("a", 0), ("b", 0)]:
        before = is_fenced(known.fences, place, by, incarnation, offset)
        assert is_fenced(here.fences, place, by, incarnation, offset) == before


def test_one_barrier_is_left_of_many():
    known = Knowledge(
        tuple(Fence("a", 0, "x", n, 10 * n) for n in range(1, 9)), {}, frozenset({("a", 0, 5), ("a", 0, 90)})
    )
    here = known.from_here({("a", 0): 81})
    assert [fence.incarnation for fence in here.fences] == [8]
    assert here.bad_registry == {("a", 0, 90)}

"""Packs say in their keys which results they hold, for any positions, within what keys may hold."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.messages import Result, encode
from core.storage import layout, packs
from core.storage.keys import segments_of
from core.storage.memory import MemoryStore

RUN = "run_" + "x" * 96
"""The longest id that a message may name."""
positions = st.sets(st.integers(0, 99_999), max_size=packs.MAX_RESULTS).map(sorted)


def result(position: int, portion: int = 1, run: str = RUN, **fields: object) -> Result:
    known = {"name": "n", "tagger": "t", "worker": "w"} | fields
    return Result(batch_id=run, image_id=packs.image_id(portion, position), **known)  # type: ignore[arg-type]


def packed(*results: Result) -> dict[str, bytes]:
    return packs.make_packs((result, encode(result)) for result in results)


def stored(*results: Result) -> MemoryStore:
    store = MemoryStore()
    store.put_all(packed(*results))
    return store


@given(positions)
def test_positions_come_back_from_their_text(positions: list[int]) -> None:
    assert packs.decode_positions(packs.encode_positions(positions)) == positions


@given(st.text(max_size=20))
def test_text_is_decoded_or_refused(text: str) -> None:
    try:
        found = packs.decode_positions(text)
    except ValueError:
        return
    assert found == sorted(set(found))


@given(positions.filter(bool), st.integers(1, 123_456))
def test_a_listing_alone_says_which_results_a_pack_holds(positions: list[int], portion: int) -> None:
    results = [result(position, portion) for position in positions]
    store = stored(*random.Random(1).sample(results, len(results)))
    (found,) = packs.list_results(store, RUN, portion)
    segments_of(found.key)
    assert (found.positions, found.is_pack) == (tuple(positions), True)
    assert list(packs.read_pack(store.get(found.key).data)) == results


def test_a_key_is_short() -> None:
    """A list of keys is paid by the request, and read in full."""
    spread = sorted(random.Random(1).sample(range(10_000), packs.MAX_RESULTS))
    assert len(packs.encode_positions(spread)) < 400
    assert len(packs.encode_positions(range(200))) == 200


def test_a_pack_is_bounded_in_results_and_bytes() -> None:
    many = packed(*(result(position) for position in range(packs.MAX_RESULTS + 1)))
    assert [len(list(packs.read_pack(data))) for data in many.values()] == [packs.MAX_RESULTS, 1]
    large = packed(*(result(position, caption="x" * (packs.MAX_BYTES // 3)) for position in range(4)))
    assert [len(list(packs.read_pack(data))) for data in large.values()] == [2, 2]
    assert all(len(data) <= packs.MAX_BYTES for data in large.values())


def test_runs_and_portions_are_packed_apart() -> None:
    found = packed(result(1), result(2, portion=2), result(3, run="run_b"))
    assert {key.split("-p")[0] for key in found} == {
        f"results/{RUN}/00001",
        f"results/{RUN}/00002",
        "results/run_b/00001",
    }


def test_the_same_results_make_the_same_object() -> None:
    one, two = result(1), result(2)
    assert packed(one, two) == packed(two, one)
    assert packed(one).keys() != packed(result(1, worker="other")).keys()


def test_only_the_best_result_of_an_image_is_packed() -> None:
    bad, good = result(1, error="a.jpg: no image"), result(1)
    (data,) = packed(bad, good, bad).values()
    assert list(packs.read_pack(data)) == [good]


def test_results_rank_by_tags_then_attempt_then_worker_then_time() -> None:
    falling = [
        result(1, attempt=1),
        result(1, finished_at=1.0),
        result(1, finished_at=2.0),
        result(1, error="e", attempt=2, worker=""),
        result(1, error="e", finished_at=9.0),
        result(1, error="e", worker=""),
    ]
    assert sorted(falling, key=packs.rank, reverse=True) == falling


def test_single_results_are_listed_from_a_position_on_and_packs_always() -> None:
    store = stored(result(1), result(5))
    for position in (0, 3, 7):
        store.put(layout.result_key(RUN, packs.image_id(1, position)), b"{}")
    for key in ("notes.txt", "00001-notes", "00001-pxyz.AA", "00001-p0123456789ab.g", "00001-0000", "00002-00001.json"):
        store.put(f"results/{RUN}/{key}", b"somebody else's")
    found = [list(there.positions) for there in packs.list_results(store, RUN, 1, after=2)]
    assert found == [[3], [7], [1, 5]]
    assert [list(there.positions) for there in packs.list_results(store, RUN, 1)] == [[0], [3], [7], [1, 5]]


def test_an_image_of_no_run_has_no_place() -> None:
    assert packs.place_of("00012-00345") == (12, 345)
    assert packs.place_of("100000-00345") == (100_000, 345)
    others = ("img_1", "1-2", "00001-000001", "00001-00001\n", "000001-00001")
    assert [packs.place_of(id_) for id_ in others] == [None] * len(others)
    with pytest.raises(ValueError, match="not an image of a run"):
        packed(Result(batch_id="b", image_id="img_1", name="n", tagger="t"))


def test_a_damaged_line_costs_only_its_result() -> None:
    (data,) = packed(result(1), result(2)).values()
    first, second = data.splitlines(keepends=True)
    assert list(packs.read_pack(first[:10] + b"\n" + second)) == [result(2)]

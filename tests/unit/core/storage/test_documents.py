from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from core.errors import PreconditionFailed, Unavailable
from core.local.store import LocalStore
from core.storage.documents import Document
from core.storage.ports import Condition, Etag

KEY = "control/state.json"


class LossyStore(LocalStore):
    """Loses the answers to as many writes as `lost` says; they are written all the same."""

    lost = 0

    def put(
        self, key: str, data: bytes | BinaryIO, *, content_type: str = "", condition: Condition | None = None
    ) -> Etag:
        etag = super().put(key, data, condition=condition)
        if self.lost:
            self.lost -= 1
            raise Unavailable("the answer was lost")
        return etag


@pytest.fixture
def store(tmp_path: Path) -> LossyStore:
    return LossyStore(tmp_path)


def document(store: LocalStore) -> Document[dict[str, Any]]:
    return Document(
        store, KEY, parse=json.loads, serialise=lambda value: json.dumps(value).encode(), pause=lambda _: None
    )


def test_what_is_saved_is_loaded(store: LossyStore) -> None:
    assert document(store).load() is None
    document(store).save({"by": "a"})
    assert document(store).load() == {"by": "a"}


def test_a_save_replaces_only_the_version_it_knows(store: LossyStore) -> None:
    first, second = document(store), document(store)
    first.save({"by": "a"})
    with pytest.raises(PreconditionFailed):
        second.save({"by": "b"})
    second.load()
    second.save({"by": "b"})
    with pytest.raises(PreconditionFailed):
        first.save({"by": "a", "n": 2})
    assert document(store).load() == {"by": "b"}


def test_reading_does_not_make_a_version_known(store: LossyStore) -> None:
    document(store).save({"by": "a"})
    other = document(store)
    assert other.read() is not None
    with pytest.raises(PreconditionFailed):
        other.save({"by": "b"})


def test_a_write_without_an_answer_is_recognised(store: LossyStore) -> None:
    mine = document(store)
    mine.save({"by": "a", "n": 1})
    store.lost = 1
    with pytest.raises(Unavailable):
        mine.save({"by": "a", "n": 2})
    mine.save({"by": "a", "n": 3})
    assert document(store).load() == {"by": "a", "n": 3}


def test_the_same_write_again_after_a_lost_answer_is_written_once(store: LossyStore) -> None:
    mine = document(store)
    store.lost = 1
    with pytest.raises(Unavailable):
        mine.save({"by": "a"})
    etag = store.get(KEY).etag
    mine.save({"by": "a"})
    assert mine.etag == etag == store.get(KEY).etag


def test_several_writes_without_an_answer_are_recognised(store: LossyStore) -> None:
    mine = document(store)
    store.lost = 1
    with pytest.raises(Unavailable):
        mine.save({"by": "a", "n": 1})
    store.lost = 1
    with pytest.raises(Unavailable):
        mine.save({"by": "a", "n": 2})
    mine.save({"by": "a", "n": 3})
    assert document(store).load() == {"by": "a", "n": 3}


def test_a_write_of_another_after_a_lost_answer_is_respected(store: LossyStore) -> None:
    mine, other = document(store), document(store)
    store.lost = 1
    with pytest.raises(Unavailable):
        mine.save({"by": "a"})
    other.load()
    other.save({"by": "b"})
    with pytest.raises(PreconditionFailed):
        mine.save({"by": "a", "n": 2})
    assert document(store).load() == {"by": "b"}


def test_an_update_is_repeated_until_nobody_was_faster(store: LossyStore) -> None:
    mine, other = document(store), document(store)
    rivals = iter([{"n": 10}, {"n": 20}])

    def add_one(found: dict[str, Any] | None) -> dict[str, Any]:
        for rival in rivals:
            other.load()
            other.save(rival)
            break
        return {"n": (found or {"n": 0})["n"] + 1}

    assert mine.update(add_one) == {"n": 21}
    assert document(store).load() == {"n": 21}


def test_an_update_that_changes_nothing_writes_nothing(store: LossyStore) -> None:
    document(store).save({"n": 1})
    etag = store.get(KEY).etag
    assert document(store).update(lambda _: None) is None
    assert store.get(KEY).etag == etag


def test_an_update_gives_up_when_the_document_never_stands_still(store: LossyStore) -> None:
    other = document(store)
    count = iter(range(1000))

    def change(_: dict[str, Any] | None) -> dict[str, Any]:
        other.load()
        other.save({"n": next(count)})
        return {"by": "a"}

    with pytest.raises(Unavailable, match="changes too often"):
        document(store).update(change)

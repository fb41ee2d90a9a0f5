"""What every object store does. See `core.storage.ports.ObjectStore`."""

from __future__ import annotations

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from core.errors import NotFound, PreconditionFailed, Unavailable
from core.storage.ports import Etag, IfAbsent, IfMatch, ObjectStore

KEYS = st.lists(st.sampled_from(["a", "b", "a-b", "a.b", "a_b", "B", "0", "..."]), min_size=1, max_size=3).map("/".join)


@pytest.fixture
def store(stores):
    return stores.open()


@pytest.fixture
def quick(stores):
    return settings(max_examples=stores.examples, deadline=None)


def test_what_is_put_is_got_by_every_client(stores, store):
    etag = store.put("images/bat_1/img_1", b"\x00\xff" * 1000)
    blob = stores.open().get("images/bat_1/img_1")
    assert (blob.data, blob.etag) == (b"\x00\xff" * 1000, etag)


def test_several_objects_are_put_at_once(stores, store):
    store.put("results/bat_1/img_0.json", b"old")
    objects = {f"results/bat_1/img_{number}.json": b"%d" % number for number in range(25)}
    store.put_all(objects, content_type="application/json")
    reader = stores.open()
    assert {key: reader.get(key).data for key in objects} == objects
    assert reader.get("results/bat_1/img_7.json").content_type == "application/json"
    store.put_all({})


def test_an_object_is_admitted_by_its_size_before_it_is_read(store):
    store.put("a", b"12345")
    admitted = []
    assert store.get("a", admitted.append).data == b"12345"
    assert admitted == [5]

    def refuse(size):
        raise InterruptedError(size)

    with pytest.raises(InterruptedError):
        store.get("a", refuse)
    with pytest.raises(NotFound):
        store.get("none", admitted.append)
    assert store.get("a").data == b"12345"


def test_an_empty_object_is_an_object(store):
    store.put("fleet/drain/w", b"")
    assert store.get("fleet/drain/w").data == b""


def test_a_put_replaces_what_is_there(store):
    first = store.put("a", b"one")
    second = store.put("a", b"two")
    assert store.get("a").data == b"two"
    assert first != second


def test_every_well_formed_key_can_be_used(store, quick):
    segment = st.text("abzAZ019._-", min_size=1, max_size=20).filter(lambda text: text not in (".", ".."))

    @quick
    @given(st.lists(segment, min_size=1, max_size=4).map("/".join), st.binary(max_size=50))
    def check(key, data):
        store.put(key, data)
        assert store.get(key).data == data

    check()


def test_a_copy_has_the_bytes_and_a_life_of_its_own(stores, store):
    store.put("a/source", b"\x00one" * 1000)
    etag = store.copy("a/source", "b/target")
    store.delete(["a/source"])
    blob = stores.open().get("b/target")
    assert (blob.data, blob.etag) == (b"\x00one" * 1000, etag)


def test_a_copy_replaces_and_one_of_nothing_changes_nothing(store):
    store.put("source", b"one")
    first = store.put("target", b"two")
    with pytest.raises(NotFound, match="none"):
        store.copy("none", "target")
    assert store.get("target").etag == first
    assert store.copy("source", "target") != first
    assert store.get("target").data == b"one"
    for pair in (("source", ".."), ("..", "target")):
        with pytest.raises(ValueError, match="key"):
            store.copy(*pair)


@pytest.mark.parametrize(
    "key", ["", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/.", "a b", "a\n", "ä", "a\x00", "a+", "a\\b"]
)
def test_any_other_key_is_refused(store, key):
    for use in (store.get, lambda key: store.put(key, b""), lambda key: store.delete([key])):
        with pytest.raises(ValueError, match="key"):
            use(key)


def test_a_key_may_be_the_folder_of_another(store):
    store.put("a", b"1")
    store.put("a/b", b"2")
    store.put("a/b/c", b"3")
    store.delete(["a/b"])
    assert [info.key for info in store.list("")] == ["a", "a/b/c"]


class _Stream(io.RawIOBase):
    """A file of `size` bytes that remembers the most it was asked for at once."""

    def __init__(self, size):
        self._left = size
        self.most = 0

    def readable(self):
        return True

    def read(self, size=-1):
        assert size >= 0, "the whole file was asked for"
        self.most = max(self.most, size)
        taken = min(size, self._left)
        self._left -= taken
        return b"\x07" * taken


def test_a_file_is_streamed(store):
    stream = _Stream(40_000_001)
    store.put("big", stream)
    assert stream.most <= 16_000_000
    [info] = store.list("big")
    assert info.size == 40_000_001


def test_a_file_is_read_from_where_it_stands(store):
    file = io.BytesIO(b"header and body")
    file.seek(7)
    store.put("a", file)
    assert store.get("a").data == b"and body"


def test_a_file_that_cannot_be_read_stores_nothing(store):
    class Broken(_Stream):
        def read(self, size=-1):
            if self._left < 3_000_000:
                raise ConnectionResetError("the browser went away")
            return super().read(size)

    store.put("a", b"before")
    with pytest.raises(ConnectionResetError, match="the browser went away"):
        store.put("a", Broken(8_000_000))
    assert store.get("a").data == b"before"
    assert [info.key for info in store.list("")] == ["a"]


def test_put_if_absent(store):
    store.put("a", b"first", condition=IfAbsent())
    with pytest.raises(PreconditionFailed, match="'a'") as caught:
        store.put("a", b"second", condition=IfAbsent())
    assert caught.value.key == "a"
    assert store.get("a").data == b"first"


def test_put_if_absent_after_a_delete(store):
    store.put("a", b"first")
    store.delete(["a"])
    store.put("a", b"second", condition=IfAbsent())
    assert store.get("a").data == b"second"


def test_put_if_match(store):
    read = store.put("a", b"one")
    current = store.put("a", b"two", condition=IfMatch(read))
    with pytest.raises(PreconditionFailed):
        store.put("a", b"three", condition=IfMatch(read))
    assert (store.get("a").data, store.get("a").etag) == (b"two", current)


def test_put_if_match_of_nothing(store):
    with pytest.raises(PreconditionFailed):
        store.put("a", b"one", condition=IfMatch(Etag("0123")))
    with pytest.raises(NotFound):
        store.get("a")


def test_one_of_many_first_writers_wins(stores):
    def write(number: int) -> bool:
        try:
            stores.open().put("fleet/controller.json", b"%d" % number, condition=IfAbsent())
        except PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = [number for number, wins in enumerate(pool.map(write, range(40))) if wins]
    assert len(won) == 1
    assert stores.open().get("fleet/controller.json").data == b"%d" % won[0]


def test_compare_and_set_loses_no_update(stores, store):
    store.put("n", b"0")

    def add(client: ObjectStore) -> None:
        while True:
            read = client.get("n")
            try:
                client.put("n", b"%d" % (int(read.data) + 1), condition=IfMatch(read.etag))
            except PreconditionFailed:
                continue
            return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, [stores.open() for _ in range(40)]))
    assert store.get("n").data == b"40"


def test_a_reader_sees_a_whole_version_with_its_etag(stores, store):
    versions = [bytes([number]) * 300_000 for number in range(1, 30)]
    etags = {versions[0]: store.put("a", versions[0])}
    seen = []
    done = threading.Event()

    def look() -> None:
        client = stores.open()
        while not done.is_set():
            seen.append(client.get("a"))

    with ThreadPoolExecutor(2) as pool:
        looking = [pool.submit(look) for _ in range(2)]
        try:
            etags |= {version: store.put("a", version) for version in versions[1:]}
        finally:
            done.set()
        for future in looking:
            future.result()
    assert seen
    assert all(etags[blob.data] == blob.etag for blob in seen)


def test_what_is_not_there_is_not_found(store):
    store.put("a/b", b"")
    for key in ("a", "a/b/c", "b"):
        with pytest.raises(NotFound, match=key) as caught:
            store.get(key)
        assert caught.value.key == key


def test_list_tells_of_each_object(store):
    etag = store.put("results/b/1.json", b"{}")
    [info] = store.list("results/")
    assert (info.key, info.size, info.etag) == ("results/b/1.json", 2, etag)
    assert abs(info.modified - time.time()) < 3600  # Unix seconds, whatever the store's clock


def test_list_goes_by_the_whole_key(stores, store, quick):
    @quick
    @given(
        st.sets(KEYS, max_size=12),
        st.sampled_from(["", "a", "a/", "a/b", "a.", "B/", "z", "a//", "+"]),
        KEYS | st.just(""),
    )
    def check(keys, prefix, after):
        store.delete([info.key for info in store.list("")])
        for key in keys:
            store.put(key, b"")
        expected = sorted(key for key in keys if key.startswith(prefix) and key > after)
        assert [info.key for info in stores.open().list(prefix, after)] == expected

    check()


def test_a_list_may_be_left_early_and_taken_up_again(store):
    keys = [f"images/b{batch}/i{image}" for batch in range(3) for image in range(4)]
    for key in keys:
        store.put(key, b"")
    found: list[str] = []
    while page := list(islice(store.list("images/", found[-1] if found else ""), 5)):
        found += [info.key for info in page]
    assert found == keys


def test_objects_deleted_during_a_list_do_no_harm(store):
    for number in range(20):
        store.put(f"a/{number:02}", b"")
    listing = store.list("a/")
    assert next(listing).key == "a/00"
    store.delete([f"a/{number:02}" for number in range(1, 19)])
    assert [info.key for info in listing][-1] == "a/19"


def test_delete(store):
    for key in ("a", "b", "c"):
        store.put(key, b"")
    store.delete(["a", "c", "never-there", "a"])
    store.delete([])
    assert [info.key for info in store.list("")] == ["b"]


def test_delete_takes_any_number_of_keys(store):
    keys = [f"a/{number}" for number in range(1_005)]
    store.put(keys[-1], b"")
    store.delete(keys)
    assert list(store.list("a/")) == []


def test_what_a_batch_left_goes_in_large_groups_and_nothing_else_does(store):
    """One call takes the originals, thumbnails and results of some hundred images, wherever each of them lies."""
    prefixes = ("uploads/bat_1/", "thumbnails/bat_1/", "results/bat_1/")
    doomed = [f"{prefix}img_{number}" for number in range(400) for prefix in prefixes]
    kept = ["uploads/bat_10/img_1", "uploads/bat_1.jpg", "results/bat_2/img_1", "uploads/bat_1"]
    for key in (*doomed[:30], doomed[-1], *kept):
        store.put(key, b"1")
    store.delete(doomed)
    assert [info.key for info in store.list("")] == sorted(kept)
    store.delete(doomed)


def test_what_is_listed_may_be_deleted_as_the_list_goes_on(store):
    """A single walk empties a folder of more objects than one answer holds."""
    keys = [f"uploads/bat_1/img_{number:04}" for number in range(1_203)]
    for key in keys:
        store.put(key, b"")
    store.put("uploads/bat_2/img_0", b"")
    listing = (info.key for info in store.list("uploads/bat_1/"))
    found = []
    while group := list(islice(listing, 1_000)):
        store.delete(group)
        found += group
    assert found == keys
    assert [info.key for info in store.list("")] == ["uploads/bat_2/img_0"]


def test_an_upload_form_is_whole_or_none(store):
    form = store.upload_form("images/b/i", content_type="image/jpeg", max_bytes=1_000, expires_s=60)
    assert form is None or (form.url.startswith("http") and form.fields)


def test_a_store_that_is_not_there_is_no_empty_store(stores):
    store = stores.unavailable()
    if store is None:
        pytest.skip("it is always there")
    for use in (
        lambda: store.put("a", b""),
        lambda: store.get("a"),
        lambda: list(store.list("")),
        lambda: store.delete(["a"]),
    ):
        with pytest.raises(Unavailable):
            use()


class _Machine(RuleBasedStateMachine):
    """Any sequence of calls, against a dict."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__()
        self.store = store
        self.store.delete([info.key for info in self.store.list("")])
        self.objects: dict[str, bytes] = {}
        self.etags: dict[str, Etag] = {}
        self.old_etags: list[Etag] = [Etag("none")]
        self.number = 0

    @rule(key=KEYS)
    def put(self, key):
        self._put(key, None)

    @rule(key=KEYS)
    def put_if_absent(self, key):
        self._put(key, IfAbsent(), allowed=key not in self.objects)

    @rule(key=KEYS)
    def put_if_match(self, key):
        etag = self.etags.get(key, Etag("none"))
        self._put(key, IfMatch(etag), allowed=key in self.objects)

    @rule(key=KEYS, which=st.integers(0, 1_000))
    def put_if_match_outdated(self, key, which):
        self._put(key, IfMatch(self.old_etags[which % len(self.old_etags)]), allowed=False)

    @rule(keys=st.lists(KEYS, max_size=3))
    def delete(self, keys):
        self.store.delete(keys)
        for key in keys:
            self.objects.pop(key, None)
            if key in self.etags:
                self.old_etags.append(self.etags.pop(key))

    @invariant()
    def same_objects(self):
        found = {info.key: info for info in self.store.list("")}
        assert {key: info.etag for key, info in found.items()} == self.etags
        assert {key: self.store.get(key).data for key in found} == self.objects

    def _put(self, key, condition, *, allowed=True):
        self.number += 1
        data = b"version %d" % self.number
        if not allowed:
            with pytest.raises(PreconditionFailed):
                self.store.put(key, data, condition=condition)
            return
        etag = self.store.put(key, io.BytesIO(data) if self.number % 2 else data, condition=condition)
        if key in self.etags:
            self.old_etags.append(self.etags[key])
        self.objects[key], self.etags[key] = data, etag


def test_any_sequence_of_calls_leaves_what_a_dict_would_hold(stores, store):
    examples = stores.examples // 2
    run_state_machine_as_test(
        partial(_Machine, store), settings=settings(max_examples=examples, stateful_step_count=25, deadline=None)
    )

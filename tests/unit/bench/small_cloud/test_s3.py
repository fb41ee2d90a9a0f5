"""The stand-in's S3, as our store and obstore ask for it."""

from __future__ import annotations

from io import BytesIO

import obstore.exceptions
import obstore.store
import pytest

from bench.small_cloud.process import SmallCloud
from core.errors import NotFound, PreconditionFailed
from core.storage.ports import Etag, IfAbsent, IfMatch, ObjectStore
from core.wiring import Backend

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture
def store(backend: Backend) -> ObjectStore:
    return backend.store


@pytest.fixture
def rust(cloud: SmallCloud) -> obstore.store.S3Store:
    return obstore.store.S3Store(
        "other",
        endpoint=cloud.url,
        region="eu-central-1",
        access_key_id="nobody",
        secret_access_key="nothing",
        client_options={"allow_http": True},
    )


def test_an_object_comes_back_with_its_etag_and_type(store: ObjectStore) -> None:
    etag = store.put("results/a/b.json", b"content", content_type="application/json")
    found = store.get("results/a/b.json")
    assert (found.data, found.etag, found.content_type) == (b"content", etag, "application/json")


def test_a_missing_object_is_not_found(store: ObjectStore) -> None:
    with pytest.raises(NotFound):
        store.get("results/none")


def test_conditions_of_a_write_are_checked(store: ObjectStore) -> None:
    etag = store.put("fleet/lease", b"1", condition=IfAbsent())
    with pytest.raises(PreconditionFailed):
        store.put("fleet/lease", b"2", condition=IfAbsent())
    with pytest.raises(PreconditionFailed):
        store.put("fleet/lease", b"2", condition=IfMatch(Etag('"0"')))
    store.put("fleet/lease", b"2", condition=IfMatch(etag))
    assert store.get("fleet/lease").data == b"2"


def test_a_stream_larger_than_a_part_is_put_in_parts(store: ObjectStore, cloud: SmallCloud) -> None:
    content = bytes(range(256)) * (36 << 10)  # 9 MiB
    store.put("uploads/bat_1/img_1", BytesIO(content))
    assert store.get("uploads/bat_1/img_1").data == content
    assert cloud.requests()["s3.CompleteMultipartUpload"] == 1


def test_listings_have_pages_and_follow_deletions(store: ObjectStore, rust: obstore.store.S3Store) -> None:
    keys = [f"many/{number:05}" for number in range(1500)]
    for key in keys:
        rust.put(key, b"1")
    listed = [info["path"] for page in rust.list("many/") for info in page]
    assert listed == keys
    assert [info["path"] for page in rust.list("many/", offset="many/01497") for info in page] == keys[1498:]
    rust.delete(keys[:1200])
    rust.put(keys[3], b"1")
    assert [info["path"] for page in rust.list("many/") for info in page] == [keys[3], *keys[1200:]]


def test_keys_may_hold_what_xml_and_addresses_escape(rust: obstore.store.S3Store) -> None:
    key = "a b/é&<100%>+.jpg"
    rust.put(key, b"1")
    rust.copy(key, "copied.jpg")
    assert rust.list_with_delimiter()["common_prefixes"] == ["a b"]
    assert [info["path"] for page in rust.list("a b/") for info in page] == [key]
    rust.delete([key])
    assert [info["path"] for page in rust.list() for info in page] == ["copied.jpg"]


def test_obstore_sees_conditions_ranges_and_missing_objects(rust: obstore.store.S3Store) -> None:
    rust.put("a.jpg", b"0123456789")
    with pytest.raises(obstore.exceptions.AlreadyExistsError):
        rust.put("a.jpg", b"1", mode="create")
    with pytest.raises(obstore.exceptions.PreconditionError):
        rust.put("a.jpg", b"1", mode={"e_tag": '"0"'})
    assert bytes(rust.get_range("a.jpg", start=2, end=5)) == b"234"
    with pytest.raises(FileNotFoundError):
        rust.head("b.jpg")

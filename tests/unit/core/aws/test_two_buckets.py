"""What S3's store adds to the contract: two buckets, forms for browsers, objects with a type."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from core.aws.store import S3Store
from core.domain.messages import Job, decode_job, encode
from core.storage import layout
from core.storage.ports import UploadForm
from tests.contract.aws import made_bucket

UPLOADED = layout.image_key("bat_1", "img_1")


@pytest.fixture
def buckets(cloud):
    return made_bucket(cloud, "input"), made_bucket(cloud, "output")


@pytest.fixture
def store(cloud, buckets):
    return S3Store(cloud.clients, input_bucket=buckets[0], output_bucket=buckets[1])


def keys_in(cloud, bucket: str) -> set[str]:
    return {found["Key"] for found in cloud.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])}


def post(form: UploadForm, data: bytes, **changed: str) -> int:
    """What a browser does with a form; the status of the answer."""
    fields = form.fields | changed
    parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{it}\r\n' for name, it in fields.items()]
    file = '--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    body = "".join(parts).encode() + file.encode() + data + b"\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    try:
        with urllib.request.urlopen(urllib.request.Request(form.url, body, headers)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_what_came_in_lies_apart_from_what_was_made(store, cloud, buckets):
    came, made = [UPLOADED, "thumbnails/b/i.jpg", "images/any/file"], ["results/b/i.json", "fleet/controller.json"]
    for key in [*came, *made]:
        store.put(key, b"")
    assert (keys_in(cloud, buckets[0]), keys_in(cloud, buckets[1])) == (set(came), set(made))
    assert [info.key for info in store.list("")] == sorted(came + made)
    assert [info.key for info in store.list("", "images/any/file")] == sorted(came + made)[2:]
    assert [info.key for info in store.list("i")] == ["images/any/file"]
    store.copy(UPLOADED, "results/b/copy")
    store.delete([*came, *made, "results/b/copy"])
    assert not keys_in(cloud, buckets[0]) | keys_in(cloud, buckets[1])


def test_objects_of_others_are_not_ours(store, cloud, buckets):
    cloud.client("s3").put_object(Bucket=buckets[0], Key="results/in/the/wrong/bucket", Body=b"")
    cloud.client("s3").put_object(Bucket=buckets[1], Key="uploads/too", Body=b"")
    assert list(store.list("")) == []


def test_an_object_keeps_its_type(store, cloud):
    store.put("results/b/i", b"{}", content_type="application/json")
    assert store.get("results/b/i").content_type == "application/json"


def test_a_browser_uploads_by_a_form(store, buckets):
    form = store.upload_form(UPLOADED, content_type="image/jpeg", max_bytes=1_000, expires_s=60)
    assert post(form, b"\xff\xd8photo") == 204
    assert (store.get(UPLOADED).data, store.get(UPLOADED).content_type) == (b"\xff\xd8photo", "image/jpeg")


def test_a_form_allows_what_it_says_and_no_more(store):
    form = store.upload_form(UPLOADED, content_type="image/jpeg", max_bytes=1_000, expires_s=60)
    assert post(form, bytes(1_001)) == 400
    assert post(form, b"") == 400
    assert post(form, b"a", key="fleet/controller.json") == 403
    assert post(form, b"a", **{"Content-Type": "text/html"}) == 403
    late = store.upload_form(UPLOADED, content_type="image/jpeg", max_bytes=1_000, expires_s=-1)
    assert post(late, b"a") == 403


def test_a_name_that_sqs_would_refuse_is_written_otherwise():
    job = Job(batch_id="b", image_id="i", key="k", name="\ufffe\uffff ä\U0001f600.jpg", tagger="t", submitted_at=0)
    assert not {"\ufffe", "\uffff"} & set(encode(job))
    assert decode_job(encode(job)) == job

"""Objects over obstore where it differs from boto3: keys, regions, credentials, slow answers, forks, counts."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.credentials import Credentials
from botocore.session import Session as BotocoreSession

from core.aws.buckets import Buckets
from core.aws.clients import Clients
from core.aws.objects import Objects, is_plain
from core.aws.sources import S3Source
from core.aws.store import S3Store
from core.errors import Misconfigured, Unavailable
from core.storage.ports import IfMatch
from tests.cloud import REGION, Cloud, clients_of
from tests.contract.aws import made_bucket
from tests.faulty import Answer, Cut, Faulty, Held, Request, Reset, Short, Silence, Slow, s3_error

SLOW_DOWN = s3_error(503, "SlowDown", "Please reduce your request rate.")
KEYS = [
    *("/a.jpg", "a//b.jpg", "//", "a/", "./a", "a/../b", "a/.", "..", "..."),
    *("a b.jpg", " a ", "a+b", "50%.jpg", "%2F", "a%2F..%2Fb", "q&a=?#.jpg", "~!@$^*()_-='\"`|{}[]<>,;:\\"),
    *("ü/日本/🐈.jpg", "e\u0301", "tab\there", "x" * 1024),
]


@pytest.fixture
def faulty(cloud: Cloud) -> Iterator[Faulty]:
    with Faulty(cloud.endpoint).running() as proxy:
        yield proxy


@pytest.fixture
def bucket(cloud: Cloud) -> str:
    return made_bucket(cloud, "objects")


@pytest.fixture
def clients(faulty: Faulty) -> Clients:
    return clients_of(faulty.endpoint, attempts=3)


def store_of(clients: Clients, bucket: str) -> S3Store:
    return S3Store(clients, input_bucket=bucket, output_bucket=bucket)


@pytest.mark.parametrize("which", ["cloud", "second_cloud"])
def test_every_key_is_read_and_listed_as_it_is(request: pytest.FixtureRequest, which: str) -> None:
    cloud: Cloud = request.getfixturevalue(which)
    bucket, source = made_bucket(cloud, "keys"), S3Source(cloud.clients)
    for key in KEYS:
        cloud.client("s3").put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert [source.read(f"s3://{bucket}/{key}", 10_000).data.decode() for key in KEYS] == KEYS
    assert [info.key for info in source.list(f"s3://{bucket}/")] == sorted(KEYS, key=str.encode)


def test_keys_that_obstore_would_change_are_left_to_boto3(cloud: Cloud, bucket: str) -> None:
    assert [key for key in KEYS if not is_plain(key)] == [*KEYS[:8], "tab\there"]
    objects = Objects(cloud.clients)
    for key in KEYS:
        etag = objects.put(bucket, key, key.encode(), "text/plain")
        found = objects.get(bucket, key)
        assert (found.size, found.etag, found.content_type) == (len(key.encode()), etag, "text/plain")
        assert found.read() == key.encode()
    there = cloud.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    assert {one["Key"] for one in there} == set(KEYS)


def test_the_head_of_an_object_is_admitted_before_its_bytes_come(faulty: Faulty, clients: Clients, bucket: str) -> None:
    store, admitted = store_of(clients, bucket), threading.Event()
    store.put("a", b"12345")
    sizes: list[int] = []

    def admit(size: int) -> None:
        sizes.append(size)
        admitted.set()

    for read in (lambda: store.get("a", admit), lambda: S3Source(clients).read(f"s3://{bucket}/a", 10, admit)):
        admitted.clear()
        faulty.first(Held(admitted), of="GET")
        assert read().data == b"12345"
    assert sizes == [5, 5]


def test_an_answer_that_comes_slowly_is_waited_for(faulty: Faulty, bucket: str) -> None:
    """Silence ends a request, and not its duration: ten pauses take longer than one may."""
    clients = clients_of(faulty.endpoint, attempts=3, read_s=1.0)
    store = store_of(clients, bucket)
    store.put("a", b"0123456789" * 1000)
    faulty.always(Slow(0.15), of="GET")
    assert store.get("a").data == b"0123456789" * 1000


@pytest.mark.parametrize("fault", [Cut(), Short()], ids=["cut", "short"])
def test_a_body_that_never_comes_whole_is_told(faulty: Faulty, clients: Clients, bucket: str, fault: Any) -> None:
    store = store_of(clients, bucket)
    store.put("a", bytes(100_000))
    faulty.first(fault, fault, of="GET")
    admitted: list[int] = []
    assert store.get("a", admitted.append).data == bytes(100_000)
    assert admitted == [100_000], "not once for each try"
    faulty.always(fault, of="GET")
    for read in (lambda: store.get("a"), lambda: S3Source(clients).read(f"s3://{bucket}/a", 1_000_000)):
        with pytest.raises(Unavailable, match="broke off again and again"):
            read()


def test_a_large_body_may_take_its_time_to_be_sent(faulty: Faulty, clients: Clients, bucket: str) -> None:
    """boto3 sends it: obstore's limit for silence would count the time that sending takes."""
    agents: list[str] = []
    faulty.on(lambda request: agents.append(request.headers["user-agent"]))
    store = store_of(clients, bucket)
    for size in (1 << 20, (1 << 20) + 1):
        store.put("a", bytes(size), condition=IfMatch(store.put("a", bytes(size))))
    assert ["Boto3" in agent for agent in agents] == [False, False, True, True]
    assert all("tagfleet" in agent for agent in agents)


def test_each_try_is_counted_as_boto3_would(faulty: Faulty, clients: Clients, bucket: str) -> None:
    store = store_of(clients, bucket)
    store.put("a", b"")
    faulty.first(SLOW_DOWN, of="GET")
    store.get("a")
    store.delete(["a"])
    assert clients.requests() == {"s3.PutObject": 1, "s3.GetObject": 2, "s3.DeleteObjects": 1}


def test_several_puts_are_under_way_at_once(faulty: Faulty, clients: Clients, bucket: str) -> None:
    together = threading.Barrier(8, timeout=60)

    def on(request: Request) -> None:
        if request.operation == "PUT":
            together.wait()

    faulty.on(on)
    store = store_of(clients, bucket)
    store.put_all({f"results/{number}": b"" for number in range(8)})
    faulty.always(s3_error(403, "AccessDenied", "no"), of="PUT")
    with pytest.raises(Misconfigured, match="s3:PutObject"):
        store.put_all({"results/a": b"", "results/b": b""})


def test_an_object_that_may_not_be_had_is_asked_for_once(faulty: Faulty, clients: Clients, bucket: str) -> None:
    faulty.always(s3_error(403, "AccessDenied", "Access Denied"))
    for _ in range(3):
        with pytest.raises(Misconfigured, match="may not s3:GetObject"):
            store_of(clients, bucket).get("a")
    assert clients.requests() == {"s3.GetObject": 3, "s3.HeadBucket": 1}


def test_pauses_grow(faulty: Faulty, bucket: str) -> None:
    pauses: list[float] = []
    objects = Objects(clients_of(faulty.endpoint, attempts=4), rest=pauses.append)
    faulty.always(s3_error(500, "InternalError"))
    with pytest.raises(Exception, match="InternalError"):
        objects.get(bucket, "a")
    assert len(pauses) == 3
    assert all(0 <= pause <= most for pause, most in zip(pauses, (1, 2, 4), strict=True))


# --- regions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["permanent", "temporary", "malformed", "denied"])
def test_a_bucket_in_another_region_is_found_once(faulty: Faulty, clients: Clients, bucket: str, how: str) -> None:
    """S3 answers in these ways, by region and age of the bucket; obstore follows a 307 without a signature."""
    answer = {
        "permanent": s3_error(301, "PermanentRedirect", "address the specified endpoint"),
        "temporary": s3_error(307, "TemporaryRedirect", "re-send", Location=f"{faulty.endpoint}/{bucket}/elsewhere"),
        "malformed": s3_error(400, "AuthorizationHeaderMalformed", "expecting", "<Region>us-west-2</Region>"),
        "denied": s3_error(403, "AccessDenied", "Access Denied"),
    }[how]
    asked: list[str] = []

    def on(request: Request) -> Answer | None:
        asked.append(request.operation)
        if request.operation == "HEAD":
            return Answer(200, b"", {"x-amz-bucket-region": "us-west-2"})
        if "authorization" not in request.headers:
            return s3_error(403, "AccessDenied", "Access Denied")
        return None if "/us-west-2/s3/" in request.headers["authorization"] else answer

    faulty.on(on)
    store = store_of(clients, bucket)
    store.put("a", b"found")
    assert store.get("a").data == b"found"
    assert S3Source(clients).read(f"s3://{bucket}/a", 10).data == b"found"
    assert asked.count("HEAD") == (how != "malformed")
    assert asked[-2:] == ["GET", "GET"], "nothing is asked twice any more"


def test_a_server_that_names_other_regions_for_ever_is_told_of(faulty: Faulty, clients: Clients, bucket: str) -> None:
    asked: list[str] = []

    def on(request: Request) -> Answer:
        asked.append(request.operation)
        here = "/us-west-2/s3/" in request.headers["authorization"]
        region = "eu-west-1" if here else "us-west-2"
        return s3_error(400, "AuthorizationHeaderMalformed", "expecting", f"<Region>{region}</Region>")

    faulty.on(on)
    with pytest.raises(Misconfigured, match="region"):
        store_of(clients, bucket).get("a")
    assert asked == ["GET", "GET"]


def test_a_region_is_asked_for_again_if_nobody_answered(faulty: Faulty, bucket: str) -> None:
    clients = clients_of(faulty.endpoint, attempts=1, connect_s=10.0, read_s=60.0)
    heads: list[str] = []

    def on(request: Request) -> Answer | Reset | None:
        if request.operation == "HEAD":
            heads.append("asked")
            return Reset() if len(heads) == 1 else Answer(200, b"", {"x-amz-bucket-region": "us-west-2"})
        here = "/us-west-2/s3/" in request.headers["authorization"]
        return None if here else s3_error(301, "PermanentRedirect", "address the specified endpoint")

    faulty.on(on)
    store = store_of(clients, bucket)
    with pytest.raises(Misconfigured):
        store.put("a", b"found")
    store.put("a", b"found")
    assert store.get("a").data == b"found"


@pytest.mark.parametrize(
    ("region", "endpoint", "name", "place"),
    [
        ("eu-central-1", None, "photos", "https://photos.s3.eu-central-1.amazonaws.com"),
        ("eu-central-1", None, "pho.tos", "https://s3.eu-central-1.amazonaws.com/pho.tos"),
        ("cn-north-1", None, "photos", "https://photos.s3.cn-north-1.amazonaws.com.cn"),
        ("eu-central-1", "http://localhost:9000", "photos", "http://localhost:9000/photos"),
        ("eu-central-1", "https://s3.example.com/base", "photos", "https://s3.example.com/base/photos"),
    ],
)
def test_a_bucket_is_where_boto3_would_look(region: str, endpoint: str | None, name: str, place: str) -> None:
    clients = Clients(region, session=_session(), endpoint=endpoint)
    bucket = Buckets(clients).open(name)
    assert bucket is not None
    assert (bucket.place.endpoint, bucket.place.region) == (place, region)


def test_the_environment_says_to_obstore_what_it_says_to_boto3(
    faulty: Faulty, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", faulty.endpoint)
    for name, value in {"SKIP_SIGNATURE": "true", "REGION": REGION, "ENDPOINT": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    seen: list[dict[str, str]] = []
    faulty.on(lambda request: seen.append(request.headers))
    store_of(Clients(session=_session()), bucket).put("a", b"x", content_type="image/png")
    assert f"/{REGION}/s3/aws4_request" in seen[0]["authorization"]
    assert seen[0]["user-agent"] == "tagfleet"
    assert seen[0]["content-type"] == "image/png"


def test_buckets_that_only_boto3_can_sign_for_are_left_to_it() -> None:
    buckets = Buckets(Clients("us-east-1", session=_session()))
    assert buckets.open("photos--use1-az4--x-s3") is None


# --- credentials ------------------------------------------------------------------------------


class _Renewed(Credentials):  # type: ignore[misc]  # botocore has no types
    """Credentials as boto3 renews them: another key each time `number` is raised."""

    number = 1

    def get_frozen_credentials(self) -> Any:
        return Credentials(f"AKIA{self.number}", "secret", f"token{self.number}").get_frozen_credentials()


def _session(credentials: Credentials | None = None) -> boto3.Session:
    own = BotocoreSession()
    own._credentials = credentials or Credentials("AKIAIOSFODNN7EXAMPLE", "secret")
    return boto3.Session(botocore_session=own)


def test_renewed_credentials_are_used_at_once(faulty: Faulty, bucket: str) -> None:
    renewed = _Renewed("", "")
    store = store_of(Clients(REGION, session=_session(renewed), endpoint=faulty.endpoint), bucket)
    seen: list[tuple[str, str]] = []

    def on(request: Request) -> None:
        key = request.headers["authorization"].partition("Credential=")[2].partition("/")[0]
        seen.append((key, request.headers["x-amz-security-token"]))

    faulty.on(on)
    store.put("a", b"")
    renewed.number = 2
    store.put("a", b"")
    assert seen == [("AKIA1", "token1"), ("AKIA2", "token2")]


def test_without_credentials_the_line_says_so(faulty: Faulty, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    with pytest.raises(Misconfigured, match="no AWS credentials were found; give this machine a role"):
        store_of(Clients(REGION, endpoint=faulty.endpoint), bucket).put("a", b"")


# --- processes --------------------------------------------------------------------------------


def test_a_child_of_a_process_that_used_obstore_does_not_hang(cloud: Cloud, bucket: str) -> None:
    """obstore's threads are gone in it: its requests go through boto3."""
    program = f"""
        import os, signal
        from core.aws.store import S3Store
        from tests.cloud import clients_of
        store = S3Store(clients_of({cloud.endpoint!r}), input_bucket={bucket!r}, output_bucket={bucket!r})
        store.put_all({{"a": b"of the parent", "b": b""}})
        if (child := os.fork()) == 0:
            signal.alarm(60)
            store.put_all({{"c": b"of the child", "d": store.get("a").data}})
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(store.get("c").data.decode(), "and", store.get("d").data.decode())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip() == "of the child and of the parent", done.stderr


def test_a_signal_is_handled_while_an_answer_is_awaited(faulty: Faulty, bucket: str) -> None:
    asked = threading.Event()

    def on(request: Request) -> Silence:
        asked.set()
        return Silence()

    faulty.on(on)
    program = f"""
        from core.aws.store import S3Store
        from tests.cloud import clients_of
        store = S3Store(clients_of({faulty.endpoint!r}, read_s=600), input_bucket={bucket!r}, output_bucket={bucket!r})
        try:
            store.get("a")
        except KeyboardInterrupt:
            print("interrupted")
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    try:
        assert asked.wait(60)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[0].strip() == "interrupted"
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()

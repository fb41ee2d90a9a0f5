"""Opens buckets in obstore, addressed, signed and secured as boto3 would.

1. botocore decides which host and path a bucket has, and which region signs: this module asks it for a signed address
   and takes them from that. So endpoints, profiles, dotted names and access points mean what they mean to boto3.
2. Credentials are boto3's. They are compared before each request, and a bucket is opened again when they have changed;
   boto3 renews them before they expire.
3. A bucket may be in another region. Then S3 says so, boto3 finds out where, and the bucket is opened there.
4. obstore's threads do not survive a fork. In a child of a process that has used obstore, no bucket opens, and the
   caller leaves its requests to boto3.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, urlsplit
from urllib.request import getproxies

from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import where
from botocore.utils import get_environ_proxies
from obstore.exceptions import BaseError
from obstore.store import S3Store

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials
    from mypy_boto3_s3 import S3Client
    from obstore.store import ClientConfig

_ALGORITHM = "AWS4-HMAC-SHA256"
_ANY_KEY = "k"
_FOREVER = timedelta(days=1)
_process = 0
"""The process in which obstore runs."""


class Access(Protocol):
    """What requests through obstore take from `Clients`, which has them from boto3."""

    @property
    def s3(self) -> S3Client: ...

    @property
    def config(self) -> Any:
        """botocore's options: time-outs, connections, attempts, name."""

    @property
    def ca_bundle(self) -> str:
        """The file or folder of certificates that is trusted instead of the usual ones; "" for those."""

    def s3_in(self, region: str) -> S3Client:
        """Return a client of S3 in another region; "" for that of `s3`."""

    def credentials(self) -> ReadOnlyCredentials:
        """Return the credentials, renewed if they are about to expire. Raises botocore's errors."""

    def count(self, operation: str) -> None:
        """Count a request, named `s3.GetObject`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bucket is: the address that its keys follow, the region that signs, and the proxy on the way or ""."""

    endpoint: str
    region: str
    proxy: str


@dataclass(frozen=True, slots=True)
class Bucket:
    store: S3Store
    place: Place
    credentials: ReadOnlyCredentials


class Buckets:
    """Safe for several threads. A bucket stays open, with its pool of connections."""

    def __init__(self, clients: Access) -> None:
        self._clients = clients
        self._open: dict[str, Bucket] = {}
        self._regions: dict[str, str] = {}
        self._asked: set[str] = set()
        self._lock = threading.Lock()

    def open(self, name: str) -> Bucket | None:
        """Return the bucket; None if obstore cannot be used for it. Raises botocore's errors."""
        if not _usable():
            return None
        credentials = self._clients.credentials()
        bucket = self._open.get(name)
        if bucket is not None and bucket.credentials == credentials:
            return bucket
        with self._lock:  # one opens it, and all share its connections
            bucket = self._open.get(name)
            if bucket is None or bucket.credentials != credentials:
                place = bucket.place if bucket is not None else self._find(name)
                if place is None:
                    return None
                self._open[name] = bucket = Bucket(self._make(place, credentials), place, credentials)
            return bucket

    def move(self, name: str, bucket: Bucket, error: ClientError) -> bool:
        """Return whether the bucket turns out to be elsewhere than in the region of `bucket`: then open it again.

        boto3 is asked, until it has an answer, once for each bucket, unless `error` names the region.
        """
        region = str(error.response.get("Error", {}).get("Region", ""))
        with self._lock:
            ask = not region and name not in self._asked
            if ask:
                self._asked.add(name)
            region = region or self._regions.get(name, "")
        if ask:
            try:
                region = self._ask_region(name)
            except BotoCoreError:  # what the caller has at hand says more
                with self._lock:
                    self._asked.discard(name)  # nobody answered: the next error asks again
        if not region or region == bucket.place.region:
            return False
        with self._lock:
            self._regions[name] = region
            self._open.pop(name, None)
        return True

    def _find(self, name: str) -> Place | None:
        client = self._clients.s3_in(self._regions.get(name, ""))
        signed = client.generate_presigned_url("get_object", Params={"Bucket": name, "Key": _ANY_KEY})
        query = {field: values[0] for field, values in parse_qs(urlsplit(signed).query).items()}
        if query.get("X-Amz-Algorithm") != _ALGORITHM or name.endswith("--x-s3"):
            return None  # signatures for several regions, and S3 Express's sessions, are boto3's
        region = query["X-Amz-Credential"].split("/")[2]
        endpoint = signed.partition("?")[0].removesuffix(f"/{_ANY_KEY}")
        return Place(endpoint, region, _proxy(endpoint))

    def _ask_region(self, name: str) -> str:
        try:
            answer: Any = self._clients.s3.head_bucket(Bucket=name)
        except ClientError as error:
            answer = error.response
        return str(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region", ""))

    def _make(self, place: Place, credentials: ReadOnlyCredentials) -> S3Store:
        try:
            return S3Store(
                config={
                    "bucket": "bucket",  # part of the endpoint already
                    "endpoint": place.endpoint,
                    "aws_endpoint_url_s3": place.endpoint,
                    "virtual_hosted_style_request": True,
                    "region": place.region,
                    "skip_signature": False,
                },
                client_options=self._options(place),
                retry_config={"max_retries": 0},  # `Objects` tries again: it counts requests, and slows down
                credential_provider=_Static(credentials),
            )
        except BaseError as error:
            said = str(error).partition("\n")[0]
            raise boto.SSLError(endpoint_url=place.endpoint, error=OSError(f"cannot be prepared: {said}")) from error

    def _options(self, place: Place) -> ClientConfig:
        config = self._clients.config
        options: ClientConfig = {
            "allow_http": place.endpoint.startswith("http:"),
            "connect_timeout": timedelta(seconds=config.connect_timeout),
            "read_timeout": timedelta(seconds=config.read_timeout),
            "timeout": _FOREVER,  # an object may be large; silence is what ends a request
            "user_agent": config.user_agent_extra,
            "root_certificate": _certificates(self._clients.ca_bundle or where(), place.endpoint),
        }
        if place.proxy:
            options["proxy_url"] = place.proxy
        elif getproxies():  # obstore would read the environment itself, by rules of its own
            options["proxy_url"] = "http://127.0.0.1"
            options["proxy_excludes"] = urlsplit(place.endpoint).hostname or ""
        return options


class _Static:
    """The credentials that a bucket was opened with. They are never renewed: the bucket is opened again instead."""

    def __init__(self, credentials: ReadOnlyCredentials) -> None:
        self._credentials = credentials

    def __call__(self) -> Any:
        key, secret, token = self._credentials[:3]
        return {"access_key_id": key, "secret_access_key": secret, "token": token, "expires_at": None}


def _usable() -> bool:
    """Return whether obstore can be used in this process, and note that it is."""
    global _process
    own = os.getpid()
    if not _process:
        _process = own
    return _process == own


def _certificates(path: str, endpoint: str) -> bytes:
    """Return the certificates of a file, or of all files in a folder. Raises botocore's SSLError."""
    try:
        found = Path(path)
        files = sorted(file for file in found.iterdir() if file.is_file()) if found.is_dir() else [found]
        return b"\n".join(file.read_bytes() for file in files)
    except OSError as error:
        raise boto.SSLError(endpoint_url=endpoint, error=OSError(f"{path} cannot be read")) from error


def _proxy(endpoint: str) -> str:
    """Return the address of the proxy that botocore would use, or ""."""
    address = str(get_environ_proxies(endpoint).get(urlsplit(endpoint).scheme, ""))
    return address if not address or "://" in address else f"http://{address.removeprefix('//')}"

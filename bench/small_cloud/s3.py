"""S3's REST API for objects: get, put, copy, list, delete, and uploads in parts; conditional writes.

A bucket exists once it is named, as the host's first label or the path's first segment.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache, partial
from itertools import islice
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape, unescape

from bench.small_cloud.http import Request, answer
from bench.small_cloud.index import KeyIndex

_XML = {"Content-Type": "application/xml"}
_PAGE = 1000
_MISSING = b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
_NO_UPLOAD = b"<Error><Code>NoSuchUpload</Code><Message>The specified upload does not exist.</Message></Error>"
_LOST = b"<Error><Code>PreconditionFailed</Code><Message>A precondition did not hold.</Message></Error>"
_OF_OBJECT = {"GET": "GetObject", "PUT": "PutObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}
_OF_UPLOAD = {"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}
_OF_BUCKET = {"GET": "ListObjectsV2", "HEAD": "HeadBucket", "POST": "DeleteObjects"}
_IPV4 = re.compile(r"[\d.]+")


@dataclass(slots=True)
class _Object:
    """An object as the answer to its GET, so that reading it copies nothing."""

    answer: bytes
    size: int
    etag: str
    modified: str

    @property
    def head(self) -> bytes:
        return self.answer[: len(self.answer) - self.size]

    @property
    def data(self) -> bytes:
        return self.answer[len(self.answer) - self.size :]


@dataclass
class _Upload:
    headers: dict[str, str]
    parts: dict[int, bytes] = field(default_factory=dict)


class _Bucket:
    def __init__(self) -> None:
        self.objects: dict[str, _Object] = {}
        self.keys = KeyIndex(self.objects)

    def put(self, key: str, data: bytes, headers: dict[str, str]) -> _Object:
        etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        about = {
            "ETag": etag,
            "Last-Modified": formatdate(usegmt=True),
            "Content-Type": headers.get("content-type") or "binary/octet-stream",
            "Accept-Ranges": "bytes",
            **{name: value for name, value in headers.items() if name.startswith("x-amz-meta-")},
        }
        found = _Object(answer(200, about, data), len(data), etag, about["Last-Modified"])
        self.objects[key] = found
        self.keys.add(key)
        return found


class S3:
    """All buckets."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}
        self._uploads: dict[str, _Upload] = {}
        self._operations: dict[str, Callable[[_Bucket, str, Request], bytes]] = {
            "GetObject": _get,
            "PutObject": _put,
            "HeadObject": _head,
            "DeleteObject": _delete,
            "CopyObject": self._copy,
            "ListObjectsV2": _list,
            "HeadBucket": lambda bucket, key, request: answer(200),
            "DeleteObjects": _delete_all,
            "CreateMultipartUpload": self._create_upload,
            "UploadPart": self._put_part,
            "CompleteMultipartUpload": self._complete,
            "AbortMultipartUpload": self._abort,
        }

    def find(self, request: Request) -> tuple[str, Callable[[], bytes]]:
        """Return the operation's name, and the function that carries it out and returns the answer."""
        name, key = _place(request.headers.get("host", ""), request.path)
        bucket = self._bucket(name)
        operation = _operation(request, key)
        return operation, partial(self._operations.get(operation, _unknown), bucket, key, request)

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Put an object."""
        self._bucket(bucket).put(key, data, {})

    def _bucket(self, name: str) -> _Bucket:
        return self._buckets.get(name) or self._buckets.setdefault(name, _Bucket())

    def _copy(self, bucket: _Bucket, key: str, request: Request) -> bytes:
        name, _, source_key = unquote(request.headers["x-amz-copy-source"]).lstrip("/").partition("/")
        found = self._buckets.get(name, _Bucket()).objects.get(source_key)
        if found is None:
            return answer(404, _XML, _MISSING)
        if not _holds(bucket, key, request.headers):
            return answer(412, _XML, _LOST)
        copied = bucket.put(key, found.data, request.headers)
        body = (
            f"<CopyObjectResult><ETag>{escape(copied.etag)}</ETag><LastModified>{_iso(copied)}</LastModified>"
            "</CopyObjectResult>"
        )
        return answer(200, _XML, body.encode())

    def _create_upload(self, bucket: _Bucket, key: str, request: Request) -> bytes:
        id_ = secrets.token_hex(8)
        self._uploads[id_] = _Upload(dict(request.headers))
        return answer(
            200,
            _XML,
            f"<InitiateMultipartUploadResult><UploadId>{id_}</UploadId></InitiateMultipartUploadResult>".encode(),
        )

    def _put_part(self, bucket: _Bucket, key: str, request: Request) -> bytes:
        query = parse_qs(request.query)
        upload = self._uploads.get(query["uploadId"][0])
        if upload is None:
            return answer(404, _XML, _NO_UPLOAD)
        upload.parts[int(query["partNumber"][0])] = request.body
        return answer(200, {"ETag": f'"{hashlib.md5(request.body, usedforsecurity=False).hexdigest()}"'})

    def _complete(self, bucket: _Bucket, key: str, request: Request) -> bytes:
        id_ = parse_qs(request.query)["uploadId"][0]
        if id_ not in self._uploads:
            return answer(404, _XML, _NO_UPLOAD)
        if not _holds(bucket, key, request.headers):
            return answer(412, _XML, _LOST)
        upload = self._uploads.pop(id_)
        numbers = [int(number) for number in re.findall(r"<PartNumber>(\d+)</PartNumber>", request.body.decode())]
        put = bucket.put(key, b"".join(upload.parts[number] for number in numbers), upload.headers)
        body = f"<CompleteMultipartUploadResult><ETag>{escape(put.etag)}</ETag></CompleteMultipartUploadResult>"
        return answer(200, _XML, body.encode())

    def _abort(self, bucket: _Bucket, key: str, request: Request) -> bytes:
        self._uploads.pop(parse_qs(request.query)["uploadId"][0], None)
        return answer(204)


def _place(host: str, path: str) -> tuple[str, str]:
    """Return bucket and key, from the host's first label if it has one, else from the path."""
    bucket = _bucket_of(host)
    if bucket:
        return bucket, path[1:]
    bucket, _, key = path[1:].partition("/")
    return bucket, key


@lru_cache(maxsize=64)
def _bucket_of(host: str) -> str:
    name = host.partition(":")[0]
    return "" if name == "localhost" or _IPV4.fullmatch(name) else name.partition(".")[0]


def _operation(request: Request, key: str) -> str:
    method, query = request.method, request.query
    if query and key:
        if "uploadId=" in query:
            return _OF_UPLOAD.get(method, "")
        if method == "POST" and query.startswith("uploads"):
            return "CreateMultipartUpload"
    if method == "PUT" and "x-amz-copy-source" in request.headers:
        return "CopyObject"
    return (_OF_OBJECT if key else _OF_BUCKET).get(method, "")


def _unknown(bucket: _Bucket, key: str, request: Request) -> bytes:
    return answer(501)


def _holds(bucket: _Bucket, key: str, headers: dict[str, str]) -> bool:
    """Return whether a write's condition holds."""
    found = bucket.objects.get(key)
    if headers.get("if-none-match") == "*" and found is not None:
        return False
    wanted = headers.get("if-match")
    return wanted is None or (found is not None and wanted.strip('"') == found.etag.strip('"'))


def _put(bucket: _Bucket, key: str, request: Request) -> bytes:
    if not _holds(bucket, key, request.headers):
        return answer(412, _XML, _LOST)
    return answer(200, {"ETag": bucket.put(key, request.body, request.headers).etag})


def _get(bucket: _Bucket, key: str, request: Request) -> bytes:
    found = bucket.objects.get(key)
    if found is None:
        return answer(404, _XML, _MISSING)
    if "range" not in request.headers:
        return found.answer
    first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
    start = int(first) if first else max(0, found.size - int(last))
    stop = min(found.size, int(last) + 1) if first and last else found.size
    about = {
        "ETag": found.etag,
        "Last-Modified": found.modified,
        "Content-Range": f"bytes {start}-{stop - 1}/{found.size}",
    }
    return answer(206, about, found.data[start:stop])


def _head(bucket: _Bucket, key: str, request: Request) -> bytes:
    found = bucket.objects.get(key)
    return answer(404) if found is None else found.head


def _delete(bucket: _Bucket, key: str, request: Request) -> bytes:
    bucket.objects.pop(key, None)
    return answer(204)


def _delete_all(bucket: _Bucket, key: str, request: Request) -> bytes:
    text = request.body.decode()
    keys = [unescape(found) for found in re.findall(r"<Key>([^<]*)</Key>", text)]
    for deleted in keys:
        bucket.objects.pop(deleted, None)
    quiet = "<Quiet>true</Quiet>" in text
    said = "" if quiet else "".join(f"<Deleted><Key>{escape(deleted)}</Key></Deleted>" for deleted in keys)
    return answer(200, _XML, f"<DeleteResult>{said}</DeleteResult>".encode())


def _list(bucket: _Bucket, key: str, request: Request) -> bytes:
    """Return a page of at most 1,000 objects. The continuation token is the last key of the page before."""
    asked = parse_qs(request.query, keep_blank_values=True)
    prefix = asked.get("prefix", [""])[0]
    after = asked.get("continuation-token", asked.get("start-after", [""]))[0]
    most = min(_PAGE, int(asked.get("max-keys", [str(_PAGE)])[0]))
    delimiter = asked.get("delimiter", [""])[0]
    entries = list(islice(_entries(bucket, prefix, after, delimiter), most + 1))
    page = entries[:most]
    more = len(entries) > most
    token = f"<NextContinuationToken>{escape(page[-1][0])}</NextContinuationToken>" if more else ""
    said = (
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Prefix>{escape(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount><MaxKeys>{most}</MaxKeys>"
        f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{''.join(entry for _, entry in page)}</ListBucketResult>"
    )
    return answer(200, _XML, said.encode())


def _entries(bucket: _Bucket, prefix: str, after: str, delimiter: str) -> Iterator[tuple[str, str]]:
    """Yield the last key and the XML of each entry of a listing: an object, or a common prefix."""
    common = ""
    for key in bucket.keys.after(prefix, after):
        if common and key.startswith(common):
            continue
        rest = key[len(prefix) :]
        if delimiter and delimiter in rest:
            common = prefix + rest.partition(delimiter)[0] + delimiter
            if after.startswith(common):
                continue
            yield f"{common}\U0010ffff", f"<CommonPrefixes><Prefix>{escape(common)}</Prefix></CommonPrefixes>"
            continue
        found = bucket.objects[key]
        yield (
            key,
            f"<Contents><Key>{escape(key)}</Key><LastModified>{_iso(found)}</LastModified>"
            f"<ETag>{escape(found.etag)}</ETag><Size>{found.size}</Size><StorageClass>STANDARD</StorageClass>"
            "</Contents>",
        )


def _iso(found: _Object) -> str:
    return _iso_of(found.modified)


@lru_cache(maxsize=256)
def _iso_of(http_date: str) -> str:
    return parsedate_to_datetime(http_date).strftime("%Y-%m-%dT%H:%M:%S.000Z")

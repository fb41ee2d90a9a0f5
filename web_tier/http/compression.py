"""Compress text answers with gzip for clients that accept it.

1. What is compressed: JSON, HTML, scripts, style sheets, SVG and text exports of `_LEAST` bytes or more. Pictures and
   zip files are compressed already.
2. An export stays a stream: its pieces are compressed as they come, so memory stays flat. An event stream is never
   compressed, because events would wait in the compressor.
3. An answer with a secret (`Answer.secret`) is never compressed: who can make a browser repeat a request and put text
   of his own into the answer learns a secret beside it from the compressed length (BREACH).
4. `Vary` names Accept-Encoding on every answer that could be compressed, also on one that is not.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache, partial

from flask import Flask, Response, current_app, request

from web_tier.http.routes import route_of

_TYPES = frozenset(
    {
        "application/javascript",
        "application/json",
        "application/manifest+json",
        "application/problem+json",
        "application/x-ndjson",
        "image/svg+xml",
        "text/css",
        "text/csv",
        "text/html",
        "text/javascript",
        "text/plain",
    }
)
_LEAST = 1000
"""Bytes. A smaller answer fits into one packet anyway."""
_LEVEL = 1
"""Of results, level 1 leaves 15 % and takes a third of the time that encoding their JSON takes; level 6 leaves 13 %
and takes more than twice as long."""
_LEVEL_KEPT = 6
_GZIP_WINDOW = 31
"""zlib's `wbits` for the largest window with gzip's header."""


def install(app: Flask, same_for_all: Collection[str]) -> None:
    """Compress the answers of `app`. Call this first, so that it sees what other `after_request` functions add.

    Answers of the blueprints in `same_for_all` are compressed once, and kept.
    """
    app.after_request(partial(_compress, frozenset(same_for_all)))


def _compress(same_for_all: frozenset[str], response: Response) -> Response:
    if not _compressible(response):
        return response
    response.vary.add("Accept-Encoding")
    if not _accepted() or "Range" in request.headers:
        return response
    if response.status_code == 304:
        if (response.content_length or 0) >= _LEAST:
            _weaken(response)  # as the answer that it stands for
        return response
    if response.is_streamed and not response.direct_passthrough:
        _compress_stream(response)
    else:
        response.direct_passthrough = False
        plain = response.get_data()
        if len(plain) < _LEAST:
            return response
        kept = request.blueprint in same_for_all
        response.set_data(_compress_once(plain) if kept else zlib.compress(plain, _LEVEL, _GZIP_WINDOW))
    response.headers["Content-Encoding"] = "gzip"
    response.headers.pop("Accept-Ranges", None)
    _weaken(response)
    return response


def _compressible(response: Response) -> bool:
    if response.mimetype not in _TYPES or "Content-Encoding" in response.headers:
        return False
    route = route_of(current_app, request.endpoint) if request.endpoint else None
    return route is None or not route.answer.secret


def _accepted() -> bool:
    """Return whether the client accepts gzip and does not like the plain answer better."""
    accepted = request.accept_encodings
    gzip_quality = float(accepted["gzip"])
    return gzip_quality > 0 and gzip_quality >= float(accepted["identity"])


def _compress_stream(response: Response) -> None:
    source: Iterable[bytes] = response.iter_encoded()
    given = response.response
    response.response = _compressed(source)
    response.headers.pop("Content-Length", None)
    if close := getattr(given, "close", None):
        response.call_on_close(close)


def _compressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    for piece in pieces:
        if some := compressor.compress(piece):
            yield some
    yield compressor.flush()


def _weaken(response: Response) -> None:
    """Make a strong ETag weak: compressed or not, the text is the same, and the bytes are not."""
    tag, _ = response.get_etag()
    if tag:
        response.set_etag(tag, weak=True)


@lru_cache(maxsize=128)
def _compress_once(plain: bytes) -> bytes:
    return gzip.compress(plain, compresslevel=_LEVEL_KEPT, mtime=0)

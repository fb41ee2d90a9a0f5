"""Read a multipart/form-data body part by part, as it arrives, in flat memory.

`PushMultipartParser` splits the body. File names are decoded here, because the package's own decoder strips folders
from names that look like Windows paths and refuses names that are not UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from multipart import MultipartError, MultipartSegment, PushMultipartParser
from werkzeug.http import parse_options_header

from core.domain.messages import MAX_NAME

_CHUNK = 256 * 1024
_MAX_HEAD = 64 * 1024
_MAX_HEADERS = 16

_BACKSLASH = re.compile(r'\\(["\\]?)')
_UNSTORABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class BadMultipart(Exception):
    """The body does not match its Content-Type, or breaks off."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part. `chunks` yields its content; what a reader leaves of it is skipped."""

    field: str
    filename: str | None
    chunks: Iterator[bytes]


def parts(stream: IO[bytes], boundary: str) -> Iterator[Part]:
    """Yield the parts of the body in their order. Only one is open at a time.

    Raises BadMultipart, and what reading from `stream` raises.
    """
    events = _events(stream, boundary.encode("latin-1", "replace"))
    for segment in events:
        if not isinstance(segment, MultipartSegment):
            continue  # the rest of a part that was left unread
        field, filename = _names(segment)
        yield Part(field, filename, _content(events))


def clean_name(name: str) -> str:
    """Return a file name that can be stored and shown: no control characters, no half characters, not too long.

    It stays data: slashes, dots and quotes are kept, and no path is ever made of it.
    """
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", name)[:MAX_NAME]


def _events(stream: IO[bytes], boundary: bytes) -> Iterator[MultipartSegment | bytes | None]:
    """Yield the start of each part, its content in pieces, and None at its end."""
    try:
        parser = PushMultipartParser(
            boundary,
            max_header_size=_MAX_HEAD,
            max_header_count=_MAX_HEADERS,
            header_charset="latin-1",  # keeps every byte, for `_names` to decode
        )
        yield from parser.parse_blocking(getattr(stream, "read1", stream.read), _CHUNK)
    except MultipartError as error:
        raise BadMultipart(f"the multipart body cannot be read: {error}") from None


def _content(events: Iterator[MultipartSegment | bytes | None]) -> Iterator[bytes]:
    while isinstance(event := next(events, None), bytes):
        yield event


def _names(segment: MultipartSegment) -> tuple[str, str | None]:
    """Return the names of the field and of the file. Bytes that are not UTF-8 are replaced."""
    if sum(len(name) + len(value) for name, value in segment.headerlist) > _MAX_HEAD:
        raise BadMultipart(f"the multipart body cannot be read: a part's head is over {_MAX_HEAD // 1024} KiB")
    (value, *_) = (value for name, value in segment.headerlist if name == "Content-Disposition")
    _, options = parse_options_header(_escape(value.encode("latin-1").decode("utf-8", "replace").strip()))
    return options.get("name", ""), options.get("filename")


def _escape(value: str) -> str:
    """Escape each backslash that is part of a file name: browsers escape only quotes."""

    def escape(found: re.Match[str]) -> str:
        closes = found[1] == '"' and found.end() == len(value)
        return found[0] if found[1] and not closes else "\\\\" + found[1]

    return _BACKSLASH.sub(escape, value)

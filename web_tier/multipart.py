"""Reads a multipart/form-data body part by part, as it arrives, in flat memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from werkzeug.datastructures import Headers
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from core.messages import MAX_NAME

_READ = 256 * 1024
_FEED = 16 * 1024
"""Bytes that the decoder gets at once: it searches what it has for a boundary at every step."""
_MAX_HEADERS = 64 * 1024

_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class BadMultipart(Exception):
    """The body is not what its Content-Type says."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part; its content is read from `chunks`, and skipped where that is not read to its end."""

    field: str
    filename: str | None
    chunks: Iterator[bytes]


def parts(stream: IO[bytes], boundary: str) -> Iterator[Part]:
    """The parts of the body, in their order. Only one is open at a time.

    Raises BadMultipart, and what reading from `stream` raises.
    """
    decoder = _Decoder(boundary.encode("latin-1", "replace"))
    source = _slices(stream)
    while not isinstance(event := _next(decoder, source), Epilogue):
        if isinstance(event, File | Field):
            chunks = _content(decoder, source)
            yield Part(event.name or "", event.filename if isinstance(event, File) else None, chunks)
            for _ in chunks:
                pass


def clean_name(name: str) -> str:
    """A file name as it can be stored and shown: no control characters, no half characters, not too long.

    It stays data: slashes, dots and quotes are left as they are, and no path is ever made of it.
    """
    return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", name)[:MAX_NAME]


class _Decoder(MultipartDecoder):
    def _parse_headers(self, data: bytes | bytearray) -> Headers:
        """A file name need not be UTF-8 to be tagged: what is none of it is replaced."""
        return super()._parse_headers(bytes(data).decode("utf-8", "replace").encode())


def _slices(stream: IO[bytes]) -> Iterator[bytes]:
    while data := stream.read(_READ):
        for start in range(0, len(data), _FEED):
            yield data[start : start + _FEED]


def _content(decoder: MultipartDecoder, source: Iterator[bytes]) -> Iterator[bytes]:
    more = True
    while more:
        event = _next(decoder, source)
        assert isinstance(event, Data)  # noqa: S101  # the decoder's grammar: a part's data follows its head
        more = event.more_data
        if event.data:
            yield event.data


def _next(decoder: MultipartDecoder, source: Iterator[bytes]) -> object:
    """The next event that is not a wish for more data."""
    while True:
        try:
            event = decoder.next_event()
        except ValueError as error:
            raise BadMultipart(f"the multipart body cannot be read: {error}") from None
        if not isinstance(event, NeedData):
            return event
        if len(decoder.buffer) > _MAX_HEADERS:  # content never waits in there: it is given out as it comes
            raise BadMultipart(f"the head of a part is longer than {_MAX_HEADERS // 1024} KiB")
        decoder.receive_data(next(source, None))

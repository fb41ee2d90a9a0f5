"""Reads a multipart/form-data body part by part, as it arrives, in flat memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from werkzeug.http import parse_options_header

from core.domain.messages import MAX_NAME

_READ = 256 * 1024
_MAX_HEAD = 64 * 1024
_HEAD_TOO_LONG = f"the head of a part is longer than {_MAX_HEAD // 1024} KiB"

_BACKSLASH = re.compile(r'\\(["\\]?)')
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
    body = _Body(stream, boundary.encode("latin-1", "replace"))
    for _ in body.until_delimiter():
        pass  # what comes before the first part is for nobody
    while not body.at_end():
        field, filename = _disposition(body.head())
        content = body.until_delimiter()
        yield Part(field, filename, content)
        for _ in content:
            pass


def clean_name(name: str) -> str:
    """A file name as it can be stored and shown: no control characters, no half characters, not too long.

    It stays data: slashes, dots and quotes are left as they are, and no path is ever made of it.
    """
    return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", name)[:MAX_NAME]


class _Body:
    """RFC 2046, section 5.1.1, over a buffer that holds little more than what was read last.

    Werkzeug's decoder is not used: where a read ends within the last boundary, it adds a CR to the content.
    """

    def __init__(self, stream: IO[bytes], boundary: bytes) -> None:
        self._stream = stream
        self._delimiter = b"\r\n--" + boundary
        self._buffer = bytearray(b"\r\n")  # so that the first delimiter looks like the others

    def until_delimiter(self) -> Iterator[bytes]:
        """What comes before the next delimiter, which is passed over."""
        while (at := self._buffer.find(self._delimiter)) < 0:
            surely = len(self._buffer) - len(self._delimiter) + 1
            if surely > 0:
                yield self._take(surely)
            self._fill()
        content = self._take(at)
        del self._buffer[: len(self._delimiter)]
        if content:
            yield content

    def at_end(self) -> bool:
        """Whether the delimiter just passed was the last; if not, go to the line after it."""
        while len(self._buffer) < 2:
            self._fill()
        if self._buffer.startswith(b"--"):
            return True
        if self._line().strip(b" \t"):
            raise BadMultipart("the multipart body cannot be read: a line begins like a boundary and is none")
        return False

    def head(self) -> list[bytes]:
        """The header lines of a part, up to the empty one."""
        lines: list[bytes] = []
        while line := self._line():
            lines.append(line)
            if sum(map(len, lines)) > _MAX_HEAD:
                raise BadMultipart(_HEAD_TOO_LONG)
        return lines

    def _line(self) -> bytes:
        while (at := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise BadMultipart(_HEAD_TOO_LONG)
            self._fill()
        line = self._take(at)
        del self._buffer[:2]
        return line

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _fill(self) -> None:
        data = self._stream.read(_READ)
        if not data:
            raise BadMultipart("the multipart body ends in the middle")
        self._buffer += data


def _disposition(lines: list[bytes]) -> tuple[str, str | None]:
    """The name of the field and of the file. A name need not be UTF-8: what is none of it is replaced."""
    for line in lines:
        header, _, value = line.decode("utf-8", "replace").partition(":")
        if header.strip().lower() == "content-disposition":
            _, options = parse_options_header(_escaped(value.strip()))
            return options.get("name", ""), options.get("filename")
    raise BadMultipart("the multipart body cannot be read: a part has no Content-Disposition")


def _escaped(value: str) -> str:
    """With each backslash escaped that stands for itself: browsers write file names as they are, quotes apart."""

    def escape(found: re.Match[str]) -> str:
        closes = found[1] == '"' and found.end() == len(value)
        return found[0] if found[1] and not closes else "\\\\" + found[1]

    return _BACKSLASH.sub(escape, value)

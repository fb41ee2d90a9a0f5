"""Group files into multipart requests that stream from disk.

httpx's own `files=` opens all files at once and reads 64 kB at a time; this body holds one piece of one file.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tagfleet.client._errors import Disconnected, UnreadableFile
from tagfleet.client._transport import Content, Transport

Source = str | os.PathLike[str] | tuple[str, str | os.PathLike[str] | BinaryIO]
"""A path (its file name becomes the image's name), or the image's name with a path or an open binary file."""

MAX_FILES = 20
MAX_BYTES = 8 * 1024 * 1024
_PIECE = 256 * 1024
_TYPE = "Content-Type: application/octet-stream"


@dataclass(frozen=True, slots=True)
class File:
    """One file to upload. `content` is a path, or an open file that is sent from its current position."""

    name: str
    content: Path | BinaryIO
    size: int

    @classmethod
    def of(cls, source: Source) -> File:
        if isinstance(source, tuple):
            name, content = source
        else:
            name, content = Path(source).name, source
        if not isinstance(content, str | os.PathLike):
            return cls._of_open(name, content)
        path = Path(content)
        try:
            return cls(name, path, path.stat().st_size)
        except OSError:
            return cls(name, path, 0)  # opening the file reports why

    @classmethod
    def _of_open(cls, name: str, file: BinaryIO) -> File:
        if not file.seekable():  # a retry sends it again
            file = io.BytesIO(file.read())
        start = file.tell()
        size = file.seek(0, io.SEEK_END) - start
        file.seek(start)
        return cls(name, file, size)

    @property
    def plain_name(self) -> str:
        """The name as the service receives it: surrogates are replaced."""
        return self.name.encode("utf-8", "replace").decode()

    def sha256(self) -> str:
        """Return the hash of the content that would be sent. Raises UnreadableFile."""
        if not isinstance(self.content, Path):
            start = self.content.tell()
            try:
                return hashlib.file_digest(self.content, "sha256").hexdigest()  # type: ignore[arg-type]  # a binary file
            finally:
                self.content.seek(start)
        try:
            with self.content.open("rb", buffering=0) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise UnreadableFile(self.name, error.strerror or str(error), self) from None


def grouped(sources: Iterable[Source]) -> Iterator[list[File]]:
    """Yield groups of up to `MAX_FILES` files and about `MAX_BYTES`; a larger file is sent alone or ends its group."""
    group: list[File] = []
    size = 0
    for source in sources:
        file = File.of(source)
        if group and (len(group) == MAX_FILES or size + file.size > MAX_BYTES):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size
    if group:
        yield group


class OpenGroup:
    """The open files of one request, and its body. Raises UnreadableFile if a file cannot be opened."""

    def __init__(self, files: list[File], transport: Transport) -> None:
        self._transport = transport
        self._boundary = secrets.token_hex(16)
        self._stack = ExitStack()
        self._parts: list[tuple[File, bytes, BinaryIO, int, int]] = []
        try:
            for file in files:
                self._add(file)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> OpenGroup:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()

    def content(self) -> Content:
        """Return the request's body."""
        ending = f"--{self._boundary}--\r\n".encode()
        length = sum(len(head) + size + 2 for _, head, _, _, size in self._parts) + len(ending)
        return Content(f"multipart/form-data; boundary={self._boundary}", length, lambda: self._pieces(ending))

    def _add(self, file: File) -> None:
        size = file.size
        if isinstance(file.content, Path):
            try:
                opened: BinaryIO = self._stack.enter_context(file.content.open("rb", buffering=0))
                size = os.fstat(opened.fileno()).st_size
            except OSError as error:
                raise UnreadableFile(file.name, error.strerror or str(error), file) from None
        else:
            opened = file.content
            self._stack.callback(opened.seek, opened.tell())  # so that a failed call can be repeated
        disposition = f'form-data; name="files"; filename="{_quoted(file.name)}"'
        head = f"--{self._boundary}\r\nContent-Disposition: {disposition}\r\n{_TYPE}\r\n\r\n"
        self._parts.append((file, head.encode("utf-8", "replace"), opened, opened.tell(), size))

    def _pieces(self, ending: bytes) -> Iterator[bytes]:
        for file, head, opened, start, size in self._parts:
            opened.seek(start)
            left = size
            before = head
            while left:
                if self._transport.stopping.is_set():
                    raise Disconnected
                piece = _read(file, opened, min(left, _PIECE))
                left -= len(piece)
                yield before + piece if left else b"".join((before, piece, b"\r\n"))
                before = b""
            if not size:
                yield head + b"\r\n"
        yield ending


def _read(file: File, opened: BinaryIO, count: int) -> bytes:
    try:
        piece = opened.read(count)
    except OSError as error:
        raise UnreadableFile(file.name, error.strerror or str(error), file) from None
    if not piece:
        raise UnreadableFile(file.name, "it became shorter while it was sent", file)
    return piece


def _quoted(name: str) -> str:
    """Escape a file name as browsers do in multipart/form-data (WHATWG HTML, 4.10.22.8)."""
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")

"""Name downloads, and the files in an archive, so that it unpacks on every system and overwrites nothing."""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from urllib.parse import quote

from core.util.file_names import colliding_name, safe_part

_MAX_PART = 180
"""Bytes of one part of a path. File systems take 255; an extension and a number are added."""

_MAX_FOLDERS = 16
_MAX_TITLE = 150
_CACHE_KB = 4000
_DIRECTION_MARKS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Marks of writing direction, which can make a name look as if it had another extension."""

_UNQUOTED = "!#$&+-.^_`|~"
"""Characters that RFC 8187 leaves as they are, beside letters and digits."""


def safe_path(name: str) -> str:
    """Return `name` as a relative path: no parent folder, no drive, no device, nothing that a file system refuses.

    No folder gets a name that a sidecar might have.
    """
    parts = [safe_part(part, _MAX_PART) for part in name.replace("\\", "/").split("/")]
    kept = [part for part in parts if part]
    folders = [part + "_" if part.lower().endswith(".xmp") else part for part in kept[-_MAX_FOLDERS:-1]]
    return "/".join([*folders, *kept[-1:]]) or "image"


class UniqueNames:
    """Returns each path once, numbered if a file system might take it for an earlier one. Close it after use.

    The paths given so far are in a temporary database, of which SQLite keeps at most `_CACHE_KB` in memory.
    """

    def __init__(self) -> None:
        self._given = sqlite3.connect("", isolation_level=None, check_same_thread=False)  # "": a file without a name
        self._given.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
        self._given.execute("CREATE TABLE given (key TEXT PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID")
        self._given.execute("BEGIN")

    def __call__(self, path: str) -> str:
        unique, key = path, colliding_name(path)
        found = key
        while self._is_given(found):
            unique = _numbered(path, self._count(key))
            found = colliding_name(unique)
        self._given.execute("INSERT INTO given VALUES (?, 1)", (found,))
        return unique

    def close(self) -> None:
        self._given.close()

    def _is_given(self, key: str) -> bool:
        return self._given.execute("SELECT 1 FROM given WHERE key = ?", (key,)).fetchone() is not None

    def _count(self, key: str) -> int:
        """Count one path more of this key, and return how many there are."""
        counting = "UPDATE given SET times = times + 1 WHERE key = ? RETURNING times"
        return int(self._given.execute(counting, (key,)).fetchall()[0][0])


def attachment(title: object, otherwise: str, extension: str) -> str:
    """Return the header Content-Disposition (RFC 6266) that names a download after `title`.

    If `title` is not text, or nothing of it can be in a name, `otherwise` replaces it. Programs that only know ASCII
    get the letters without accents.
    """
    stem = _stem(title) if isinstance(title, str) else ""
    name = (stem or otherwise) + extension
    letters = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode().replace("%", "_")
    plain = (_stem(letters) or otherwise) + extension
    header = f'attachment; filename="{plain}"'
    return header if plain == name else f"{header}; filename*=UTF-8''{quote(name, safe=_UNQUOTED)}"


def _stem(title: str) -> str:
    text = _DIRECTION_MARKS.sub("", unicodedata.normalize("NFC", " ".join(title.split())))
    return safe_part(text.lstrip(". "), _MAX_TITLE)


def _numbered(path: str, number: int) -> str:
    """Return `a/b.jpg` as `a/b (2).jpg`."""
    folder, slash, file = path.rpartition("/")
    stem, dot, extension = file.rpartition(".")
    if not stem:
        stem, dot, extension = file, "", ""
    return f"{folder}{slash}{stem} ({number}){dot}{extension}"

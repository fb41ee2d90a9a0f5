"""Names of uploads as names of files in an archive, which can be unpacked anywhere and overwrite nothing; and names of
downloads.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

from core.util.file_names import colliding_name, safe_part

_LONGEST = 180
"""Bytes of one part of a path: file systems take 255, and an ending and a number are added."""

_MOST_FOLDERS = 16
_LONGEST_TITLE = 150
_DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Marks of the direction of writing, by which a name can look as if it had another ending."""

_ATTRIBUTE = "!#$&+-.^_`|~"
"""What RFC 8187 lets stand as it is, beside letters and digits."""


def safe_path(name: str) -> str:
    """`name` as a relative path: no parent folder, no drive, no device, nothing that a file system refuses.

    No folder is called as a sidecar might be.
    """
    parts = [safe_part(part, _LONGEST) for part in name.replace("\\", "/").split("/")]
    kept = [part for part in parts if part]
    folders = [part + "_" if part.lower().endswith(".xmp") else part for part in kept[-_MOST_FOLDERS:-1]]
    return "/".join([*folders, *kept[-1:]]) or "image"


class UniqueNames:
    """Gives each path once, numbered where a file system might take it for one that was given before."""

    def __init__(self) -> None:
        self._given: dict[str, int] = {}

    def __call__(self, path: str) -> str:
        unique, key = path, colliding_name(path)
        while (found := colliding_name(unique)) in self._given:
            number = self._given[key] = self._given[key] + 1
            unique = _numbered(path, number)
        self._given[found] = 1
        return unique


def attachment(title: object, otherwise: str, ending: str) -> str:
    """Return the header Content-Disposition that names a download after `title`, as RFC 6266 has it.

    Where `title` is no text or leaves nothing of a name, `otherwise` takes its place. Programs that know ASCII only
    get the letters without their accents.
    """
    stem = _stem(title) if isinstance(title, str) else ""
    name = (stem or otherwise) + ending
    letters = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode().replace("%", "_")
    plain = (_stem(letters) or otherwise) + ending
    header = f'attachment; filename="{plain}"'
    return header if plain == name else f"{header}; filename*=UTF-8''{quote(name, safe=_ATTRIBUTE)}"


def _stem(title: str) -> str:
    text = _DIRECTIONS.sub("", unicodedata.normalize("NFC", " ".join(title.split())))
    return safe_part(text.lstrip(". "), _LONGEST_TITLE)


def _numbered(path: str, number: int) -> str:
    """`a/b.jpg` as `a/b (2).jpg`."""
    folder, slash, file = path.rpartition("/")
    stem, dot, ending = file.rpartition(".")
    if not stem:
        stem, dot, ending = file, "", ""
    return f"{folder}{slash}{stem} ({number}){dot}{ending}"

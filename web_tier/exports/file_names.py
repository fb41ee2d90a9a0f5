"""Names of uploads as names of files in an archive, which can be unpacked anywhere and overwrite nothing."""

from __future__ import annotations

import re

_LONGEST = 180
"""Bytes of one part of a path: file systems take 255, and an ending and a number are added."""

_MOST_FOLDERS = 16
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)


def safe_path(name: str) -> str:
    """`name` as a relative path: no parent folder, no drive, no device, nothing that a file system refuses.

    No folder is called as a sidecar might be.
    """
    parts = [_safe_part(part) for part in name.replace("\\", "/").split("/")]
    kept = [part for part in parts if part]
    folders = [part + "_" if part.lower().endswith(".xmp") else part for part in kept[-_MOST_FOLDERS:-1]]
    return "/".join([*folders, *kept[-1:]]) or "image"


class UniqueNames:
    """Gives each path once, numbered where it was given before; upper and lower case make no difference."""

    def __init__(self) -> None:
        self._given: dict[str, int] = {}

    def __call__(self, path: str) -> str:
        unique = path
        while unique.casefold() in self._given:
            number = self._given[path.casefold()] = self._given[path.casefold()] + 1
            unique = _numbered(path, number)
        self._given[unique.casefold()] = 1
        return unique


def _numbered(path: str, number: int) -> str:
    """`a/b.jpg` as `a/b (2).jpg`."""
    folder, slash, file = path.rpartition("/")
    stem, dot, ending = file.rpartition(".")
    if not stem:
        stem, dot, ending = file, "", ""
    return f"{folder}{slash}{stem} ({number}){dot}{ending}"


def _safe_part(part: str) -> str:
    clean = _FORBIDDEN.sub("_", part).strip().rstrip(". ")
    clean = clean.encode()[:_LONGEST].decode(errors="ignore").rstrip(". ")
    return f"_{clean}" if _RESERVED.match(clean) else clean

"""Choose the files to send below the given paths, and their names."""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_TYPES = mimetypes.MimeTypes(())
"""Python's own table: the result must not depend on this machine's /etc/mime.types."""
_NO_IMAGES = frozenset(
    f".{extension}"
    for extension in (
        *("7z", "a", "aae", "cfg", "conf", "db", "dll", "docx", "exe", "gz", "ini", "lock", "log", "lrv", "m4v", "md"),
        *("mkv", "o", "odt", "pptx", "rar", "rst", "so", "tgz", "thm", "toml", "torrent", "xlsx", "xmp", "yaml", "yml"),
    )
)
"""Extensions that often occur beside photos and are missing from that table."""

_UNREADABLE = "cannot be read"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass
class FoundFiles:
    """`files` maps each image's name to its path, in sending order; `passed_over` has the other files by reason.

    `title` is the name of the single folder that was given, otherwise empty.
    """

    files: dict[str, Path] = field(default_factory=dict)
    passed_over: dict[str, list[str]] = field(default_factory=dict)
    title: str = ""


def find(paths: Sequence[Path]) -> FoundFiles:
    """Return the given files, and the files to send in the given folders.

    Names are relative to the given folder; with several paths they begin with that folder's name. Inside a folder, pass
    over hidden files, unreadable files, links to folders, and files whose extension shows that they are not images.
    Include files with an unknown extension, or none: the service looks at the bytes.
    """
    found = FoundFiles()
    if len(paths) == 1 and paths[0].is_dir():
        found.title = _text(paths[0].resolve().name)
    for path in paths:
        if not path.is_dir():
            _add(found, path.name, path)
            continue
        prefix = f"{path.resolve().name}/" if len(paths) > 1 else ""
        for relative in _walk(path, found.passed_over):
            _add(found, prefix + relative, path / relative)
    return found


def _walk(folder: Path, passed_over: dict[str, list[str]]) -> Iterator[str]:
    def pass_over(reason: str, path: Path) -> None:
        passed_over.setdefault(reason, []).append(path.relative_to(folder).as_posix())

    def on_error(error: OSError) -> None:
        pass_over(_UNREADABLE, Path(error.filename))

    for here, folders, names in os.walk(folder, onerror=on_error):
        below = frozenset(folders)
        for name in sorted((*folders, *names)):
            path = Path(here, name)
            if reason := "hidden" if name.startswith(".") else _unwanted(path, is_folder=name in below):
                pass_over(reason, path)
            elif name not in below:
                yield path.relative_to(folder).as_posix()
        folders[:] = sorted(name for name in folders if not name.startswith("."))


def _unwanted(path: Path, *, is_folder: bool) -> str:
    """Return why a path is passed over, or an empty string. `os.walk` reports unreadable folders."""
    try:
        is_link, is_file = path.is_symlink(), path.is_file()
    except OSError:  # no permission to the folder it is in, or too long a path
        return "" if is_folder else _UNREADABLE
    if is_link and not is_file:
        return "links to folders or to nothing"
    if is_folder:
        return ""
    extension = path.suffix.lower()
    kind, _ = _TYPES.guess_type(f"x{extension}", strict=False)
    known = kind and kind != "application/octet-stream"
    if extension in _NO_IMAGES or (known and not str(kind).startswith("image/")):
        return "not images by their extension"
    return "" if is_file else "not regular files"


def _add(found: FoundFiles, name: str, path: Path) -> None:
    """Add a file, unless it is there already. A second file with the same name gets its whole path as its name."""
    other = found.files.get(_text(name))
    if other is not None:
        if other.resolve() == path.resolve():
            return
        name = path.as_posix().lstrip("/")
    found.files[_text(name)] = path


def _text(name: str) -> str:
    """Return a name as the service will keep it: invalid UTF-8 and control characters are replaced."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", os.fsencode(name).decode("utf-8", "replace"))

"""Reads and merges the sources of settings: defaults.toml < file < TAGFLEET_* environment < flags. Checks no values."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX = "TAGFLEET_"
RENAMED: Mapping[str, Mapping[str, str]] = {
    "controller": {
        "peek_s": "poll_s",
        "linger_s": "idle_keep_s",
        "foresee": "forecast",
        "drain_goal_s": "backlog_target_s",
    },
    "worker": {"look_s": "reload_s"},
}
"""Section → old name → new name. The old names are read in every source until the next release."""

_DEFAULTS = Path(__file__).with_name("defaults.toml")
_NOT_SETTINGS = {
    PREFIX + name
    for name in ("CONFIG", "URL", "API_KEY", "CATALOG_TARGET", "TEST_DATA", "INSTANCE", "LIFELINE", "PULSE")
}
"""Variables with our prefix that are for one command or for tests, and are not settings."""


class BadSetting(Exception):
    """A setting is unknown, missing or out of range; the text is one line that names it."""


@dataclass(frozen=True, slots=True)
class Document:
    """A settings file that is on no disk here; `name` is for messages."""

    name: str
    text: str


def merge_sources(
    environ: Mapping[str, str], file: Path | Document | None, flags: Mapping[str, Any], tell: Callable[[str], object]
) -> dict[str, Any]:
    """Return all settings by section; those of a later source win, whatever name they go by.

    `tell` gets a line for each old name. Raises BadSetting.
    """
    merged = tomllib.loads(_DEFAULTS.read_text())
    chosen = file or (Path(environ[PREFIX + "CONFIG"]) if environ.get(PREFIX + "CONFIG") else None)
    if chosen is not None:
        name = chosen.name if isinstance(chosen, Document) else str(chosen)
        found = _read(chosen)
        _rename(found, lambda setting: f"settings file {name}: {setting}", tell)
        _merge(merged, found)
    found = _from_environment(environ, merged)
    _rename(found, lambda setting: f"environment variable {_variable(setting)}", tell)
    _merge(merged, found)
    found = {}
    for dotted, value in flags.items():
        if value is not None:
            _merge(found, _nested(dotted.split("."), value))
    _rename(found, lambda setting: f"setting {setting}", tell)
    _merge(merged, found)
    return merged


def without_old_names(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables, leaving out old names of settings."""
    old = {_variable(f"{section}.{name}") for section, names in RENAMED.items() for name in names}
    return {name: value for name, value in environ.items() if name not in old}


def _rename(found: dict[str, Any], describe: Callable[[str], str], tell: Callable[[str], object]) -> None:
    """Give the settings of one source their new names. Raises BadSetting if it gives one by both names."""
    for section, names in RENAMED.items():
        values = found.get(section)
        if not isinstance(values, dict):
            continue
        for old, new in names.items():
            if old not in values:
                continue
            before, after = describe(f"{section}.{old}"), f"{section}.{new}"
            if new in values:
                raise BadSetting(f"{before} is the old name of {after}, which is given too: keep {after} alone")
            values[new] = values.pop(old)
            tell(f"{before} is now called {after}; the old name works in this release for the last time")


def _variable(setting: str) -> str:
    return PREFIX + setting.upper().replace(".", "__")


def _read(file: Path | Document) -> dict[str, Any]:
    name, text = (file.name, file.text) if isinstance(file, Document) else (str(file), None)
    try:
        return tomllib.loads(Path(name).read_text(encoding="utf-8") if text is None else text)
    except OSError as error:
        raise BadSetting(f"settings file {name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadSetting(f"settings file {name}: it is not text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise BadSetting(f"settings file {name}: {error}") from None


def _from_environment(environ: Mapping[str, str], known: Mapping[str, Any]) -> dict[str, Any]:
    """TAGFLEET_WORKER__BATCH_SIZE=16 → {"worker": {"batch_size": "16"}}. Raises BadSetting for an unknown section."""
    found: dict[str, Any] = {}
    for name, value in environ.items():
        if not name.startswith(PREFIX) or name in _NOT_SETTINGS:
            continue
        path = name[len(PREFIX) :].lower().split("__")
        if path[0] not in known:
            raise BadSetting(f"environment variable {name}: there is no setting {'.'.join(path)!r}")
        if path[0] == "pools" and len(path) > 1:
            path[1] = path[1].replace("_", "-")
        _merge(found, _nested(path, value))
    return found


def _nested(path: list[str], value: Any) -> dict[str, Any]:
    for part in reversed(path):
        value = {part: value}
    return value  # type: ignore[no-any-return]  # a path has at least one part


def _merge(into: dict[str, Any], new: Mapping[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value

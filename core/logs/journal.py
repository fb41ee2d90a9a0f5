"""Reads the output of this machine's units, in order, from systemd's journal by `journalctl`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from core.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Entry:
    cursor: str
    """The journal's name for this position. Reading can continue after it, even in a later boot."""
    at_ms: int
    """Unix milliseconds."""
    unit: str
    """The unit's name without `.service`; `systemd` if it is none of ours."""
    message: str


class Journal:
    """The entries of `units`, and what systemd says about them. `command` is for tests."""

    def __init__(self, units: Sequence[str], *, command: Sequence[str] = ("journalctl",)) -> None:
        self._units = {f"{unit}.service": unit for unit in units}
        self._command = [
            *command,
            *("--quiet", "--all", "--no-pager", "--output=json"),
            *(f"--unit={name}" for name in self._units),
        ]

    def after(self, cursor: str, most: int) -> list[Entry]:
        """Return up to `most` entries after `cursor`, or from the start of this boot if it is empty.

        Raises Unavailable if the journal cannot be read.
        """
        where = f"--after-cursor={cursor}" if cursor else "--boot"
        try:
            process = subprocess.Popen(  # noqa: S603  # systemd's own command
                [*self._command, where], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
            )
        except OSError as error:
            raise Unavailable(f"the journal cannot be read: {error}") from None
        with process:
            assert process.stdout is not None  # noqa: S101  # for the type checker: they are pipes
            assert process.stderr is not None  # noqa: S101
            found: list[Entry] = []
            for line in process.stdout:
                found += self._entries(line)
                if len(found) >= most:
                    process.kill()
                    return found
            said = process.stderr.read().decode("utf-8", "replace").strip()
        if process.returncode and not found:
            raise Unavailable(f"the journal cannot be read: {said or f'journalctl ended with {process.returncode}'}")
        return found

    def _entries(self, line: bytes) -> Iterator[Entry]:
        """Yield the line's entry, or nothing if it has no cursor or time."""
        with suppress(ValueError, KeyError, TypeError):
            fields: dict[str, Any] = json.loads(line)
            names = (fields.get(name) for name in ("UNIT", "_SYSTEMD_UNIT", "COREDUMP_UNIT"))
            unit = next(
                (self._units[name] for name in names if isinstance(name, str) and name in self._units), "systemd"
            )
            at_ms = int(fields["__REALTIME_TIMESTAMP"]) // 1000
            yield Entry(str(fields["__CURSOR"]), at_ms, unit, _text(fields.get("MESSAGE")))


def _text(message: Any) -> str:
    """Return a message as text. The journal writes invalid UTF-8 as a list of bytes, and repeated fields as a list."""
    if isinstance(message, list):
        if all(isinstance(each, int) for each in message):
            return bytes(message).decode("utf-8", "replace")
        return "\n".join(_text(each) for each in message)
    return message if isinstance(message, str) else ""

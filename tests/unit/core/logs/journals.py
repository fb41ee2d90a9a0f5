"""Journals of systemd for tests: real files, read by the real journalctl."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import pytest

from core.logs.journal import Journal

_REMOTE = Path("/lib/systemd/systemd-journal-remote")
"""Of Debian's package systemd-journal-remote: it writes entries into a journal's file."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class JournalFile:
    """A journal of this boot. `read` are the entries of the worker's unit and the web tier's."""

    def __init__(self, folder: Path) -> None:
        if not _REMOTE.exists() or shutil.which("journalctl") is None:
            pytest.skip("no systemd-journal-remote: apt-get install systemd-journal-remote")
        self._file = folder / "system.journal"
        self._export = folder / "export"
        self._boot = _BOOT.read_text().strip().replace("-", "")
        self._numbers = count(1)
        self.command = ("journalctl", f"--file={self._file}")

    def write(self, *entries: tuple[str, str] | dict[str, str]) -> None:
        """Add entries: unit and message, or fields."""
        text = b"".join(
            self._entry(each if isinstance(each, dict) else {"_SYSTEMD_UNIT": f"{each[0]}.service", "MESSAGE": each[1]})
            for each in entries
        )
        self._export.write_bytes(text)
        subprocess.run([_REMOTE, "-o", self._file, self._export], check=True, capture_output=True)

    def journal(self, units: Sequence[str] = ("tagfleet-worker", "tagfleet-web")) -> Journal:
        return Journal(units, command=self.command)

    def _entry(self, fields: dict[str, str]) -> bytes:
        number = next(self._numbers)
        told = {
            "__CURSOR": f"c{number}",
            "__REALTIME_TIMESTAMP": str(int(time.time() * 1e6) + number * 1000),
            "__MONOTONIC_TIMESTAMP": str(1_000_000 + number * 1000),
            "_BOOT_ID": self._boot,
            **fields,
        }
        return b"".join(_field(name, value) for name, value in told.items()) + b"\n"


def _field(name: str, value: str) -> bytes:
    """As systemd's export format has it: what holds line breaks comes with its length."""
    data = value.encode("utf-8", "surrogateescape")
    if b"\n" in data or not data.isascii():
        return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
    return name.encode() + b"=" + data + b"\n"

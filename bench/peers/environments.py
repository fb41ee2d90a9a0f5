"""Make a virtual environment for each peer at its first use.

torch, OpenVINO and numpy come from this checkout's environment, which is on the path behind the peer's own packages, so
that each costs 70 to 500 MB instead of 6 GB.
"""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

from core.util.interpreter import python_command

_HERE = Path(__file__).parent
_MADE_WITHIN_S = 600


class NotInstalled(Exception):
    """A peer cannot be installed here; the message says why."""


def python(name: str) -> Path:
    """Return the interpreter of the peer's environment, made if it is missing. Raises NotInstalled."""
    folder = _HERE / f".venv-{name}"
    wanted = (_HERE / f"requirements-{name}.txt").read_text()
    made_of = folder / "made-of.txt"
    if not made_of.is_file() or made_of.read_text() != wanted:
        _make(folder, name)
        made_of.write_text(wanted)
    return folder / "bin" / "python"


def version(name: str) -> str:
    """Return the pinned version."""
    return (_HERE / f"requirements-{name}.txt").read_text().split()[0].partition("==")[2]


def _make(folder: Path, name: str) -> None:
    interpreter = folder / "bin" / "python"
    try:
        _run(python_command("-m", "venv", "--clear", str(folder)))
        wanted = _HERE / f"requirements-{name}.txt"
        _run([str(interpreter), "-P", "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(wanted)])
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:] or [f"exit code {error.returncode}"]
        raise NotInstalled(last[0]) from None
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"not done after {_MADE_WITHIN_S} s") from None
    behind = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    Path(behind, "zz_tagfleet.pth").write_text(sysconfig.get_path("purelib") + "\n")


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=_MADE_WITHIN_S)

"""No process of ours takes a module from the folder that it happens to be started in."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.imaging.sandbox import Sandbox
from core.util.interpreter import ROOT, module_command, python_command
from tests.hostile_folder import HostileFolder

PACKAGES = ("tagfleet", "core", "config", "app_tier", "web_tier", "controller", "training", "ami", "bench")
HOME = ROOT / "core" / "util" / "interpreter.py"


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HostileFolder:
    folder = HostileFolder(tmp_path / "hostile")
    monkeypatch.chdir(folder.folder)
    return folder


def test_a_planted_module_would_be_executed_without_care(hostile):
    done = subprocess.run([sys.executable, "-m", "tagfleet", "version"], capture_output=True, check=False)
    assert done.returncode != 0
    assert hostile.executed


@pytest.mark.parametrize(
    "command",
    [
        module_command("tagfleet", "version"),
        module_command("bench", "--help"),
        module_command("core.imaging.sandbox", "600", "10", "0", "30"),
        python_command("-c", "import select, json, signal"),
        [str(Path(sys.executable).with_name("tagfleet")), "version"],
    ],
    ids=lambda command: " ".join(command[-2:]),
)
def test_the_current_folder_is_on_no_path_of_ours(hostile, command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, hostile.executed) == (0, []), done.stderr


def test_a_checkout_that_is_not_installed_can_be_run(tmp_path, hostile):
    """Its packages are found behind all others, and nothing in it hides the library."""
    checkout = tmp_path / "checkout"
    (checkout / "core" / "util").mkdir(parents=True)
    (checkout / "ours").mkdir()
    for name in ("core/__init__.py", "core/util/__init__.py", "ours/__init__.py", "select.py"):
        (checkout / name).write_text("")
    (checkout / "core" / "util" / "interpreter.py").write_text(HOME.read_text())
    (checkout / "ours" / "__main__.py").write_text("import select, sys; print(select.select and sys.argv[1:])")
    script = (
        "import sys; del sys.path[0]; import functools, importlib.machinery, pathlib, subprocess; "
        f"sys.path.insert(0, {str(checkout)!r}); from core.util.interpreter import module_command; "
        "sys.exit(subprocess.call(module_command('ours', 'a')))"
    )
    command = [sys.executable, "-S", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, hostile.executed) == ("['a']\n", []), done.stderr


def test_decoders_are_started_with_care(hostile, data):
    photo = (data / "photos" / "parrot.jpg").read_bytes()
    sandbox = Sandbox(600, 60.0)
    try:
        assert sandbox.pixels(photo, 224).mode == "RGB"
        assert sandbox.thumbnail(photo, 256).startswith(b"\xff\xd8")
    finally:
        sandbox.close()
    assert hostile.executed == []


def test_nothing_else_starts_python():
    """Whoever needs a Python asks `core.util.interpreter` for its command."""
    found = []
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if path != HOME):
        if ".venv" in str(path):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            executable = isinstance(node, ast.Attribute) and node.attr in ("executable", "_base_executable")
            imported = isinstance(node, ast.ImportFrom) and any(one.name == "executable" for one in node.names)
            if executable or imported or _starts_without_care(node):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def _starts_without_care(node: ast.AST) -> bool:
    """A command line, written as a list or tuple, with an interpreter's `-m` or `-c` and no `-P` or `-I` before it."""
    if not isinstance(node, ast.List | ast.Tuple):
        return False
    words = [word.value if isinstance(word, ast.Constant) else None for word in node.elts]
    named = [n for n, word in enumerate(words) if word == "-m" or (word == "-c" and n == 1)]
    if not named or named[0] == 0 or words[0] in ("/bin/sh", "bash", "sh"):
        return False
    return not {"-P", "-I"} & set(words[: named[0]])


def test_scripts_of_the_image_start_python_with_care():
    lines = [line for path in (ROOT / "ami").glob("*.sh") for line in path.read_text().splitlines()]
    starts = [line for line in lines if re.search(r"python[\"'0-9.]*\s+(-\w+ )*-[mc]\b", line)]
    assert len(starts) > 5
    assert [line for line in starts if not re.search(r"python[\"'0-9.]*\s+-[PI] ", line)] == []


def test_units_start_the_console_script():
    """Its path begins with the folder it lies in, which is root's."""
    units = list((ROOT / "ami" / "units").glob("tagfleet-*.service"))
    assert len(units) > 3
    for unit in units:
        assert "ExecStart=/opt/tagfleet/venv/bin/tagfleet " in unit.read_text()


TRAP = """
#include <stdio.h>
__attribute__((constructor)) static void say(void) { fputs("executed", stderr); }
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_torch_loads_no_library_from_the_current_folder(hostile):
    """One of NVIDIA's beside it looks there: a stranger's `libcuda.so.1` would be executed."""
    library = str(hostile.folder / "libcuda.so.1")
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", library], input=TRAP, text=True, check=True)
    script = (
        "import os; from core.util.interpreter import import_torch_aside; import_torch_aside(); import_torch_aside(); "
        "here = os.getcwd(); import torch; print(os.getcwd() == here, torch.__spec__.loader.path == torch.__file__)"
    )
    done = subprocess.run(python_command("-c", script), capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True True\n", "")

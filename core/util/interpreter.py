"""Builds the command lines that start Python; no other module does.

With `-m` or `-c`, Python searches the current folder before its own library, so it would execute a file `select.py`
there instead of the library's. `-P` (safe path) excludes that folder. It is a flag and not an environment variable, so
that it does not affect a child's own children.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds our packages: `site-packages`, or a checkout."""

_FROM_ROOT = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
"""A script that runs a module from `ROOT`. `ROOT` is last on the path, so that it hides no module of the library."""


def python_command(*arguments: str) -> list[str]:
    """Return the command that runs this interpreter with `arguments`, without the current folder on its path."""
    return [sys.executable, "-P", *arguments]


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs one of our modules as `python -m` does."""
    if _is_installed(module.partition(".")[0]):
        return python_command("-m", module, *arguments)
    return python_command("-c", _FROM_ROOT, str(ROOT), module, *arguments)


def again() -> list[str]:
    """Return the command that starts this process again, with the interpreter's flags."""
    return [sys.executable, *sys.orig_argv[1:]]


@cache
def _is_installed(package: str) -> bool:
    """Return whether a Python started in another folder finds `package`. The current folder alone does not count."""
    if package == "bench":
        return False  # never installed: it runs from a checkout
    elsewhere = list(_paths_elsewhere())
    for finder in sys.meta_path:
        found = (
            PathFinder.find_spec(package, elsewhere)
            if finder is PathFinder
            else finder.find_spec(package, None)  # of an editable installation, for instance
        )
        if found is not None:
            return True
    return False


def _paths_elsewhere() -> Iterable[str]:
    first = None if sys.flags.safe_path or not sys.path else sys.path[0]
    return (path for number, path in enumerate(sys.path) if path and not (number == 0 and path == first))


class _Aside(SourceFileLoader):
    """Executes a module with the root folder as the current one."""

    def exec_module(self, module: ModuleType) -> None:
        here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.chdir("/")
            super().exec_module(module)
        finally:
            os.fchdir(here)
            os.close(here)


class _TorchAside(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "torch":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Aside(spec.loader.name, spec.loader.path)
        return spec


def import_torch_aside() -> None:
    """Make later imports of torch run with the root folder as the current one.

    A library in torch (NVIDIA's cuSPARSELt) has an empty entry in its run path, which the loader takes for the current
    folder: it would execute a file `libcuda.so.1` there.
    """
    if not any(isinstance(finder, _TorchAside) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TorchAside())

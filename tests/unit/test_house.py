"""The whole repository: style, types, the directions of its imports, and the shape of its functions and classes.

Each rule of shape has a set of the places that still break it. A set can only shrink: the test fails for a new
offender, and also for a listed one that keeps the rule by now. Nobody adds a line to a set.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Set
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("web_tier", "app_tier", "controller", "core", "config", "ami", "training", "tagfleet", "bench")

MOST_PARAMETERS = 7
LONG_PARAMETER_LISTS: set[str] = set()
MOST_ATTRIBUTES = 14
LARGE_CLASSES = {
    "web_tier/server/protocol.py: GuardedProtocol",
}
WITHOUT_DOCSTRING: set[str] = set()
ALLOWED_IMPORTS: dict[str, str] = {}
"""Exceptions to import-linter's contracts ("importer -> imported"), each with its reason."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "command", [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",), ("lint-imports",)], ids=" ".join
)
def test_the_house_is_in_order(command: tuple[str, ...]) -> None:
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_function_has_a_long_parameter_list() -> None:
    check(
        {
            place
            for place, function in definitions()
            if isinstance(function, Function)
            and count_parameters(function) > MOST_PARAMETERS
            and not is_click_command(function)
            and not place.startswith("tagfleet/client/")
        },
        LONG_PARAMETER_LISTS,
    )


def test_no_class_has_many_attributes() -> None:
    check(
        {
            place
            for place, found in definitions()
            if isinstance(found, ast.ClassDef) and len(attributes(found)) > MOST_ATTRIBUTES
        },
        LARGE_CLASSES,
    )


def test_every_module_has_a_docstring() -> None:
    check({name for name, tree in modules() if not ast.get_docstring(tree)}, WITHOUT_DOCSTRING)


def test_import_contracts_have_no_exceptions() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    ignored = {line for contract in linter["contracts"] for line in contract.get("ignore_imports", [])}
    assert not linter.get("ignore_imports")
    check(ignored, ALLOWED_IMPORTS.keys())


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("def f(a, /, b, *c, d, **e): ...", 5),
        ("def f(self, a): ...", 1),
        ("async def f(cls, a=1, *, b=2): ...", 2),
        ("def f(a, self): ...", 2),
    ],
)
def test_parameters_are_counted_without_self(source: str, count: int) -> None:
    [function] = ast.parse(source).body
    assert isinstance(function, Function)
    assert count_parameters(function) == count


def test_attributes_are_counted_once_and_only_where_they_are_assigned() -> None:
    [found] = ast.parse(
        "class C:\n"
        "    def __init__(self):\n"
        "        self.a, (self.b, *self.c) = 1, (2, 3)\n"
        "        self.d: int = self.unassigned\n"
        "        self.a += 1\n"
        "        self.d.other = 2\n"
        "        with open('f') as self.e: ...\n"
    ).body
    assert isinstance(found, ast.ClassDef)
    assert attributes(found) == {"a", "b", "c", "d", "e"}


def check(found: Set[str], known: Set[str]) -> None:
    """Fail for an offender that is not known, and for a known one that is gone."""
    assert not found - known, "these break the rule: change them, do not list them"
    assert not known - found, "these keep the rule now: delete their lines from this file"


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Yield the path from the root and the syntax tree of every module that is shipped, migrations left out."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if any(part.startswith(".venv-") for part in path.parts):
                continue  # an environment of another server, made by `bench.peers`
            if "migrations" not in path.parts:
                yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def definitions() -> Iterator[tuple[str, Definition]]:
    """Yield every function and class, those inside others too, under "PATH: QUALIFIED.NAME"."""
    for name, tree in modules():
        yield from _definitions(tree, f"{name}: ")


def _definitions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, Definition]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Definition):
            yield prefix + node.name, node
            yield from _definitions(node, f"{prefix}{node.name}.")
        else:
            yield from _definitions(node, prefix)


def count_parameters(function: Function) -> int:
    """Count the parameters, `*args` and `**kwargs` as one each, without a first `self` or `cls`."""
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    own = bool(positional) and positional[0].arg in ("self", "cls")
    return len(positional) - own + len(given.kwonlyargs) + (given.vararg is not None) + (given.kwarg is not None)


def is_click_command(function: Function) -> bool:
    """Tell whether a decorator is `@….command(…)` or `@….group(…)`: the parameters are the command's options."""
    return any(
        isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Attribute)
        and decorator.func.attr in ("command", "group")
        for decorator in function.decorator_list
    )


def attributes(found: ast.ClassDef) -> set[str]:
    """Return the names that the class's code assigns on `self`."""
    return {
        node.attr
        for node in ast.walk(found)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }

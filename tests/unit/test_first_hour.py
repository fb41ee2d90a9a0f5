"""What a newcomer meets first: the licence, `make help`, the pre-commit hooks."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()


def recipe_of(target: str) -> list[str]:
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert found
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in found[1].splitlines()]


def test_make_help_lists_every_target() -> None:
    declared = re.search(r"^\.PHONY:((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE)
    assert declared
    targets = set(declared[1].replace("\\", " ").split())
    made = subprocess.run(["make", "-s", "-C", ROOT, "help"], capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in made.stdout.splitlines() if line.startswith("  ")}
    assert listed == targets
    assert set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE)) == targets


def test_the_hooks_before_a_commit_run_what_make_lint_runs() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook["entry"] for repository in config["repos"] for hook in repository["hooks"]]
    assert hooks == recipe_of("lint")


def test_the_licence_is_at_the_root_and_in_the_metadata() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text()
    assert all((ROOT / file).is_file() for file in project["license-files"])


def test_every_licence_of_a_part_of_others_is_listed() -> None:
    listed = (ROOT / "docs" / "dependencies.md").read_text()
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    licences = [file for file in tracked if "LICEN" in Path(file).name.upper() and file != "LICENSE"]
    assert licences
    assert [file for file in licences if file not in listed] == []

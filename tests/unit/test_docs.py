"""The documentation names only what exists: files, commands, settings, and other pages."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]

FILE = re.compile(r"`((?:web_tier|app_tier|controller|core|config|ami|training|tagfleet|bench|tests)/[\w./-]*)`")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[\w-]*)?\)")
DEFAULTS = (ROOT / "config" / "defaults.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = {path.split(":")[0] for path in FILE.findall(page.read_text(encoding="utf-8"))}
    known = {path for path in named if (ROOT / path).exists() or list(ROOT.glob(path)) or _is_pattern(path)}
    assert named - known == set()


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_link_to_another_page_leads_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_setting_is_explained_where_its_default_is() -> None:
    lines = [line for line in DEFAULTS.splitlines() if re.match(r"\w+ *=", line)]
    assert lines
    assert [line for line in lines if "#" not in line] == []


def test_every_setting_that_a_page_names_exists() -> None:
    sections = {name: set(value) for name, value in tomllib.loads(DEFAULTS).items() if isinstance(value, dict)}
    setting = re.compile(rf"`({'|'.join(set(sections) - {'pools'})})\.([a-z_]+)(?: = [^`]*)?`")
    wrong = [
        f"{page.name}: {section}.{name}"
        for page in PAGES
        for section, name in setting.findall(page.read_text(encoding="utf-8"))
        if name not in sections[section]
    ]
    assert wrong == []


def _is_pattern(path: str) -> bool:
    """Whether the path has a part in capitals, which stands for a name: `bench/peers/.venv-NAME`."""
    return re.search(r"\b[A-Z]{2,}\b", path) is not None

"""Run the README's examples as they are printed there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_python_example(deployment: Any, make_photos: Any, tmp_path: Path) -> None:
    [example] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for name, (_, content) in zip(("cat.jpg", "owl.jpg"), make_photos(2), strict=True):
        (tmp_path / name).write_bytes(content)
    script = example.replace("http://127.0.0.1:8000", deployment.url)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(line.split()[0] for line in done.stdout.splitlines()) == ["cat.jpg", "owl.jpg"]


def test_every_command_exists(deployment: Any) -> None:
    """Check that every `tagfleet` line of a console block uses known sub-commands and options."""
    lines = re.findall(r"^\$ \.venv/bin/tagfleet ([^#\n]*)", README, re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        words = [word for word in line.split() if not word.startswith("~")]
        options = [word for word in words if word.startswith("--")]
        command = [word for word in words[:2] if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-")]
        out, err = deployment.run(*command, "--help").communicate(timeout=300)
        assert out.startswith("Usage:"), err
        assert all(option in out for option in options), line

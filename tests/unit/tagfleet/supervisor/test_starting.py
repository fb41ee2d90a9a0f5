"""What `tagfleet up` refuses before it starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import settings as config
from core.errors import TagfleetError
from tagfleet.supervisor import supervise


def test_a_bucket_without_a_name_starts_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    settings = config.load({}, flags={"home": str(tmp_path / "home"), "port": 0, "backend": "aws"})
    with pytest.raises(TagfleetError, match=r"^setting aws\.input_bucket is empty"):
        supervise(settings, said.append, lambda host, port: f"http://{host}:{port}")
    assert said == []
    assert not (tmp_path / "home" / "logs").exists()

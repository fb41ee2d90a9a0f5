"""The client's public names."""

from __future__ import annotations

import tagfleet.client


def test_all_names_are_what_can_be_imported() -> None:
    importable = sorted(name for name in vars(tagfleet.client) if not name.startswith("_"))
    assert sorted(tagfleet.client.__all__) == importable

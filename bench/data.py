"""Find the test data with real photos and weights, or make random weights that cost the same to run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def test_data(environ: Mapping[str, str]) -> Path | None:
    """Return TAGFLEET_TEST_DATA, else ../shared/data beside the checkout; None if that is not a folder."""
    named = environ.get("TAGFLEET_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


test_data.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it by its name


def random_weights(folder: Path) -> None:
    """Write a ResNet50 with random weights into `folder`. Its tags mean nothing; its speed is that of a trained one."""
    import torch
    import torchvision
    from safetensors.torch import save_file

    torch.manual_seed(0)
    state = torchvision.models.resnet50().state_dict()
    state["fc.weight"] *= 1000  # clear winners, as with trained weights: the tagger computes ties twice
    save_file(state, folder / "resnet50.safetensors")

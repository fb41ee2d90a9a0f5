"""Find real photos and weights, or make weights that cost the same to run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def test_data(environ: Mapping[str, str]) -> Path | None:
    """Return TAGFLEET_TEST_DATA, or ../shared/data beside the checkout; None if neither is a folder."""
    named = environ.get("TAGFLEET_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


test_data.__test__ = False  # type: ignore[attr-defined]  # no test, whatever its name


def random_weights(folder: Path) -> None:
    """Write a ResNet50 with random weights: useless for tags, but as fast as a real one."""
    import torch
    import torchvision
    from safetensors.torch import save_file

    torch.manual_seed(0)
    state = torchvision.models.resnet50().state_dict()
    state["fc.weight"] *= 1000  # clear winners, as real weights give: ties are computed twice
    save_file(state, folder / "resnet50.safetensors")

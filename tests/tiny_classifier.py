"""Make a timm classifier of colours that a test can convert and quantise quickly, and photos for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

NAME = "timm/test_resnet"
FILE = "timm-test_resnet.safetensors"
COLOURS = ((220, 40, 40), (40, 200, 60), (40, 60, 220), (230, 220, 40))
"""The colours of the labels 0, 1, 2 and 3."""
SIDE = 32


def pictures(count: int, seed: int) -> Iterator[tuple[int, Image.Image]]:
    """Yield `count` labels and pictures: the label's colour under noise."""
    random = np.random.default_rng(seed)
    for number in range(count):
        label = number % len(COLOURS)
        noise = random.normal(0, 25, (SIDE, SIDE, 3))
        yield label, Image.fromarray((noise + COLOURS[label]).clip(0, 255).astype(np.uint8))


def write_photos(folder: Path, count: int, seed: int, names: tuple[str, ...] | None = None) -> Path:
    """Write `count` pictures into `folder`; with the labels' `names`, into one sub-folder per label."""
    for number, (label, picture) in enumerate(pictures(count, seed)):
        path = folder / names[label] / f"{number}.png" if names else folder / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return folder


def write_weights(path: Path) -> Path:
    """Write random weights with a head that finds the colour."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = timm.create_model(NAME.partition("/")[2], pretrained=False).eval()
    size = network.pretrained_cfg["input_size"][1]
    labels, frames = zip(
        *((label, np.asarray(image.resize((size, size)))) for label, image in pictures(16, 9)), strict=True
    )
    pixels = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        features = network.forward_head(network.forward_features((pixels - 0.5) / 0.5), pre_logits=True)
    means = torch.stack([features[torch.tensor(labels) == label].mean(0) for label in range(len(COLOURS))])
    centre = means.mean(0)
    rows = means - centre
    rows = rows * (20 / (rows @ rows.T).max())
    weight, bias = torch.zeros_like(network.fc.weight), torch.full_like(network.fc.bias, -30.0)
    weight[: len(COLOURS)], bias[: len(COLOURS)] = rows, -rows @ centre
    state = network.state_dict() | {"fc.weight": weight, "fc.bias": bias}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path

"""Decodes plain JPEGs on a device, and scales and crops them there as `models.frames.to_frame` does on the CPU.

1. The device decodes a group of files at once. If it refuses the group, each file is tried alone; what it refuses
   then, the CPU's decoder gets.
2. The CPU reads large JPEGs at a half, a quarter or an eighth, averages pixels, and resamples the part that is kept,
   with Pillow's filters. Here these are averages and two products with matrices of weights, which give Pillow's pixels
   to within a rounding: `TOLERANCE` on average.
3. A frame of one colour goes to the CPU's decoder too: it knows whether the whole picture is blank.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from app_tier.engines import DeviceFrame, golden
from app_tier.engines.devices import Device
from app_tier.models.frames import to_frame
from app_tier.models.networks import Network
from core.imaging.decode import DecodeBudget, Decoder
from core.imaging.pixels import NOISE
from core.imaging.plain_jpeg import PlainJpeg, read_plain_jpeg

_PIXELS_AT_ONCE = 100_000_000
_DRAFTS = (8, 4, 2)
"""The factors by which the CPU's decoder can divide a JPEG's sides."""
_GOLDEN_SIDE = 600
_GOLDEN_MEGABYTES = 100


class DeviceJpegs:
    """Decodes to frames for one network. Safe for several threads, one at a time."""

    TOLERANCE = 1.0
    """The most that a frame may differ from the CPU's on average, in levels of 255."""

    def __init__(self, device: Device, network: Network) -> None:
        self._device = device
        self._network = network
        self._stream = device.stream()
        self._lock = threading.Lock()

    def decode(self, jpegs: Sequence[PlainJpeg]) -> list[DeviceFrame | None]:
        """Return a frame for each file, None where the device refuses it or the frame has one colour."""
        with self._lock, self._stream.current(), torch.inference_mode():
            found: list[DeviceFrame | None] = []
            for group in _groups(jpegs):
                found += self._decode(group)
            self._stream.mark()()  # whoever uses the frames does so in other streams
            return found

    def difference(self) -> float | None:
        """Return the mean difference of the golden picture's frame to the CPU's. None if the device refuses it."""
        stream = BytesIO()
        Image.fromarray(golden.pixels(_GOLDEN_SIDE)[0]).save(stream, "JPEG", quality=90)
        jpeg = read_plain_jpeg(stream.getvalue())
        frame = self.decode([jpeg])[0] if jpeg else None
        if frame is None:
            return None
        decoder = Decoder(self._network.resize, DecodeBudget(_GOLDEN_MEGABYTES))
        expected = to_frame(decoder.decode(stream.getvalue()), self._network)
        return float(np.abs(frame.pixels.cpu().numpy().astype(int) - expected).mean())

    def _decode(self, jpegs: Sequence[PlainJpeg]) -> list[DeviceFrame | None]:
        """Decode a group, and if that fails each half of it. A file that fails alone is refused."""
        try:
            decoded = self._device.decode_jpegs([_to_tensor(jpeg.data) for jpeg in jpegs])
            return self._to_frames(jpegs, decoded)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):  # halves take less
                self._device.free_memory()
            if len(jpegs) == 1:
                return [None]
        middle = len(jpegs) // 2
        return self._decode(jpegs[:middle]) + self._decode(jpegs[middle:])

    def _to_frames(self, jpegs: Sequence[PlainJpeg], decoded: Sequence[Tensor]) -> list[DeviceFrame | None]:
        as_said = [
            tuple(picture.shape) == (3, *reversed(jpeg.size)) for jpeg, picture in zip(jpegs, decoded, strict=True)
        ]
        if not all(as_said):
            raise RuntimeError("a picture has another size than its header says")
        frames = torch.stack(
            [
                turn(scale(picture, self._network), jpeg.orientation)
                for jpeg, picture in zip(jpegs, decoded, strict=True)
            ]
        )
        flat = frames.flatten(1, 2)
        colourful = ((flat.amax(1).int() - flat.amin(1).int()) > NOISE).any(1).cpu()
        return [DeviceFrame(frame) if has else None for frame, has in zip(frames, colourful.tolist(), strict=True)]


def scale(picture: Tensor, network: Network) -> Tensor:
    """Scale and crop (3, height, width) uint8 to (crop, crop, 3) uint8, as the CPU's decoder and `to_frame` do."""
    pixels = picture.float()
    least = 2 * network.resize
    room = min(pixels.shape[1:]) // least
    pixels = _average(pixels, next((factor for factor in _DRAFTS if factor <= room), 1))
    pixels = _average(pixels, min(pixels.shape[1:]) // least)
    height, width = pixels.shape[1:]
    cut = network.crop * min(width, height) / network.resize
    across = _weights(width, cut, network, pixels.device)
    pixels = (pixels @ across.T).round_().clamp_(0, 255)  # Pillow, too, rounds between the two
    down = across if height == width else _weights(height, cut, network, pixels.device)
    return (down @ pixels).round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0)


def turn(frame: Tensor, orientation: int) -> Tensor:
    """Turn a square (side, side, 3) frame upright by EXIF's orientation."""
    upright = _TURNS[orientation](frame) if orientation in _TURNS else frame
    return upright.contiguous()


_TURNS: dict[int, Callable[[Tensor], Tensor]] = {
    2: lambda frame: frame.flip(1),
    3: lambda frame: frame.flip(0, 1),
    4: lambda frame: frame.flip(0),
    5: lambda frame: frame.transpose(0, 1),
    6: lambda frame: frame.transpose(0, 1).flip(1),
    7: lambda frame: frame.transpose(0, 1).flip(0, 1),
    8: lambda frame: frame.transpose(0, 1).flip(0),
}


def _average(pixels: Tensor, factor: int) -> Tensor:
    if factor < 2:
        return pixels
    return avg_pool2d(pixels[None], factor, ceil_mode=True, count_include_pad=False)[0].round_()


def _weights(length: int, cut: float, network: Network, device: torch.device) -> Tensor:
    """Return (crop, length): how much each of `length` pixels counts for those of the central part, `cut` long."""
    step = cut / network.crop
    centres = (length - cut) / 2 + (torch.arange(network.crop, dtype=torch.float64, device=device) + 0.5) * step
    places = torch.arange(length, dtype=torch.float64, device=device) + 0.5
    weights = _FILTERS[network.interpolation]((places - centres[:, None]) / max(step, 1.0))
    return (weights / weights.sum(1, keepdim=True)).float()


def _triangle(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp(min=0)


def _cubic(x: Tensor) -> Tensor:
    """Return Pillow's bicubic filter, whose parameter is -0.5."""
    x = x.abs()
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


_FILTERS: dict[str, Callable[[Tensor], Tensor]] = {"bilinear": _triangle, "bicubic": _cubic}


def _groups(jpegs: Sequence[PlainJpeg]) -> Iterator[Sequence[PlainJpeg]]:
    """Split files into groups whose pictures take a bounded amount of memory."""
    first, pixels = 0, 0
    for number, jpeg in enumerate(jpegs):
        own = jpeg.size[0] * jpeg.size[1]
        if number > first and pixels + own > _PIXELS_AT_ONCE:
            yield jpegs[first:number]
            first, pixels = number, 0
        pixels += own
    if jpegs:
        yield jpegs[first:]


def _to_tensor(data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(bytearray(data), np.uint8))

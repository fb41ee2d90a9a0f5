"""Thumbnails: small, upright, made once. An image that cannot be decoded gets a placeholder and harms no other."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import BadImage
from core.imaging.decode import DecodeBudget, Decoder
from core.imaging.sandbox import Sandbox
from core.storage import layout
from tests.pictures import gradient, photo, saved, tiff
from web_tier.server.host_memory import HostMemory
from web_tier.services.thumbnails import SIZE, Thumbnails


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox(600, 120)
    yield sandbox
    sandbox.close()


@pytest.fixture
def thumbnail(sandbox):
    return lambda data: sandbox.thumbnail(data, SIZE)


@pytest.fixture
def web(web):
    yield web
    web.client.application.extensions["tagfleet"].thumbnails.close()


def picture(format: str = "JPEG", size=(800, 400), mode="RGB", colour=(200, 30, 30), **save) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, format, **save)
    return out.getvalue()


def opened(jpeg: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(jpeg))
    assert image.format == "JPEG"
    return image


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "HEIF"])
def test_every_format_becomes_a_small_jpeg(format, thumbnail):
    image = opened(thumbnail(picture(format)))
    assert image.size == (256, 128)
    red, green, blue = image.getpixel((100, 50))
    assert (abs(red - 200) < 12, abs(green - 30) < 12, abs(blue - 30) < 12) == (True, True, True)


@pytest.mark.parametrize(
    ("mode", "colour"),
    [("L", 128), ("1", 1), ("P", 3), ("LA", (9, 99)), ("RGBA", (9, 9, 9, 0)), ("CMYK", (1, 2, 3, 4)), ("I;16", 40_000)],
)
def test_every_colour_mode_becomes_a_jpeg(mode, colour, thumbnail):
    format = "TIFF" if mode == "CMYK" else "PNG"
    assert max(opened(thumbnail(picture(format, mode=mode, colour=colour))).size) == 256


def test_transparency_lies_on_white(thumbnail):
    assert opened(thumbnail(picture("PNG", mode="RGBA", colour=(0, 0, 0, 0)))).getpixel((10, 10)) == (255, 255, 255)


def test_a_small_image_stays_small(thumbnail):
    assert opened(thumbnail(picture(size=(20, 10)))).size == (20, 10)


def test_it_stands_upright(thumbnail):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert opened(thumbnail(picture(exif=exif))).size == (128, 256)


def bomb(width: int, height: int) -> bytes:
    """A PNG that says that it is large; its few bytes would never fill it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("data", [b"", b"no image", picture()[:300], bomb(30_000, 30_000), b"%PDF-1.7", b"GIF89a"])
def test_what_is_no_image_gives_nothing(data, thumbnail):
    with pytest.raises(BadImage):
        thumbnail(data)


@pytest.mark.parametrize(
    "data",
    [
        saved(photo(700, 500).convert("1"), "PNG"),
        saved(photo(700, 500).convert("LA"), "PNG"),
        saved(photo(700, 500).quantize(16), "GIF"),
        saved(photo(700, 500).convert("CMYK"), "JPEG"),
        saved(photo(700, 500), "DIB"),
        saved(Image.fromarray((gradient(700, 500) * 4095).astype(np.uint16)), "PNG"),
        tiff(gradient(700, 500).astype(np.float32)),
        tiff((gradient(700, 500) * 65535).astype(np.uint16), photometric=0),
    ],
)
def test_a_thumbnail_is_what_the_tagger_sees(data, thumbnail):
    seen = Decoder(SIZE, DecodeBudget(600)).decode(data)
    seen.thumbnail((SIZE, SIZE), reducing_gap=2.0)
    assert thumbnail(data) == saved(seen, "JPEG", quality=80)


def test_it_is_served_and_made_once(web):
    (image,) = web.upload(web.batch(), ("a.jpg", picture()))
    path = f"/api/v1/images/{image['image_id']}/thumbnail"
    first = web.client.get(path)
    assert first.content_type == "image/jpeg"
    assert "immutable" in first.headers["Cache-Control"]
    assert first.headers["X-Content-Type-Options"] == "nosniff"
    assert opened(first.data).size == (256, 128)
    web.backend.store.delete([layout.image_key(image["batch_id"], image["image_id"])])
    assert web.client.get(path).data == first.data


def test_what_cannot_be_shown_has_a_placeholder(web):
    text, empty = web.upload(web.batch(), ("a.jpg", b"no image"), ("empty.jpg", b""))
    for image in (text, empty, text):
        answer = web.client.get(f"/api/v1/images/{image['image_id']}/thumbnail")
        assert answer.status_code == 200
        assert answer.mimetype == "image/svg+xml"
        assert "<script" not in answer.text


DECODER = """
import os, sys, time
from core.imaging.sandbox import ANSWER, REQUEST
log = open(sys.argv[1], "ab", buffering=0)
source, sink = sys.stdin.buffer, sys.stdout.buffer
while head := source.read(REQUEST.size):
    data = source.read(REQUEST.unpack(head)[2])
    log.write(data + b" ")
    if data == b"crash": os.abort()
    if data == b"hang": time.sleep(600)
    if data == b"killed": os.kill(os.getpid(), 9)
    sink.write(ANSWER.pack(2 if data == b"memory" else 0, 1, 1, 1, 1, len(data)) + data)
    sink.flush()
"""


class Played:
    """Thumbnails by a decoder that does what the image says; `tried` is what it was given."""

    def __init__(self, web, folder: Path) -> None:
        self._log = folder / "tried"
        self.now = 0.0
        command = [sys.executable, "-P", "-c", DECODER, str(self._log)]
        store, originals = web.backend.store, web.backend.originals
        self.thumbnails = Thumbnails(
            store, originals, turn=HostMemory().lock(), decoder=command, timeout_s=6.0, clock=lambda: self.now
        )

    @property
    def tried(self) -> list[str]:
        return self._log.read_text().split()


@pytest.fixture
def played(web, tmp_path):
    played = Played(web, tmp_path)
    yield played
    played.thumbnails.close()


def uploaded(web, *names):
    items = web.upload(web.batch(), *((name, name.encode()) for name in names))
    return {item["name"]: web.catalog.find_image(item["image_id"]) for item in items}


def test_a_decoder_that_crashes_or_hangs_costs_that_image_alone(web, played):
    images = uploaded(web, "fine", "crash", "hang", "good")
    made = [played.thumbnails.jpeg(images[name]) for name in ("fine", "crash", "good", "hang", "good", "crash")]
    assert made == [b"fine", None, b"good", None, b"good", None]


def test_an_image_that_crashed_or_hung_the_decoder_is_not_tried_again(web, played, tmp_path):
    images = uploaded(web, "crash", "hang")
    for name in ("crash", "hang", "crash", "hang"):
        assert played.thumbnails.jpeg(images[name]) is None
    assert played.tried == ["crash", "hang"]
    later = Played(web, tmp_path)  # another process, which knows only what is stored
    assert later.thumbnails.jpeg(images["crash"]) is None
    later.thumbnails.close()
    assert played.tried == ["crash", "hang"]


def test_a_lack_of_memory_or_a_kill_from_outside_is_tried_again_after_a_while(web, played):
    images = uploaded(web, "memory", "killed")
    for name in ("memory", "killed", "memory", "killed"):
        assert played.thumbnails.jpeg(images[name]) is None
    assert played.tried == ["memory", "killed"]
    played.now = 601.0
    assert played.thumbnails.jpeg(images["killed"]) is None
    assert played.tried == ["memory", "killed", "killed"]


def test_a_dib_has_a_thumbnail(web):
    (image,) = web.upload(web.batch(), ("a.dib", picture("DIB")))
    answer = web.client.get(f"/api/v1/images/{image['image_id']}/thumbnail")
    assert opened(answer.data).size == (256, 128)

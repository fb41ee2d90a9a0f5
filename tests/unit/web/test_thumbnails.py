"""Thumbnails: small, upright, made once; whatever does not decode gets a placeholder and harms nobody."""

from __future__ import annotations

import io
import struct
import sys
import zlib

import pytest
from PIL import Image

from core import layout
from web_tier.thumbnail_decoder import thumbnail
from web_tier.thumbnails import Thumbnails


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


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_format_becomes_a_small_jpeg(format):
    image = opened(thumbnail(picture(format)))
    assert image.size == (256, 128)
    red, green, blue = image.getpixel((100, 50))
    assert (abs(red - 200) < 12, abs(green - 30) < 12, abs(blue - 30) < 12) == (True, True, True)


@pytest.mark.parametrize(
    ("mode", "colour"),
    [("L", 128), ("1", 1), ("P", 3), ("LA", (9, 99)), ("RGBA", (9, 9, 9, 0)), ("CMYK", (1, 2, 3, 4)), ("I;16", 40_000)],
)
def test_every_colour_mode_becomes_a_jpeg(mode, colour):
    format = "TIFF" if mode == "CMYK" else "PNG"
    assert max(opened(thumbnail(picture(format, mode=mode, colour=colour))).size) == 256


def test_transparency_lies_on_white():
    assert opened(thumbnail(picture("PNG", mode="RGBA", colour=(0, 0, 0, 0)))).getpixel((10, 10)) == (255, 255, 255)


def test_a_small_image_stays_small():
    assert opened(thumbnail(picture(size=(20, 10)))).size == (20, 10)


def test_it_stands_upright():
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
def test_what_is_no_image_gives_nothing(data):
    assert thumbnail(data) == b""


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
import os, struct, sys, time
source, sink = sys.stdin.buffer, sys.stdout.buffer
while head := source.read(4):
    data = source.read(struct.unpack(">I", head)[0])
    if data == b"crash": os.abort()
    if data == b"hang": time.sleep(60)
    sink.write(struct.pack(">I", len(data)) + data)
    sink.flush()
"""


def test_a_decoder_that_crashes_or_hangs_costs_that_image_alone(web):
    store, decoder = web.backend.store, [sys.executable, "-c", DECODER]
    thumbnails = Thumbnails(store, web.backend.originals, decoder=decoder, timeout_s=6.0)
    batch = web.batch()
    uploaded = web.upload(batch, *((name, name.encode()) for name in ("fine", "crash", "hang", "good")))
    images = {item["name"]: web.catalog.image(item["image_id"]) for item in uploaded}
    made = [thumbnails.jpeg(images[name]) for name in ("fine", "crash", "good", "hang", "good", "crash")]
    thumbnails.close()
    assert made == [b"fine", None, b"good", None, b"good", None]

"""What would take too much memory or time is refused by the header alone; large honest photos are not."""

from __future__ import annotations

import os
import struct
import zlib

import numpy as np
import pytest

from core.errors import BadImage
from core.imaging.containers import isobmff, jpeg
from core.imaging.decode import DecodeBudget, Decoder
from core.imaging.formats import read_header
from tests.pictures import case, huge_png, photo, png_chunk, saved, scan_bomb, spotted, tiff

DECODER = Decoder(224, DecodeBudget(600))


def refused(data: bytes) -> str:
    """The sentence with which the header alone is refused; empty where it is not."""
    try:
        DECODER._admit(read_header(data))
    except BadImage as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("side", "scans"), [(8000, 5000), (8000, 100), (2000, 1200), (16_000, 20), (300, 19_000)])
def test_scans_times_pixels(side: int, scans: int) -> None:
    why = refused(scan_bomb(side, scans))
    if side * side * scans > 4e9:
        assert why == f"too slow to decode: {side} × {side} pixels in {scans} scans; save it again with fewer"
    else:
        assert why == ""


def test_the_case_is_refused() -> None:
    path = case(dict(os.environ), "16-scan-bomb/scanbomb-8000-5000.jpg")
    if path is None:
        pytest.skip("no cases beside the test data")
    with pytest.raises(BadImage, match="too slow to decode: 8000 × 8000 pixels in 5001 scans"):
        DECODER.decode(path.read_bytes())


def test_scans_are_counted_behind_fill_bytes_and_between_tables() -> None:
    bomb = scan_bomb(8000, 200)
    filled = bomb.replace(b"\xff\xda", b"\xff\xff\xff\xda").replace(b"\xff\xff\xff\xda", b"\xff\xda", 1)
    assert read_header(filled).scans == 200
    comment = b"\xff\xfe\0\x06\xff\xda\xff\xd9"  # a marker within a comment is none
    assert read_header(bomb.replace(b"\xff\xda", comment + b"\xff\xda")).scans == 200


def grown(data: bytes, width: int, height: int) -> bytes:
    """The JPEG with another size in its frame: to be looked at, not decoded."""
    start = next(data.index(marker) for marker in (b"\xff\xc2", b"\xff\xc0", b"\xff\xc1") if marker in data)
    return data[: start + 5] + struct.pack(">HH", height, width) + data[start + 9 :]


@pytest.mark.parametrize("sampling", [0, 2])
def test_a_progressive_photo_of_100_megapixels_is_no_bomb(sampling: int) -> None:
    data = saved(photo(), "JPEG", progressive=True, quality=90, subsampling=sampling)
    assert read_header(data).scans >= 10
    assert refused(grown(data, 11_600, 8_700)) == ("" if sampling else refused(grown(data, 11_600, 8_700)))
    assert refused(grown(data, 8_700, 5_800)) == ""
    full = grown(data, 11_600, 8_700)[:-2] + b"\0" * 50_000_000 + b"\xff\xd9"  # and as many bytes as it would have
    assert read_header(full).seconds < DECODER.budget.seconds


@pytest.mark.parametrize(
    "data",
    [
        huge_png(30_000, 30_000),
        huge_png(30_000, 30_000, interlaced=1),
        huge_png(2**31 - 1, 2**31 - 1),
        saved(spotted(size=(64, 48)), "GIF")[:6] + struct.pack("<HH", 65_535, 65_535) + saved(spotted(), "GIF")[10:],
        saved(spotted(), "BMP")[:18] + struct.pack("<ii", 40_000, 40_000) + saved(spotted(), "BMP")[26:],
        tiff(np.zeros((4, 4), np.uint16), width=200_000)[:-4],
    ],
)
def test_sizes_beyond_reason(data: bytes) -> None:
    if data.startswith(b"II"):
        at = data.index(b"\x01\x01\x04\0")
        data = data[: at + 8] + struct.pack("<I", 200_000) + data[at + 12 :]
    assert refused(data).startswith("too large: ")


def canvas(width: int, height: int) -> bytes:
    """An animated WebP of one small frame on a huge canvas: Pillow would reserve it when it opens the file."""
    frames = [photo(64, 64, seed) for seed in range(2)]
    data = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    at = data.index(b"VP8X") + 12
    return data[:at] + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little") + data[at + 6 :]


def test_a_huge_canvas_of_a_webp() -> None:
    assert refused(canvas(16_000, 16_000)).startswith("too large: 16000 × 16000 pixels would take 2.3 GB")
    assert refused(canvas(64, 64)) == ""


def test_pngs_with_enormous_texts_and_profiles_are_read_without_them() -> None:
    picture = saved(photo(80, 60), "PNG")
    bombs = b"".join(
        (
            png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000))),
            png_chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(50_000_000))),
            png_chunk(b"tEXt", b"b\0" + b"c" * 5_000_000),
        )
    )
    decoded = DECODER.decode(picture[:33] + bombs + picture[33:])
    assert decoded.tobytes() == DECODER.decode(picture).tobytes()
    profile = png_chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(50_000_000)))
    assert DECODER.decode(picture[:33] + profile + picture[33:]).tobytes() == decoded.tobytes()


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("PNG", huge_png(50, 50)[:33] + png_chunk(b"teXt", b"") * 100_001 + huge_png(50, 50)[33:]),
        ("GIF", saved(spotted(), "GIF")[:13] + b"\x21\xfe" + b"\1a" * 300_000 + b"\0"),
        ("JPEG", b"\xff\xd8" + b"\xff\xfe\0\2" * 30_000 + saved(spotted(), "JPEG")[2:]),
        ("TIFF strips", tiff(np.zeros((4, 4), np.uint8), extra=[(324, 4, 3_000_000, 8)])),
    ],
)
def test_files_of_absurdly_many_parts(what: str, data: bytes) -> None:
    assert refused(data) == "the image is damaged: its file has more parts than any picture needs"


def test_a_gif_with_a_long_comment_is_read_without_it() -> None:
    """Pillow joins the blocks one by one: 20 MB would take it minutes."""
    picture = saved(photo(80, 60).quantize(16), "GIF")
    start = 13 + (3 << ((picture[10] & 7) + 1))
    comment = b"\x21\xfe" + (b"\xff" + b"c" * 255) * 100_000 + b"\0"
    assert DECODER.decode(picture[:start] + comment + picture[start:]).tobytes() == DECODER.decode(picture).tobytes()


def exif_bomb(size: int) -> bytes:
    """As many entries as fit into a third, each of another tag and all of them pointing at the rest."""
    count = min(65_535, size // 36)
    entries = b"".join(struct.pack("<HHII", tag, 7, size - 8 - 12 * count - 8, 8) for tag in range(1, count + 1))
    return (b"Exif\0\0II*\0" + struct.pack("<IH", 8, count) + entries).ljust(size, b"\0")


@pytest.mark.filterwarnings("ignore:Tag data larger than file")
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF"])
def test_exif_that_speaks_of_more_than_it_holds_costs_nothing(format: str) -> None:
    """Copied as often as it is pointed at, a megabyte would be 30 GB: Pillow 13 passes over such entries."""
    if format == "TIFF":
        data = tiff(np.asarray(photo(80, 60).convert("L")), extra=[(700 + n, 7, 4000, 8) for n in range(5000)])
    else:
        data = saved(photo(80, 60), format, exif=exif_bomb(60_000))
    assert DECODER.decode(data).mode == "RGB"


def test_a_grid_costs_what_all_of_its_tiles_do() -> None:
    meta = isobmff._Meta(primary=1, kinds={1: b"grid", 2: b"hvc1"}, sizes={1: (9000, 9000), 2: (512, 512)})
    meta.made_of[1] = [2] * 60_000
    assert isobmff._decoded_pixels(meta, 1, 0, {}) == 9000 * 9000 + 60_000 * 512 * 512
    meta.kinds[2], meta.made_of[2] = b"grid", [1]  # in a circle
    with pytest.raises(BadImage, match="more parts"):
        isobmff._decoded_pixels(meta, 1, 0, {})


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
def test_heic_and_avif_say_their_size_in_a_box(format: str) -> None:
    data = saved(photo(200, 150), format)
    header = read_header(data)
    assert (header.format, header.width, header.height) == (format, 200, 150)
    size = struct.pack(">II", 200, 150)
    assert refused(data.replace(size, struct.pack(">II", 60_000, 60_000))).startswith("too large")


def test_a_run_length_coded_bmp_is_slow() -> None:
    """Pillow decodes it in Python, a byte at a time."""
    header = struct.pack("<IiiHHIIiiII", 40, 12_000, 8_000, 1, 8, 1, 0, 0, 0, 256, 0)
    data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 1078) + header + bytes(1024) + b"\1\0" * 1000
    assert refused(data).startswith("too slow to decode: 12000 × 8000 pixels would take about")


def test_a_tiff_of_jpegs_in_many_scans_is_slow() -> None:
    data = tiff(np.zeros((4, 4), np.uint8), extra=[(700, 1, 1, 0)]) + b"\xff\xda" * 100
    at = data.index(b"\x03\x01\x03\0\1\0\0\0")
    jpegs = bytearray(data[: at + 8] + struct.pack("<H", 7) + data[at + 10 :])
    for tag, size in ((256, 8000), (257, 8000), (278, 8000)):
        place = bytes(jpegs).index(struct.pack("<HHI", tag, 4, 1)) + 8
        jpegs[place : place + 4] = struct.pack("<I", size)
    assert read_header(bytes(jpegs)).seconds > 4 * read_header(bytes(jpegs).replace(b"\xff\xda", b"\0\0")).seconds


def test_what_no_decoder_here_knows_is_said_to_be_a_kind_of_its_format() -> None:
    data = saved(photo(), "JPEG")
    at = data.index(b"\xff\xc0")
    lossless = data[: at + 1] + b"\xc3" + data[at + 2 :]
    twelve_bits = data[: at + 4] + b"\x0c" + data[at + 5 :]
    for changed in (lossless, twelve_bits, grown(data, 640, 0)):
        with pytest.raises(BadImage, match="a kind of JPEG that cannot be read here"):
            DECODER.decode(changed)


def test_metadata_that_no_picture_needs_never_reaches_a_decoder() -> None:
    data = saved(photo(), "JPEG")
    photoshop, pictures = (
        marker + b"\x80\0" + name.ljust(0x7FFE, b"x")
        for marker, name in ((b"\xff\xed", b"Photoshop 3.0\0"), (b"\xff\xe2", b"MPF\0"))
    )
    assert jpeg.read(data[:2] + photoshop + pictures + data[2:]).data == data
    assert jpeg.read(data).data is data  # and an ordinary file is not copied

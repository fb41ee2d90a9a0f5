"""Take the README's pictures of the page: `python -m tests.browser.screenshots` writes page.png and fleet.png in docs.

The page is the real one over `tagfleet.testing`. Its photos are drawn here, so nobody else has a right to them.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter
from playwright.sync_api import Page, sync_playwright

from core.storage import layout
from tagfleet.testing import Deployment, Failed, Photo, deployment
from tagfleet.testing.tagger import Answer
from tests.browser.at_work import SAMPLES, WORKER, put, show_fleet, show_samples
from tests.browser.conftest import CHROMIUM, FLAGS
from tests.browser.helpers import numbered

DOCS = Path(__file__).parents[2] / "docs"
_WIDTH, _HEIGHT = 640, 480
_JUNE = 1_781_877_780.0
"""19 June 2026, 14:03 UTC."""

Colour = tuple[int, int, int]
Draw = Callable[[ImageDraw.ImageDraw, random.Random], None]


def _sky(draw: ImageDraw.ImageDraw, top: Colour, bottom: Colour, until: int = _HEIGHT) -> None:
    for y in range(until):
        share = y / until
        colour = tuple(round(a + (b - a) * share) for a, b in zip(top, bottom, strict=True))
        draw.line([(0, y), (_WIDTH, y)], fill=(colour[0], colour[1], colour[2]))


def _hills(draw: ImageDraw.ImageDraw, base: int, height: int, waves: float, shift: float, colour: Colour) -> None:
    top = [
        (x, base - height * (0.6 * math.sin(waves * x / _WIDTH * 6.3 + shift) + 0.4 * math.sin(3 * x / 97 + shift)))
        for x in range(0, _WIDTH + 8, 8)
    ]
    draw.polygon([(0, _HEIGHT), *top, (_WIDTH, _HEIGHT)], fill=colour)


def _sunset(draw: ImageDraw.ImageDraw, _rng: random.Random) -> None:
    _sky(draw, (60, 40, 110), (255, 170, 90))
    draw.ellipse([400, 190, 500, 290], fill=(255, 230, 150))
    _hills(draw, 310, 40, 1.0, 0.4, (120, 70, 110))
    _hills(draw, 360, 45, 1.4, 2.0, (80, 45, 90))
    _hills(draw, 420, 30, 2.0, 4.0, (40, 25, 60))


def _beach(draw: ImageDraw.ImageDraw, _rng: random.Random) -> None:
    _sky(draw, (90, 170, 235), (190, 225, 245), 220)
    draw.rectangle([0, 220, _WIDTH, 340], fill=(30, 130, 180))
    draw.polygon([(0, 340), (_WIDTH, 310), (_WIDTH, _HEIGHT), (0, _HEIGHT)], fill=(235, 210, 160))
    draw.polygon([(180, 290), (330, 290), (300, 320), (205, 320)], fill=(200, 60, 50))
    draw.polygon([(252, 110), (252, 282), (345, 282)], fill=(250, 250, 245))
    draw.polygon([(244, 130), (244, 282), (190, 282)], fill=(235, 235, 225))


def _mountain(draw: ImageDraw.ImageDraw, _rng: random.Random) -> None:
    _sky(draw, (70, 120, 190), (215, 230, 240))
    draw.polygon([(60, 400), (300, 90), (560, 400)], fill=(95, 105, 125))
    draw.polygon([(232, 178), (300, 90), (372, 178), (335, 165), (300, 195), (268, 165)], fill=(248, 250, 252))
    draw.polygon([(330, 400), (500, 190), (680, 400)], fill=(75, 85, 105))
    draw.polygon([(462, 238), (500, 190), (541, 238), (515, 230), (497, 250)], fill=(240, 244, 248))
    _hills(draw, 410, 18, 2.0, 1.0, (50, 95, 60))


def _night(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    _sky(draw, (10, 12, 40), (60, 50, 100))
    draw.ellipse([300, 40, 360, 100], fill=(245, 240, 215))
    x = 0
    while x < _WIDTH:
        width, height = rng.randrange(45, 85), rng.randrange(140, 330)
        draw.rectangle([x, _HEIGHT - height, x + width, _HEIGHT], fill=(25, 25, 45))
        for row in range(_HEIGHT - height + 12, _HEIGHT - 14, 20):
            for column in range(x + 8, x + width - 10, 16):
                if rng.random() < 0.55:
                    draw.rectangle([column, row, column + 8, row + 10], fill=(250, 215, 120))
        x += width + 6


def _forest(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    _sky(draw, (200, 220, 225), (150, 180, 170))
    for layer, colour in enumerate(((110, 150, 125), (65, 115, 85), (30, 75, 55))):
        for x in range(-30, _WIDTH + 30, 60 - 8 * layer):
            height = rng.randrange(150, 230) + 40 * layer
            foot = 400 + 50 * layer
            left = x + rng.randrange(-10, 10)
            for part in range(3):
                top = foot - height + part * height // 4
                half = 22 + 14 * part
                draw.polygon([(left, top), (left - half, top + 90), (left + half, top + 90)], fill=colour)
    draw.rectangle([0, 440, _WIDTH, _HEIGHT], fill=(25, 60, 45))


def _balloon(draw: ImageDraw.ImageDraw, _rng: random.Random) -> None:
    _sky(draw, (120, 185, 240), (230, 240, 250))
    _hills(draw, 410, 25, 1.2, 0.5, (120, 165, 95))
    for number, colour in enumerate(((220, 70, 60), (250, 190, 60), (235, 235, 230), (250, 190, 60), (220, 70, 60))):
        inset = (0, 30, 62, 96, 128)[number]
        draw.ellipse([210 + inset, 60, 430 - inset * 0.4, 290], fill=colour)
    draw.line([(285, 280), (303, 345)], fill=(90, 70, 50), width=3)
    draw.line([(360, 280), (340, 345)], fill=(90, 70, 50), width=3)
    draw.rectangle([298, 345, 345, 380], fill=(140, 95, 55))


def _lighthouse(draw: ImageDraw.ImageDraw, _rng: random.Random) -> None:
    _sky(draw, (150, 190, 220), (240, 225, 200), 330)
    draw.rectangle([0, 330, _WIDTH, _HEIGHT], fill=(50, 105, 140))
    draw.polygon([(300, 400), (420, 350), (_WIDTH, 360), (_WIDTH, _HEIGHT), (260, _HEIGHT)], fill=(95, 90, 80))
    for band in range(5):
        top, half = 130 + 46 * band, 26 + 3 * band
        colour = (205, 60, 55) if band % 2 else (245, 243, 238)
        draw.polygon(
            [(460 - half, top), (460 + half, top), (463 + half, top + 46), (457 - half, top + 46)], fill=colour
        )
    draw.rectangle([440, 96, 480, 130], fill=(250, 225, 130))
    draw.polygon([(434, 96), (486, 96), (460, 66)], fill=(120, 40, 40))


def _field(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    _sky(draw, (110, 175, 235), (220, 235, 245), 210)
    draw.rectangle([0, 210, _WIDTH, _HEIGHT], fill=(95, 150, 70))
    for _ in range(420):
        y = rng.randrange(215, _HEIGHT)
        x, size = rng.randrange(_WIDTH), 2 + (y - 210) // 36
        draw.ellipse([x, y, x + 2 * size, y + 2 * size], fill=rng.choice(((215, 45, 50), (230, 70, 60), (190, 35, 60))))


PHOTOS: dict[str, tuple[Draw, dict[str, float | None]]] = {
    "beach.jpg": (_beach, {"Sailboat": 0.93, "Seashore": 0.71, "Catamaran": 0.12}),
    "city.jpg": (_night, {"Skyline": 0.88, "Skyscraper": 0.64, "Moon": 0.31}),
    "evening.jpg": (_sunset, {"Sunset": 0.95, "Valley": 0.42}),
    "fair.jpg": (_balloon, {"Balloon": 0.99}),
    "forest.jpg": (_forest, {"Forest": 0.9, "Fog": 0.37, "Valley": 0.08}),
    "lighthouse.jpg": (_lighthouse, {"Beacon": 0.97, "Seashore": 0.35, "Promontory": 0.22}),
    "peak.jpg": (_mountain, {"Alp": 0.96, "Snow": 0.58, "Valley": 0.24}),
    "poppies.jpg": (_field, {"Poppy": 0.83, "Meadow": 0.55}),
}


def drawn(name: str) -> bytes:
    """The photo of this name, as a JPEG."""
    image = Image.new("RGB", (_WIDTH, _HEIGHT))
    PHOTOS[name][0](ImageDraw.Draw(image), random.Random(name))
    out = io.BytesIO()
    image.filter(ImageFilter.GaussianBlur(1.2)).save(out, "JPEG", quality=88)
    return out.getvalue()


def _tagged(photo: Photo) -> Answer | None:
    if photo.name == "scan.tif":
        return Failed("scan.tif: the file ends too early; is the copy complete?")
    return PHOTOS[photo.name][1] if photo.name in PHOTOS else None


def _show_page(page: Page, service: Deployment) -> None:
    service.clock.set(_JUNE)
    photos = {name: drawn(name) for name in PHOTOS} | {"scan.tif": b"II*"}
    batch_id = service.add_batch("Summer 2026", photos)
    service.clock.advance(1.4)
    service.tagger.at_work = True
    service.close_batch(batch_id)
    page.goto(f"{service.url}/batches/{batch_id}")
    page.locator(".card[data-phase=failed]").wait_for()
    shown = "() => [...document.querySelectorAll('.card img')].filter((one) => one.naturalWidth > 0).length >= 9"
    page.wait_for_function(shown)


def _show_fleet(page: Page, service: Deployment) -> None:
    """A burst of photos: two more workers have started, and the queue gets shorter."""
    show_fleet(service)
    for number, done in enumerate((412, 377), 1):
        worker = WORKER | {"worker_id": f"ins_06a8hm4c{number}k", "images_done": done, "images_failed": 0, "rate": 79.6}
        put(service, layout.worker_key(worker["worker_id"]), worker)
    waiting = [0, 0, 0, 120, 260, 390, 505, 590, 640, 655, 600, 530, 455, 380, 310, 245, 190, 140, 95, 55, 31]
    workers = [{"idle": 1}] * 3 + [{"busy": 1}] * 3 + [{"busy": 1, "warming": 2}] * 2 + [{"busy": 3}] * 13
    rates = [0, 0, 0, 40, 81, 83, 82, 84, 130, 190, 238, 241, 243, 240, 242, 239, 244, 241, 240, 243, 242]
    at_work = zip(SAMPLES, waiting, workers, rates, strict=True)
    show_samples(
        service,
        [
            one | {"visible": n, "in_flight": 8 * more.get("busy", 0), "workers": more, "rate": rate}
            for one, n, more, rate in at_work
        ],
    )
    service.add_batch("Summer 2026", numbered(55), close=True)
    service.backend.jobs("resnet50").receive(24, 0)
    page.goto(f"{service.url}/fleet")
    page.locator("#decisions li").first.wait_for()
    page.wait_for_timeout(500)  # the plots are drawn


def take(page: Page, name: str) -> None:
    taken = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    taken.quantize(256).save(DOCS / name, optimize=True)  # the file is half as large
    print(f"{DOCS / name}: {(DOCS / name).stat().st_size // 1000} kB")


def main() -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for name, height, show in (("page.png", 890, _show_page), ("fleet.png", 990, _show_fleet)):
            page = browser.new_page(viewport={"width": 1200, "height": height}, locale="en-GB", color_scheme="light")
            with deployment(tagger=_tagged, settings={"controller.max_workers": 4}) as service:
                service.tagger.at_work = False
                show(page, service)
                take(page, name)
                page.close()
        browser.close()


if __name__ == "__main__":
    main()

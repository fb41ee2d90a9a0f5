"""The fleet learns a new tag from a person without a restart, and launches a worker for it if none runs."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tagfleet.client import Client

pytestmark = pytest.mark.e2e

LEARNING = {
    "TAGFLEET_POOLS__RESNET50__TAGGER": "adaptive",
    "TAGFLEET_POOLS__RESNET50__BACKBONE": "efficientnet-lite0",
    "TAGFLEET_CONTROLLER__IDLE_KEEP_S": "0.5",
    "TAGFLEET_CONTROLLER__STABILISATION_S": "0.3",
}


def photo(kind: str, number: int) -> tuple[str, io.BytesIO]:
    """Make stripes or a chequered cloth, each a little different."""
    y, x = np.mgrid[0:240, 0:320] + 7 * number
    light = {"stripes": (x // 16) % 2, "cloth": (x // 40 + y // 40) % 2}[kind]
    colours = {"stripes": ((240, 40, 40), (250, 250, 250)), "cloth": ((30, 60, 140), (240, 220, 60))}[kind]
    pixels = np.where(light[..., None], colours[0], colours[1]).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    out.seek(0)
    return f"{kind}-{number}.jpg", out


def test_feedback_wakes_a_worker_and_the_next_photos_have_the_tags(deploy, until):
    deployment = deploy(**LEARNING)
    with Client(deployment.url) as client:

        def tagged(*photos: tuple[str, io.BytesIO]) -> dict[str, list[str]]:
            """Return the tag names of each photo, the most confident first."""
            batch = client.create_batch()
            client.upload(batch, photos)
            client.close(batch)
            items = {item.name: item for item in client.stream(batch)}
            assert {item.status for item in items.values()} == {"succeeded"}
            seen.update(items)
            return {name: [tag.name for tag in item.tags] for name, item in items.items()}

        seen: dict = {}
        queue = deployment.backend.jobs("resnet50")
        first = [photo(kind, number) for kind in ("stripes", "cloth") for number in range(3)]
        assert set(map(tuple, tagged(*first).values())) == {()}, "nobody has told it anything"
        assert seen["cloth-0.jpg"].tagger.startswith("adaptive@efficientnet-lite0-")
        until(lambda: not deployment.find("worker"))

        for name, item in list(seen.items()):
            client.edit_tags(item, add=["Awning" if name.startswith("stripes") else "Picnic"])
        until(lambda: not queue.depth().outstanding)
        found = tagged(photo("stripes", 7), photo("cloth", 8))
        assert found["stripes-7.jpg"][0] == "Awning"
        assert found["cloth-8.jpg"][0] == "Picnic"

        wrong = client.edit_tags(seen["stripes-7.jpg"], remove=["Awning"])
        until(lambda: not queue.depth().outstanding)
        client.undo(wrong)
        until(lambda: not queue.depth().outstanding)
        assert client.image(seen["stripes-7.jpg"].image_id).tags[0].source == "model"
        assert queue.depth().dead == 0
        out, _ = deployment.run("adaptive", "show").communicate(timeout=300)
        assert "2 tags from 7 images" in out

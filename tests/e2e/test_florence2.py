"""A tiny Florence-2 in a real worker gets the batch's options and returns boxes and a caption."""

from __future__ import annotations

import json

import pytest

from tagfleet.client import Client
from tests import tiny_florence2 as tiny

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(600)  # three processes import torch and transformers, on a busy machine
def test_boxes_and_a_caption_come_out_of_the_whole_fleet(deploy, make_photos, until, tmp_path):
    weights = tiny.save(tmp_path / "florence2")
    deployment = deploy(
        TAGFLEET_POOLS__RESNET50__TAGGER="florence2",
        TAGFLEET_POOLS__RESNET50__WEIGHTS=str(weights),
        TAGFLEET_WORKER__THREADS="1",
    )
    folder = tmp_path / "album"
    folder.mkdir()
    for name, content in make_photos(3, size=(160, 120)):
        (folder / name.rpartition("/")[2]).write_bytes(content)
    done = deployment.run(
        "tag", folder, "--candidate", "red car", "--task", "find", "--task", "caption", "--format", "jsonl"
    )
    out, said = done.communicate(timeout=300)
    assert done.returncode == 0, said + deployment.said
    items = [json.loads(line) for line in out.splitlines()]
    assert [item["caption"] for item in items] == ["dog cat"] * 3
    for item in items:
        (tag,) = item["tags"]
        assert (tag["name"], tag["confidence"]) == ("red car", None)
        assert tag["instances"][0] == {"box": [0.1005, 0.2005, 0.399, 0.399], "confidence": None}
        assert item["tagger"].startswith("florence2@")
    with Client(deployment.url) as client:
        [batch] = client.batches()
        coco = tmp_path / "coco.json"
        with coco.open("wb") as file:
            client.export(batch, "coco", file)
    boxes = [annotation["relative_bbox"] for annotation in json.loads(coco.read_bytes())["annotations"]]
    assert len(boxes) == 9
    assert not [annotation for annotation in json.loads(coco.read_bytes())["annotations"] if "score" in annotation]

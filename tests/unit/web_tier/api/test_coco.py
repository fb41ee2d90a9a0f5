"""COCO exports, read with pycocotools, as training code does."""

from __future__ import annotations

import io
import json
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image as Picture
from pycocotools.coco import COCO

from core.domain.messages import Box, Job, Result, Tag
from core.errors import Unavailable
from core.storage.ports import Blob
from training.data import reading
from web_tier.api.exports.sizes import UNKNOWN, with_originals

matplotlib.use("agg")


def photo(width: int, height: int, *, orientation: int = 1, format: str = "JPEG") -> bytes:
    exif = Picture.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    Picture.new("RGB", (width, height), "red").save(out, format, exif=exif)
    return out.getvalue()


def result(web, job: Job, *tags: Tag, size: tuple[int, int] | None = None) -> Result:
    width, height = size or (None, None)
    return web.result_of(job).model_copy(update={"tags": tags, "width": width, "height": height})


def boxed(name: str, *boxes: tuple[float, float, float, float]) -> Tag:
    return Tag(name=name, confidence=None, instances=tuple(Box(box=box) for box in boxes))


def export(web, batch: str, tmp_path) -> COCO:
    answer = web.client.get(f"/api/v1/batches/{batch}/export?format=coco")
    assert answer.status_code == 200
    path = tmp_path / "export.json"
    path.write_bytes(answer.data)
    return COCO(path)


@pytest.fixture
def batch(web) -> str:
    """Three images: a photo with two boxes and a tag of the whole, a rotated one, a broken one with a person's tag."""
    batch = web.batch()
    uploads = ("a.jpg", photo(200, 100)), ("side.jpg", photo(200, 100, orientation=6)), ("c.jpg", b"no picture")
    web.upload(batch, *uploads)
    first, second, third = web.jobs()
    dog = boxed("dog", (0.1, 0.2, 0.25, 0.5), (0.9, 0.9, 0.1, 0.1))
    web.finish(
        result(web, first, dog, Tag(name="sofa", confidence=0.5)), result(web, second, boxed("cat", (0, 0, 1, 0.5)))
    )
    web.finish(web.result_of(third, error="no image"))
    web.collect()
    web.client.patch(f"/api/v1/images/{third.image_id}/tags", json={"add": ["sofa"]})
    return batch


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pycocotools asks numpy in a way of earlier days
def test_pycocotools_reads_it(web, batch, tmp_path):
    coco = export(web, batch, tmp_path)
    assert [(one["width"], one["height"]) for one in coco.loadImgs([1, 2, 3])] == [(200, 100), (100, 200), UNKNOWN]
    assert [one["bbox"] for one in coco.loadAnns(coco.getAnnIds(imgIds=[1, 2]))] == [
        [20, 20, 50, 50],
        [180, 90, 20, 10],
        [0, 0, 200, 100],
        [0, 0, 100, 100],
    ]
    assert coco.getAnnIds(areaRng=[1000, 5000]) == [1]
    assert coco.getAnnIds(iscrowd=False) == [1, 2, 3, 4, 5]
    assert coco.getAnnIds(iscrowd=True) == []
    assert coco.getAnnIds(catIds=coco.getCatIds(catNms=["sofa"])) == [3, 5]
    masks = [coco.annToMask(one) for one in coco.loadAnns(coco.getAnnIds())]
    assert [mask.shape for mask in masks] == [(100, 200)] * 3 + [(200, 100), (0, 0)]
    assert [int(mask.sum()) for mask in masks] == [one["area"] for one in coco.loadAnns(coco.getAnnIds())]
    assert masks[0][20:70, 20:70].all()
    coco.showAnns(coco.loadAnns(coco.getAnnIds()), draw_bbox=True)
    again = coco.loadRes(coco.loadAnns(coco.getAnnIds()))
    assert len(again.getAnnIds(areaRng=[1000, 5000])) == 1
    as_results = [
        {key: one[key] for key in ("image_id", "category_id", "bbox")} | {"score": 1} for one in coco.anns.values()
    ]
    assert np.array_equal(coco.loadRes(as_results).annToMask(coco.anns[1]), masks[0])


def test_ids_are_dense_and_each_annotation_is_whole(web, batch, tmp_path):
    coco = export(web, batch, tmp_path)
    assert sorted(coco.anns) == [1, 2, 3, 4, 5]
    assert sorted(coco.cats) == [1, 2, 3]
    for one in coco.anns.values():
        assert one["iscrowd"] == 0
        assert one["area"] == one["bbox"][2] * one["bbox"][3]
        assert ("relative_bbox" in one) != one.get("whole_image", False)


def test_a_size_that_a_worker_told_is_taken_and_the_original_left_alone(web, tmp_path, budget):
    batch = web.batch()
    web.upload(batch, ("a.jpg", photo(20, 10)))
    (job,) = web.jobs()
    web.finish(result(web, job, boxed("dog", (0, 0, 0.5, 0.5)), size=(4000, 3000)))
    web.collect()
    web.backend.store.delete([job.key])
    coco = export(web, batch, tmp_path)
    assert (coco.imgs[1]["width"], coco.imgs[1]["height"], coco.anns[1]["bbox"]) == (4000, 3000, [0, 0, 2000, 1500])


def test_boxes_stay_within_the_picture(web, tmp_path):
    batch = web.batch()
    web.upload(batch, ("a.png", photo(333, 77, format="PNG")))
    (job,) = web.jobs()
    web.finish(result(web, job, boxed("dog", (0.3333, 0.6667, 0.6668, 0.3334), (0.0001, 0.0001, 0.0001, 0.0001))))
    web.collect()
    for one in export(web, batch, tmp_path).anns.values():
        x, y, width, height = one["bbox"]
        assert x + width <= 333
        assert y + height <= 77
        assert one["area"] > 0


class _Originals:
    """A store that returns the same bytes for every key."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def of_image(self, key: str, batch_id: str, id_: str):
        return Blob(self.data, "etag")


def test_a_reader_that_dies_costs_one_size(web, batch):
    dying = "import sys; sys.stdin.buffer.read(9); sys.exit(1)"
    images = web.catalog.list_results(batch, 10)
    with with_originals(_Originals(photo(20, 10)), [sys.executable, "-c", dying])() as sizes_of:
        assert list(sizes_of(images)) == [UNKNOWN] * 3
    with with_originals(_Originals(photo(20, 10)))() as sizes_of:
        assert list(sizes_of(images)) == [(20, 10)] * 3


def test_an_original_that_cannot_be_fetched_now_breaks_the_export_off(web, batch):
    class Away:
        def of_image(self, key: str, batch_id: str, id_: str):
            raise Unavailable("the store does not answer")

    with pytest.raises(Unavailable), with_originals(Away())() as sizes_of:
        list(sizes_of(web.catalog.list_results(batch, 10)))


def test_training_reads_it(web, batch, tmp_path):
    answer = web.client.get(f"/api/v1/batches/{batch}/export?format=coco")
    (tmp_path / "images").mkdir()
    for name, data in (("a.jpg", photo(200, 100)), ("side.jpg", photo(100, 200)), ("c.jpg", photo(8, 8))):
        (tmp_path / "images" / name).write_bytes(data)
    (tmp_path / "export.json").write_text(json.dumps(answer.json))
    found = reading.inspect(tmp_path / "export.json")
    assert found.errors == []
    assert [finding.kind for finding in found.findings if finding.kind in ("box outside", "other size")] == []

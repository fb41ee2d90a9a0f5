"""An export of corrected tags is a dataset that a tagger can be trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.domain.messages import Tag
from tests.unit.training.sources import pictures
from training.data import fingerprints, reading
from training.data.check import check

NAMES = ("album/a.png", "=b.png", "c.png", "d.png")


@pytest.fixture
def exported(web, tmp_path) -> Path:
    """Four photos: a person adds a tag to the first two, removes one from the third, and leaves the fourth."""
    pictures(tmp_path / "images", *NAMES)
    batch = web.batch()
    web.upload(batch, *((name, (tmp_path / "images" / name).read_bytes()) for name in NAMES))
    jobs = web.jobs()
    said = (Tag(name="dog", confidence=0.9), Tag(name="sofa", confidence=0.4))
    web.finish(*(web.result_of(job).model_copy(update={"tags": said}) for job in jobs))
    web.collect()
    for job, change in zip(jobs, ({"add": ["Grass"]}, {"add": ["cat"]}, {"remove": ["sofa"]}), strict=False):
        answer = web.client.patch(f"/api/v1/images/{job.image_id}/tags", json=change)
        assert answer.status_code == 200, answer.text
    for format in ("jsonl", "csv"):
        answer = web.client.get(f"/api/v1/batches/{batch}/export?format={format}")
        (tmp_path / f"batch.{format}").write_bytes(answer.data)
    return tmp_path


@pytest.mark.parametrize(
    ("format", "names"), [("jsonl", ("album/a.png", "=b.png", "c.png")), ("csv", ("album/a.png", "=b.png"))]
)
def test_the_photos_that_a_person_touched_with_the_tags_that_stand(exported, format, names):
    found = reading.inspect(exported / f"batch.{format}")
    dataset = found.dataset
    tags = {dataset.relative_name(one): {dataset.labels[label] for label in one.labels} for one in dataset.examples}
    wanted = {"album/a.png": {"dog", "sofa", "Grass"}, "=b.png": {"dog", "sofa", "cat"}, "c.png": {"dog"}}
    assert tags == {name: wanted[name] for name in names}
    prints = fingerprints.compute_fingerprints(one.path for one in dataset.examples)
    assert not check(found, prints).findings  # above all: the files are those that were tagged

"""People's decisions reach adaptive taggers: each time, complete, and never lost."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from config.settings import PoolSettings
from core.domain.messages import Feedback, Tag, decode_feedback
from tagfleet.cli.adaptive import command
from web_tier.catalog.edits import TagDecision
from web_tier.catalog.feedback import FeedbackCatalog
from web_tier.catalog.tables import images
from web_tier.catalog.tags import Edit, TagCatalog


@pytest.fixture
def cataloged(cataloged):
    """With two pools that learn, and the one that does not."""
    learners = {name: PoolSettings(tagger="adaptive") for name in ("adaptive", "garden")}
    return cataloged.model_copy(update={"pools": {**cataloged.pools, **learners}})


def told(web, pool: str = "adaptive") -> list[Feedback]:
    """Take the feedback off the pool's queue."""
    queue, found = web.backend.jobs(pool), []
    while deliveries := queue.receive(10, 0):
        found += [decode_feedback(delivery.body) for delivery in deliveries]
        queue.delete(deliveries)
    return found


def held(feedback: Feedback) -> dict[str, bool]:
    return {opinion.name: opinion.wanted for opinion in feedback.opinions}


def tagged(web, *names: str, count: int = 1) -> tuple[str, list[str]]:
    """A batch of the pool that does not learn."""
    batch = web.batch()
    web.upload(batch, *((f"{number}.jpg", b"%d" % number) for number in range(count)))
    jobs = web.jobs()
    given = tuple(Tag(name=name, confidence=0.5) for name in names)
    web.finish(*(web.result_of(job).model_copy(update={"tags": given}) for job in jobs))
    web.collect()
    return batch, [job.image_id for job in jobs]


def call(web, method: str, path: str, **body: object) -> dict:
    answer = getattr(web.client, method)(f"/api/v1{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json


def test_each_edit_is_told_to_every_pool_that_learns_and_an_undo_takes_it_back(web):
    batch, (image,) = tagged(web, "dog", "sofa")
    edit = call(web, "patch", f"/images/{image}/tags", add=["Rex"], remove=["dog"])
    (first,) = told(web)
    assert told(web, "garden") == [first]
    assert (first.batch_id, first.image_id, first.name) == (batch, image, "0.jpg")
    assert web.backend.store.get(first.key).data == b"0"
    assert held(first) == {"Rex": True, "dog": False}
    call(web, "post", f"/images/{image}/feedback", tag="sofa", verdict="accept")
    (second,) = told(web)
    assert held(second) == {"Rex": True, "dog": False, "sofa": True}
    call(web, "post", f"/images/{image}/tags/undo", edit_id=edit["edit_id"])
    (third,) = told(web)
    assert held(third) == {"sofa": True}
    assert first.revision < second.revision < third.revision


def test_edits_of_many_images_are_told_of_each(web):
    batch, ids = tagged(web, "dog", count=3)
    edit = call(web, "patch", f"/batches/{batch}/tags", image_ids=ids, add=["pet"])
    assert {one.image_id: held(one) for one in told(web)} == {image: {"pet": True} for image in ids}
    call(web, "post", f"/batches/{batch}/tags/undo", edit_id=edit["edit_id"])
    assert {one.image_id: held(one) for one in told(web)} == {image: {} for image in ids}


def test_what_could_not_be_sent_is_sent_by_the_sweep(web, budget):
    _, (image,) = tagged(web, "dog")
    budget.calls = 0
    answer = call(web, "patch", f"/images/{image}/tags", add=["Rex"])
    assert [tag["name"] for tag in answer["image"]["tags"]] == ["dog", "Rex"], "it is decided all the same"
    budget.calls = 1  # the first of the two pools is told, the second is not
    with pytest.raises(budget.error):
        web.collector.sweep()
    budget.calls = 1 << 30
    web.collector.sweep()
    assert [held(one) for one in told(web, "garden")] == [{"Rex": True}]
    assert {one.revision for one in told(web)} == {web.catalog.find_image(image).change}
    web.collector.sweep()
    assert told(web) == told(web, "garden") == []


def test_what_was_said_while_it_was_told_is_told_too(web):
    """A second edit may come between reading the first one and marking it as told."""
    _, (image,) = tagged(web, "dog")
    call(web, "patch", f"/images/{image}/tags", add=["Rex"])
    (early,) = told(web)
    with web.catalog.database.writing() as connection:
        later = images.c.change + 1
        connection.execute(sa.update(images).values(change=later, feedback=later))
    FeedbackCatalog(web.catalog.database).mark_published([early])
    web.collector.sweep()
    assert [one.revision for one in told(web)] == [early.revision + 1]


def test_a_result_teaches_nothing(web):
    tagged(web, "dog")
    web.collector.sweep()
    assert told(web) == []


def test_what_was_decided_before_anybody_learned_is_told_to_the_first_who_does(web):
    """As after a crash between the edit and the message."""
    batch, (image,) = tagged(web, "dog")
    TagCatalog(web.catalog.database).edit(batch, [image], Edit("edt_1", [TagDecision("Rex", True)]), 1.0)
    assert told(web) == []
    web.collector.sweep()
    assert [held(one) for one in told(web)] == [{"Rex": True}]


def test_all_that_stands_is_told_again_to_who_asks(web):
    _, ids = tagged(web, "dog", count=3)
    call(web, "patch", f"/images/{ids[0]}/tags", add=["Rex"])
    undone = call(web, "patch", f"/images/{ids[1]}/tags", add=["Max"])
    call(web, "post", f"/images/{ids[1]}/tags/undo", edit_id=undone["edit_id"])
    told(web)
    environment = {"TAGFLEET_HOME": str(web.settings.home), "TAGFLEET_WEB__CATALOG_URL": web.settings.web.catalog_url}
    refused = CliRunner(env=environment).invoke(command, ["tell-again"])
    assert "no pool learns" in str(refused.exception)
    learns = {"TAGFLEET_POOLS__ADAPTIVE__TAGGER": "adaptive"}
    asked = CliRunner(env=environment | learns).invoke(command, ["tell-again"])
    assert asked.output == "feedback on 1 images will be sent to adaptive\n", asked.exception
    web.collector.sweep()
    assert [(one.image_id, held(one)) for one in told(web)] == [(ids[0], {"Rex": True})]


def test_feedback_that_became_a_dead_letter_can_be_looked_at_and_fails_no_image(web):
    _, (image,) = tagged(web, "dog")
    call(web, "patch", f"/images/{image}/tags", add=["Rex"])
    queue = web.backend.jobs("adaptive")
    for _ in range(web.settings.queue.max_receives):
        queue.set_visibility(queue.receive(1, 0), 0)
    assert queue.receive(1, 0) == []
    web.collector.sweep()
    assert web.get(f"/images/{image}")["status"] == "succeeded"
    (letter,) = web.get("/fleet/dead-letters")["dead_letters"]
    assert (letter["pool"], letter["image_id"], letter["name"]) == ("adaptive", image, "0.jpg")
    assert web.client.post("/api/v1/fleet/dead-letters/redrive", json={}).json["redriven"] == 1
    assert [held(one) for one in told(web)] == [{"Rex": True}]

"""Tags are corrected, judged, undone and searched; a person's decision outlives every result."""

from __future__ import annotations

import pytest

from core.domain.messages import Tag


def tagged(web, *images: dict[str, float | None]) -> tuple[str, list[str]]:
    """Create a batch whose images have these tags, and return its id and theirs."""
    batch = web.batch()
    web.upload(batch, *((f"{number}.jpg", b"%d" % number) for number in range(len(images))))
    jobs = web.jobs()
    for job, tags in zip(jobs, images, strict=True):
        given = tuple(Tag(name=name, confidence=confidence) for name, confidence in tags.items())
        web.finish(web.result_of(job).model_copy(update={"tags": given}))
    web.collect()
    return batch, [job.image_id for job in jobs]


def patch(web, path: str, **body: object) -> dict:
    answer = web.client.patch(f"/api/v1{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json


def post(web, path: str, **body: object) -> dict:
    answer = web.client.post(f"/api/v1{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json


def names(item: dict) -> list[str]:
    return [tag["name"] for tag in item["tags"]]


def test_tags_are_added_and_removed_and_the_source_is_kept(web):
    _, (image,) = tagged(web, {"dog": 0.9, "sofa": 0.4})
    after = patch(web, f"/images/{image}/tags", add=["  our\tdog "], remove=["SOFA"])
    assert after["image"]["tags"] == [
        {"name": "dog", "confidence": 0.9, "source": "model", "instances": []},
        {"name": "our dog", "confidence": None, "source": "person", "instances": []},
    ]
    assert after["image"]["edited"]
    assert web.get(f"/images/{image}") == after["image"]


def test_an_edit_is_undone_by_its_id_and_the_others_stay(web):
    _, (image,) = tagged(web, {"dog": 0.9, "sofa": 0.4})
    before = web.get(f"/images/{image}")
    first = patch(web, f"/images/{image}/tags", add=["Rex"], remove=["dog"])["edit_id"]
    second = patch(web, f"/images/{image}/tags", remove=["sofa"])["edit_id"]
    assert names(post(web, f"/images/{image}/tags/undo", edit_id=first)["image"]) == ["dog"]
    for _ in range(2):
        undone = post(web, f"/images/{image}/tags/undo", edit_id=second)["image"]
        assert undone == before


def test_a_person_s_tags_outlive_a_later_result(web):
    batch = web.batch()
    web.upload(batch, ("a.jpg", b"one"))
    (job,) = web.jobs()
    edit = patch(web, f"/images/{job.image_id}/tags", add=["Rex"], remove=["sofa"])
    assert edit["image"]["status"] == "queued"
    given = (Tag(name="sofa", confidence=0.9), Tag(name="rex", confidence=0.2), Tag(name="dog", confidence=0.1))
    web.finish(web.result_of(job).model_copy(update={"tags": given}))
    web.collect()
    item = web.get(f"/images/{job.image_id}")
    assert [(tag["name"], tag["source"]) for tag in item["tags"]] == [("rex", "person"), ("dog", "model")]
    undone = post(web, f"/images/{job.image_id}/tags/undo", edit_id=edit["edit_id"])["image"]
    assert names(undone) == ["sofa", "rex", "dog"]
    assert not undone["edited"]


def test_several_images_are_edited_and_undone_as_one(web):
    batch, ids = tagged(web, {"dog": 0.9}, {"cat": 0.8}, {"dog": 0.7})
    before = web.get(f"/batches/{batch}/results")["results"]
    edit = patch(web, f"/batches/{batch}/tags", image_ids=[ids[2], ids[0], ids[2]], add=["pet"], remove=["dog"])
    assert [item["image_id"] for item in edit["images"]] == [ids[2], ids[0]]
    assert [names(item) for item in web.get(f"/batches/{batch}/results")["results"]] == [["pet"], ["cat"], ["pet"]]
    undone = post(web, f"/batches/{batch}/tags/undo", edit_id=edit["edit_id"])["images"]
    assert {item["image_id"] for item in undone} == {ids[0], ids[2]}
    assert web.get(f"/batches/{batch}/results")["results"] == before


def test_an_edit_that_is_sent_again_is_one_edit(web):
    """The first answer may be lost: undoing the edit that is known leaves nothing behind."""
    batch, ids = tagged(web, {"dog": 0.9}, {"cat": 0.9})
    before = web.get(f"/batches/{batch}/results")
    calls = [
        ("patch", f"/images/{ids[0]}/tags", {"add": ["pet"]}),
        ("patch", f"/batches/{batch}/tags", {"image_ids": ids, "add": ["pet"], "remove": ["dog"]}),
        ("post", f"/images/{ids[0]}/feedback", {"tag": "dog", "verdict": "reject"}),
    ]
    for method, path, body in calls:
        send = getattr(web.client, method)
        key = {"Idempotency-Key": path + method}
        first = send(f"/api/v1{path}", json=body, headers=key)
        changed = web.catalog.read_change(batch)
        assert send(f"/api/v1{path}", json=body, headers=key).json == first.json
        assert web.catalog.read_change(batch) == changed
        post(web, f"/batches/{batch}/tags/undo", edit_id=first.json["edit_id"])
        assert web.get(f"/batches/{batch}/results") == before


def test_a_key_of_another_edit_is_refused(web):
    _, ids = tagged(web, {"dog": 0.9}, {"cat": 0.9})
    key = {"Idempotency-Key": "k"}
    assert web.client.patch(f"/api/v1/images/{ids[0]}/tags", json={"add": ["pet"]}, headers=key).status_code == 200
    for image, tag in ((ids[0], "Rex"), (ids[1], "pet")):
        answer = web.client.patch(f"/api/v1/images/{image}/tags", json={"add": [tag]}, headers=key)
        assert answer.status_code == 422
    assert names(web.get(f"/images/{ids[1]}")) == ["cat"]


def test_a_bulk_edit_with_a_strange_image_does_nothing(web):
    batch, ids = tagged(web, {"dog": 0.9})
    _, strangers = tagged(web, {"cat": 0.9})
    answer = web.client.patch(f"/api/v1/batches/{batch}/tags", json={"image_ids": ids + strangers, "add": ["pet"]})
    assert answer.status_code == 404
    assert strangers[0] in answer.json["detail"]
    assert names(web.get(f"/images/{ids[0]}")) == ["dog"]


def test_an_edited_image_has_a_new_change_number(web):
    batch, ids = tagged(web, {"dog": 0.9}, {"cat": 0.9})
    seen = web.catalog.read_change(batch)
    patch(web, f"/images/{ids[0]}/tags", add=["pet"])
    (changed,) = web.catalog.list_changes(batch, seen, 10)
    assert (changed.id, changed.change) == (ids[0], web.catalog.read_change(batch))


@pytest.mark.parametrize(
    ("verdict", "tag", "shown"),
    [
        ("accept", "Dog", [("dog", "person"), ("sofa", "model")]),
        ("reject", "dog", [("sofa", "model")]),
        ("add", "Rex", [("dog", "model"), ("sofa", "model"), ("Rex", "person")]),
    ],
)
def test_feedback_corrects_the_image_and_is_kept(web, verdict, tag, shown):
    _, (image,) = tagged(web, {"dog": 0.9, "sofa": 0.4})
    before = web.get(f"/images/{image}")
    after = post(web, f"/images/{image}/feedback", tag=tag, verdict=verdict)
    assert [(tag["name"], tag["source"]) for tag in after["image"]["tags"]] == shown
    assert post(web, f"/images/{image}/tags/undo", edit_id=after["edit_id"])["image"] == before


@pytest.mark.parametrize("verdict", ["accept", "reject"])
def test_a_tag_that_is_not_there_can_be_neither_accepted_nor_rejected(web, verdict):
    _, (image,) = tagged(web, {"dog": 0.9})
    answer = web.client.post(f"/api/v1/images/{image}/feedback", json={"tag": "cat", "verdict": verdict})
    assert answer.status_code == 422
    assert "cat" in answer.json["detail"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "at least one tag"),
        ({"add": ["dog"], "remove": ["DOG"]}, "dog"),
        ({"add": [" "]}, "can be seen"),
        ({"add": ["x" * 101]}, "100"),
        ({"add": ["x"] * 101}, "100"),
        ({"add": "dog"}, "add"),
        ({"add": ["dog"], "color": "red"}, "color"),
    ],
)
def test_an_edit_that_makes_no_sense_is_refused_by_name(web, body, named):
    _, (image,) = tagged(web, {"dog": 0.9})
    answer = web.client.patch(f"/api/v1/images/{image}/tags", json=body)
    assert answer.status_code == 422
    assert named in answer.json["detail"]
    assert "Value error" not in answer.json["detail"]
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize(("data", "kind"), [("{", "application/json"), ('{"add":["\\ud800"]}', "application/json")])
def test_a_body_that_is_no_json_is_refused(web, data, kind):
    _, (image,) = tagged(web, {"dog": 0.9})
    answer = web.client.patch(f"/api/v1/images/{image}/tags", data=data, content_type=kind)
    assert answer.status_code in (400, 422)
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("patch", "/images/img_none/tags", {"add": ["dog"]}),
        ("post", "/images/img_none/tags/undo", {"edit_id": "edt_none"}),
        ("post", "/images/{image}/tags/undo", {"edit_id": "edt_none"}),
        ("post", "/images/img_none/feedback", {"tag": "dog", "verdict": "add"}),
        ("patch", "/batches/bat_none/tags", {"image_ids": ["img_none"], "add": ["dog"]}),
        ("post", "/batches/bat_none/tags/undo", {"edit_id": "edt_none"}),
    ],
)
def test_what_is_not_there_is_not_found(web, method, path, body):
    _, (image,) = tagged(web, {"dog": 0.9})
    answer = getattr(web.client, method)(f"/api/v1{path}".replace("{image}", image), json=body)
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"


def test_tags_are_counted_over_all_batches_and_found_by_their_beginning(web):
    _, (first, _) = tagged(web, {"dog": 0.9, "Doge": 0.1}, {"dog": 0.8, "100 %": 0.2})
    tagged(web, {"dog": 0.9, "cat": 0.4})
    assert web.get("/tags")["tags"][0] == {"name": "dog", "count": 3}
    assert web.get("/tags?q=DO")["tags"] == [{"name": "dog", "count": 3}, {"name": "Doge", "count": 1}]
    assert web.get("/tags?q=%25")["tags"] == []
    assert web.get("/tags?q=100 %25")["tags"] == [{"name": "100 %", "count": 1}]
    assert len(web.get("/tags?limit=2")["tags"]) == 2
    patch(web, f"/images/{first}/tags", remove=["dog"])
    assert web.get("/tags?q=dog")["tags"][0]["count"] == 2


def test_tags_of_one_batch_are_counted_and_a_strange_batch_is_not_found(web):
    batch, _ = tagged(web, {"dog": 0.9, "door": 0.1}, {"Dog": 0.4})
    tagged(web, {"dog": 0.9, "cat": 0.1})
    assert web.get(f"/tags?batch_id={batch}") == {"tags": [{"name": "dog", "count": 2}, {"name": "door", "count": 1}]}
    assert web.get(f"/tags?batch_id={batch}&q=DOO&limit=1") == {"tags": [{"name": "door", "count": 1}]}
    assert web.client.get("/api/v1/tags?batch_id=bat_x").status_code == 404


def test_images_are_found_by_tag_over_all_batches(web):
    _, (first, second) = tagged(web, {"dog": 0.9}, {"dog": 0.2, "dog house": 0.3})
    web.clock.now += 1
    _, (third,) = tagged(web, {"cat": None})

    def found(query: str) -> set[str]:
        return {item["image_id"] for item in web.get(f"/images?{query}")["images"]}

    assert found("tag=Dog") == {first, second}
    assert found("q=do") == {first, second}
    assert found("tag=dog&min_confidence=0.5") == {first}
    assert found("q=dog&min_confidence=0.25") == {first, second}
    assert found("min_confidence=0") == {first, second}
    assert found("") == {first, second, third}
    assert found("tag=nothing") == found("tag=%00") == set()
    patch(web, f"/images/{third}/tags", add=["dog"])
    assert found("tag=dog&min_confidence=0.99") == {third}


def test_who_looks_for_a_dog_finds_a_beagle(web):
    batch, (beagle, cat) = tagged(web, {"Beagle": 0.9, "Tabby": 0.1}, {"tabby": 0.8})

    def found(where: str, query: str) -> set[str]:
        answer = web.get(f"{where}?{query}")
        return {item["image_id"] for item in answer.get("images", answer.get("results"))}

    for where in ("/images", f"/batches/{batch}/results"):
        assert found(where, "tag=dog") == found(where, "tag=Hound") == {beagle}
        assert found(where, "tag=animal") == found(where, "tag=cat") == {beagle, cat}
        assert found(where, "tag=cat&min_confidence=0.5") == {cat}
        assert found(where, "tag=wolf") == found(where, "tag=beagle's") == set()


def test_found_images_come_in_pages_newest_first(web):
    ids: list[str] = []
    for _ in range(3):
        web.clock.now += 1
        ids += sorted(tagged(web, {"dog": 0.9, "dogs": 0.1}, {"cat": 0.5}, {"dog": 0.1})[1])
    for query, expected in (("q=dog", 6), ("tag=dog", 6), ("", 9)):
        seen: list[str] = []
        cursor = ""
        while cursor is not None:
            page = web.get(f"/images?{query}&limit=2{cursor and '&cursor=' + cursor}")
            seen += [item["image_id"] for item in page["images"]]
            cursor = page["next_cursor"]
        assert seen == sorted(set(seen), reverse=True)
        assert len(seen) == expected


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("upload", [0, 1, 2, 3]),
        ("latest", [0, 3, 2, 1]),
        ("surest", [0, 2, 1, 3]),
        ("unsure", [1, 2, 0, 3]),
    ],
)
def test_results_come_in_the_order_asked_for(web, order, expected):
    batch, ids = tagged(web, {"cat": 0.4}, {"dog": 0.2}, {"cat": 0.8, "dog": 0.1}, {})
    patch(web, f"/images/{ids[0]}/tags", add=["dog"])
    found, cursor = [], ""
    while cursor is not None:
        page = web.get(f"/batches/{batch}/results?order={order}&limit=1{cursor and '&cursor=' + cursor}")
        found += [ids.index(item["image_id"]) for item in page["results"]]
        cursor = page["next_cursor"]
    assert found == expected
    assert [item["image_id"] for item in web.get(f"/batches/{batch}/results?q=CA")["results"]] == [ids[0], ids[2]]


@pytest.mark.parametrize("order", ["latest", "surest", "unsure"])
def test_a_cursor_of_another_order_is_refused_by_a_sentence(web, order):
    batch, _ = tagged(web, {"cat": 0.4}, {})
    cursors = {
        given: web.get(f"/batches/{batch}/results?order={given}&limit=1")["next_cursor"]
        for given in ("upload", "latest", "surest", "unsure")
    }
    invalid = [
        "",
        order,
        f"{order}_",
        f"{order}_x",
        f"{order}_1_x",
        f"{order}_1_nan",
        f"{order}_1_0.5_1",
        f"{order}_-1",
    ]
    for cursor in (*invalid, *(cursor for given, cursor in cursors.items() if given != order)):
        answer = web.client.get(f"/api/v1/batches/{batch}/results?order={order}&cursor={cursor}")
        assert answer.status_code == 422, cursor
        assert f"pass the next_cursor of a page with order={order}" in answer.json["detail"]
        assert list(answer.json["errors"]) == ["cursor"]


def test_results_by_tag_and_confidence(web):
    batch, ids = tagged(web, {"dog": 0.9}, {"dog": 0.2, "cat": 0.8}, {})
    patch(web, f"/images/{ids[2]}/tags", add=["dog"])

    def found(query: str) -> list[str]:
        return [item["image_id"] for item in web.get(f"/batches/{batch}/results?{query}")["results"]]

    assert found("tag=DOG") == ids
    assert found("tag=dog&min_confidence=0.5") == [ids[0], ids[2]]
    assert found("min_confidence=0.85") == [ids[0], ids[2]]
    assert found("tag=dog&status=failed") == []
    assert found("tag=") == ids

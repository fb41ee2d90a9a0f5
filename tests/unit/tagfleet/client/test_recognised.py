"""The client does not send content that the service already has."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tagfleet.client import BadAnswer, UnreadableFile


def files(folder: Path, *contents: str) -> list[Path]:
    paths = [folder / f"{content}.jpg" for content in contents]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(content)
    return paths


def sent(service) -> list[str]:
    return [name for names in service.faults.uploads() for name in names]


def test_content_of_another_batch_is_not_sent(service, client, tmp_path):
    paths = files(tmp_path, "one", "two", "three")
    client.upload(client.create_batch(), paths[:2])
    service.faults.requests.clear()
    batch = client.create_batch()
    items = client.upload(batch, [("new name.jpg", paths[1]), paths[2], ("stream.jpg", io.BytesIO(b"one"))])
    assert sent(service) == ["three.jpg"]
    assert [(item.name, item.batch_id) for item in items] == [
        ("new name.jpg", batch.id),
        ("three.jpg", batch.id),
        ("stream.jpg", batch.id),
    ]
    assert [service.content_of(item) for item in items] == [b"two", b"three", b"one"]


def test_where_all_is_known_nothing_is_sent(service, client, tmp_path):
    paths = files(tmp_path, *map(str, range(45)))
    first = client.upload(client.create_batch(), paths)
    service.faults.requests.clear()
    again = client.upload(client.create_batch(), paths)
    assert sent(service) == []
    assert [item.name for item in again] == [item.name for item in first]


def test_what_vanishes_between_question_and_answer_is_sent(service, client, tmp_path):
    paths = files(tmp_path, "one", "two")
    client.upload(client.create_batch(), paths)
    service.faults.answers_next("/images/known", 201, json={"images": [None, None]})
    service.faults.requests.clear()
    assert [item.name for item in client.upload(client.create_batch(), paths)] == ["one.jpg", "two.jpg"]
    assert sent(service) == ["one.jpg", "two.jpg"]


def test_without_the_check_all_is_sent(service, client, tmp_path):
    paths = files(tmp_path, "one")
    for _ in range(2):
        client.upload(client.create_batch(), paths, check=False)
    assert sent(service) == ["one.jpg"] * 2
    assert service.faults.count("/images/check") == 0


def test_a_file_that_cannot_be_read_keeps_the_others_in_their_places(service, client, tmp_path):
    paths = files(tmp_path, "one", "two", "three")
    client.upload(client.create_batch(), paths[2:])
    unreadable: list[UnreadableFile] = []
    gone = tmp_path / "gone.jpg"
    items = client.upload(client.create_batch(), [paths[0], gone, paths[2], paths[1]], unreadable=unreadable.append)
    assert [item.name for item in items] == ["one.jpg", "three.jpg", "two.jpg"]
    assert [error.name for error in unreadable] == ["gone.jpg"]


def test_an_answer_that_leaves_an_image_out_is_no_answer(service, client, tmp_path):
    service.faults.answers_next("/images", 201, json={"images": []})
    with pytest.raises(BadAnswer):
        client.upload(client.create_batch(), files(tmp_path, "one"))

"""Tags across batches, and what people change about them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from typing import Literal

from tagfleet.client.calls import Calls, batch_id, given, image_id
from tagfleet.client.model import Batch, Edit, Item, TagCount

_PAGE = 500


class Tags(Calls):
    """A person's tags are never overwritten by a model's."""

    def tags(self, prefix: str = "", *, limit: int | None = None) -> list[TagCount]:
        """Tags that begin with `prefix`, each with the number of images that have it."""
        found = self._transport.json("GET", "/tags", params={"q": prefix, **given(limit=limit)})
        return self._read(lambda data: [TagCount(tag["name"], tag["count"]) for tag in data["tags"]], found)

    def search(
        self, tag: str | None = None, *, prefix: str | None = None, min_confidence: float | None = None
    ) -> Iterator[Item]:
        """Images of all batches that have the tag, or one that begins with `prefix`, fetched page by page."""
        params = {"limit": _PAGE, **given(tag=tag, q=prefix, min_confidence=min_confidence)}
        for data in self._pages("/images", "images", params):
            yield self._read(Item.from_json, data)

    def edit_tags(self, image: Item | str, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Edit:
        """Add and remove tags of one image."""
        body = {"add": list(add), "remove": list(remove)}
        answer = self._transport.json("PATCH", f"/images/{image_id(image)}/tags", json=body, headers=_once())
        return self._read(lambda data: Edit(data["edit_id"], [Item.from_json(data["image"])]), answer)

    def edit_tags_of_many(
        self, batch: Batch | str, images: Iterable[Item | str], *, add: Iterable[str] = (), remove: Iterable[str] = ()
    ) -> Edit:
        """Add and remove tags of several images of a batch: one edit, undone as one."""
        body = {"image_ids": list(map(image_id, images)), "add": list(add), "remove": list(remove)}
        answer = self._transport.json("PATCH", f"/batches/{batch_id(batch)}/tags", json=body, headers=_once())
        return self._read(lambda data: Edit(data["edit_id"], list(map(Item.from_json, data["images"]))), answer)

    def undo(self, edit: Edit) -> list[Item]:
        """The images without what the edit did; undoing it once more changes nothing."""
        if len(edit.images) == 1:
            path = f"/images/{edit.images[0].image_id}/tags/undo"
            return [self._read(lambda data: Item.from_json(data["image"]), self._undone(path, edit))]
        path = f"/batches/{edit.images[0].batch_id}/tags/undo"
        return self._read(lambda data: list(map(Item.from_json, data["images"])), self._undone(path, edit))

    def feedback(self, image: Item | str, tag: str, verdict: Literal["accept", "reject", "add"]) -> Item:
        """Say of a tag that it is right, wrong, or missing."""
        body = {"tag": tag, "verdict": verdict}
        answer = self._transport.json("POST", f"/images/{image_id(image)}/feedback", json=body, headers=_once())
        return self._read(lambda data: Item.from_json(data["image"]), answer)

    def _undone(self, path: str, edit: Edit) -> object:
        return self._transport.json("POST", path, json={"edit_id": edit.id})


def _once() -> dict[str, str]:
    """However often the transport repeats a request with these headers, it makes one edit."""
    return {"Idempotency-Key": secrets.token_hex(16)}

"""Operations on tags: search them across batches, and edit them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from typing import Literal

from tagfleet.client._calls import Calls, drop_none, to_batch_id, to_image_id
from tagfleet.client._model import Batch, Edit, Item, TagCount

_PAGE = 500


class Tags(Calls):
    """Operations on tags. A model never overwrites a person's tags."""

    def tags(self, prefix: str = "", *, limit: int | None = None) -> list[TagCount]:
        """Return the tags that begin with `prefix`, each with its number of images."""
        found = self._transport.json("GET", "/tags", params={"q": prefix, **drop_none(limit=limit)})
        return self._parse(lambda data: [TagCount(tag["name"], tag["count"]) for tag in data["tags"]], found)

    def search(
        self, tag: str | None = None, *, prefix: str | None = None, min_confidence: float | None = None
    ) -> Iterator[Item]:
        """Yield the images of all batches that have this tag, or a tag that begins with `prefix`, page by page."""
        params = {"limit": _PAGE, **drop_none(tag=tag, q=prefix, min_confidence=min_confidence)}
        for data in self._pages("/images", "images", params):
            yield self._parse(Item.from_json, data)

    def edit_tags(self, image: Item | str, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Edit:
        """Add and remove tags of one image."""
        body = {"add": list(add), "remove": list(remove)}
        answer = self._transport.json("PATCH", f"/images/{to_image_id(image)}/tags", json=body, headers=_key_header())
        return self._parse(lambda data: Edit(data["edit_id"], [Item.from_json(data["image"])]), answer)

    def edit_tags_of_many(
        self, batch: Batch | str, images: Iterable[Item | str], *, add: Iterable[str] = (), remove: Iterable[str] = ()
    ) -> Edit:
        """Add and remove tags of several images of a batch, as one edit, which `undo` undoes as a whole."""
        body = {"image_ids": list(map(to_image_id, images)), "add": list(add), "remove": list(remove)}
        answer = self._transport.json("PATCH", f"/batches/{to_batch_id(batch)}/tags", json=body, headers=_key_header())
        return self._parse(lambda data: Edit(data["edit_id"], list(map(Item.from_json, data["images"]))), answer)

    def undo(self, edit: Edit) -> list[Item]:
        """Undo an edit and return its images. Undoing it again changes nothing.

        Raises ValueError for an edit without images, which does not say where to undo it.
        """
        if not edit.images:
            raise ValueError(
                f"edit {edit.id} has no images; undo the edit that edit_tags or edit_tags_of_many returned"
            )
        if len(edit.images) == 1:
            path = f"/images/{edit.images[0].image_id}/tags/undo"
            return [self._parse(lambda data: Item.from_json(data["image"]), self._post_undo(path, edit))]
        path = f"/batches/{edit.images[0].batch_id}/tags/undo"
        return self._parse(lambda data: list(map(Item.from_json, data["images"])), self._post_undo(path, edit))

    def feedback(self, image: Item | str, tag: str, verdict: Literal["accept", "reject", "add"]) -> Item:
        """Say that a tag is right, wrong, or missing."""
        body = {"tag": tag, "verdict": verdict}
        answer = self._transport.json(
            "POST", f"/images/{to_image_id(image)}/feedback", json=body, headers=_key_header()
        )
        return self._parse(lambda data: Item.from_json(data["image"]), answer)

    def _post_undo(self, path: str, edit: Edit) -> object:
        return self._transport.json("POST", path, json={"edit_id": edit.id})


def _key_header() -> dict[str, str]:
    """Return a header with which repeats of one request count as one edit."""
    return {"Idempotency-Key": secrets.token_hex(16)}

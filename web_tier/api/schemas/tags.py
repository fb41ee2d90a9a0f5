"""Schemas of tags: edits, feedback and search."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator

from core.domain.messages import Confidence
from web_tier.api.schemas import RequestBody, example, example_of
from web_tier.api.schemas.batches import CURSOR, ItemOut, page_limit
from web_tier.catalog.edits import MAX_TAG, clean_tag, tag_key

MAX_IMAGES = 1000
"""Images of one bulk edit."""

_MAX_TAGS = 100
_EDIT_ID = "edt_01mcc5rm00k2c7d8e9fgh3"
_Search = Annotated[str, Field(max_length=200)]

TagName = Annotated[str, Field(min_length=1, max_length=MAX_TAG), AfterValidator(clean_tag)]
TagNames = Annotated[list[TagName], Field(max_length=_MAX_TAGS)]
EditId = Annotated[str, Field(max_length=64, pattern=r"^[0-9a-z_]+$")]


class TagEdit(RequestBody):
    """Tags to add and tags to remove; upper and lower case make no difference."""

    model_config = example({"add": ["our dog"], "remove": ["sofa"]})
    add: TagNames = Field([])
    remove: TagNames = Field([])

    @model_validator(mode="after")
    def _says_something_once(self) -> TagEdit:
        if not self.add and not self.remove:
            raise ValueError("name at least one tag to add or to remove")
        both = {tag_key(name) for name in self.add} & {tag_key(name) for name in self.remove}
        if both:
            raise ValueError(f"a tag can't be added and removed at once: {', '.join(sorted(both))}")
        return self


class BulkEdit(TagEdit):
    """The same for several images of the batch. It is one edit, and is undone as one."""

    model_config = example({"image_ids": [example_of(ItemOut)["image_id"]], "add": ["our dog"], "remove": []})
    image_ids: Annotated[list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=MAX_IMAGES)]


class Undo(RequestBody):
    model_config = example({"edit_id": _EDIT_ID})
    edit_id: EditId


class FeedbackRequest(RequestBody):
    """`accept` and `reject` judge a tag of the image; `add` names one that is missing."""

    model_config = example({"tag": "golden retriever", "verdict": "reject"})
    tag: TagName
    verdict: Literal["accept", "reject", "add"]


class ImageOut(BaseModel):
    model_config = example({"image": example_of(ItemOut)})
    image: ItemOut


class EditedOut(ImageOut):
    model_config = example({"image": example_of(ItemOut), "edit_id": _EDIT_ID})
    edit_id: str


class ImagesOut(BaseModel):
    model_config = example({"images": [example_of(ItemOut)]})
    images: list[ItemOut]


class BulkEditedOut(ImagesOut):
    model_config = example({"images": [example_of(ItemOut)], "edit_id": _EDIT_ID})
    edit_id: str


class TagsQuery(BaseModel):
    q: _Search = Field("", description="The beginning of the tag, in any case")
    batch_id: Annotated[str, Field(max_length=64)] | None = Field(None, description="Only tags of this batch")
    limit: int = page_limit(50)


class TagCountOut(BaseModel):
    """`count` is the number of images with the tag."""

    name: str
    count: int


class TagsOut(BaseModel):
    model_config = example({"tags": [{"name": "golden retriever", "count": 41}]})
    tags: list[TagCountOut]


class SearchQuery(BaseModel):
    tag: _Search | None = Field(None, description="Only images with this tag or a kind of it, in any case")
    q: _Search | None = Field(None, description="Only images with a tag that begins so, in any case")
    min_confidence: Confidence | None = Field(
        None, description="The least confidence of that tag; a person's tag always has enough"
    )
    cursor: Annotated[str, Field(max_length=64, pattern=r"^[0-9a-z_]+$")] | None = Field(None, description=CURSOR)
    limit: int = page_limit(100)


class SearchOut(ImagesOut):
    model_config = example({"images": [example_of(ItemOut)], "next_cursor": None})
    next_cursor: str | None

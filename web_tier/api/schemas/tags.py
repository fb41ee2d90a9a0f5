"""The shapes of the API's requests and answers about tags."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from core.domain.messages import Confidence
from web_tier.api.schemas.batches import MAX_PAGE, ItemOut
from web_tier.catalog.edits import MAX_TAG, clean_tag, tag_key

MAX_IMAGES = 1000
"""Images of one bulk edit."""

_MAX_TAGS = 100
_Sought = Annotated[str, Field(max_length=200)]

TagName = Annotated[str, Field(min_length=1, max_length=MAX_TAG), AfterValidator(clean_tag)]
TagNames = Annotated[list[TagName], Field(max_length=_MAX_TAGS)]
EditId = Annotated[str, Field(max_length=64, pattern=r"^[0-9a-z_]+$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TagEdit(_Body):
    """Tags to add and tags to remove; upper and lower case make no difference."""

    add: TagNames = []
    remove: TagNames = []

    @model_validator(mode="after")
    def _says_something_once(self) -> TagEdit:
        if not self.add and not self.remove:
            raise ValueError("name at least one tag to add or to remove")
        both = {tag_key(name) for name in self.add} & {tag_key(name) for name in self.remove}
        if both:
            raise ValueError(f"a tag can't be added and removed at once: {', '.join(sorted(both))}")
        return self


class BulkEdit(TagEdit):
    """The same for several images of the batch; the whole is one edit, and is undone as one."""

    image_ids: Annotated[list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=MAX_IMAGES)]


class Undo(_Body):
    edit_id: EditId


class FeedbackRequest(_Body):
    """`accept` and `reject` judge a tag that the image has; `add` names one that is missing."""

    tag: TagName
    verdict: Literal["accept", "reject", "add"]


class ImageOut(BaseModel):
    image: ItemOut


class EditedOut(ImageOut):
    edit_id: str


class ImagesOut(BaseModel):
    images: list[ItemOut]


class BulkEditedOut(ImagesOut):
    edit_id: str


class TagsQuery(BaseModel):
    q: _Sought = Field("", description="What the tag begins with, in any case")
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50


class TagCountOut(BaseModel):
    """`count` is the number of images that have the tag."""

    name: str
    count: int


class TagsOut(BaseModel):
    tags: list[TagCountOut]


class SearchQuery(BaseModel):
    tag: _Sought | None = Field(None, description="A tag that the image has, in any case, or what it is a kind of")
    q: _Sought | None = Field(None, description="What one of its tags begins with, in any case")
    min_confidence: Confidence | None = Field(None, description="How sure that tag is at least; a person's always is")
    cursor: Annotated[str, Field(max_length=64, pattern=r"^[0-9a-z_]+$")] | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 100


class SearchOut(ImagesOut):
    next_cursor: str | None

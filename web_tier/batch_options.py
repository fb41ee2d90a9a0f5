"""What a batch asks for: what of it travels with its jobs, and which tags of a result are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from core.messages import TagOptions

_MOST = 1000
_MAX_NAMES = 1000

TagName = Annotated[str, Field(min_length=1, max_length=200)]
TagNames = Annotated[list[TagName], Field(max_length=_MAX_NAMES)]


class BatchOptions(TagOptions):
    """`top_k` tags at most are asked of the tagger, none below `min_confidence`; null takes the pool's default.

    Of these only tags named in `include` are kept, if it names any, and none named in `exclude`, upper or lower case;
    of the rest the `max_tags` most confident. With `include` or `exclude` the tagger is asked for all that it has, and
    `max_tags` is `top_k` where it is null.
    """

    max_tags: Annotated[int, Field(ge=1, le=_MOST)] | None = None
    include: TagNames = Field(default_factory=list)
    exclude: TagNames = Field(default_factory=list)

    @property
    def selects(self) -> bool:
        return bool(self.include or self.exclude)


def settled(options: BatchOptions, pool_top_k: int) -> BatchOptions:
    """The options with what they leave open and later steps need."""
    if not options.selects or options.max_tags is not None:
        return options
    return options.model_copy(update={"max_tags": options.top_k or min(pool_top_k, _MOST)})


def for_jobs(options: dict[str, Any]) -> TagOptions:
    """The part of a batch's options that its tagger obeys."""
    known = BatchOptions.model_validate(options)
    # What is left out here must not cost a place among the few that are asked for.
    top_k = _MOST if known.selects else known.top_k
    return TagOptions(top_k=top_k, min_confidence=known.min_confidence)


def kept(tags: Sequence[dict[str, Any]], options: dict[str, Any]) -> list[dict[str, Any]]:
    """The tags of a result that the batch wants, in their order, which is by confidence."""
    known = BatchOptions.model_validate(options)
    include, exclude = _folded(known.include), _folded(known.exclude)
    wanted = [tag for tag in tags if (name := _fold(tag["name"])) not in exclude and (not include or name in include)]
    return wanted[: known.max_tags]


def _folded(names: Sequence[str]) -> set[str]:
    return {_fold(name) for name in names}


def _fold(name: str) -> str:
    return " ".join(name.casefold().split())

"""A batch's options: which of them its jobs carry, and which tags of a result they keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from config.settings import Task
from config.taggers import family_of
from core.domain.messages import TagOptions

_MOST = 1000
_MAX_NAMES = 1000

TagName = Annotated[str, Field(min_length=1, max_length=200)]
TagNames = Annotated[list[TagName], Field(max_length=_MAX_NAMES)]


class BatchOptions(TagOptions):
    """The tagger returns at most `top_k` tags, none below `min_confidence`; null means the pool's default.

    Of these, only tags named in `include` are kept, if it names any, and none named in `exclude`; case does not matter.
    Of the rest, the `max_tags` most confident are kept. With `include` or `exclude` the tagger returns all its tags,
    and a null `max_tags` means `top_k`.

    `cumulative` asks for the fewest tags whose confidences add up to it. It needs a tagger whose confidences sum to 1.
    `tasks` says what florence2 does: detect (things, with boxes), regions (the same, described in words), caption,
    detailed_caption, and find (the things named in `candidates`; `candidates` alone means find alone). florence2
    returns no confidences, so `min_confidence` and `cumulative` do not affect its tags.
    """

    tasks: Annotated[tuple[Task, ...], Field(min_length=1)] | None = None
    candidates: Annotated[tuple[TagName, ...], Field(min_length=1, max_length=100)] | None = None
    max_tags: Annotated[int, Field(ge=1, le=_MOST)] | None = None
    include: TagNames = Field(default_factory=list)
    exclude: TagNames = Field(default_factory=list)

    @model_validator(mode="after")
    def _says_what_to_find(self) -> Self:
        if self.tasks and "find" in self.tasks and not self.candidates:
            raise ValueError("the task find needs candidates: the names of the things to find")
        if self.candidates and self.tasks and "find" not in self.tasks:
            raise ValueError("candidates need the task find, which is not among tasks")
        return self

    @property
    def selects(self) -> bool:
        """Whether tags are kept or left out by their names."""
        return bool(self.include or self.exclude)


def with_defaults(options: BatchOptions, pool_top_k: int) -> BatchOptions:
    """Return the options with the defaults filled in that later steps need."""
    if not options.selects or options.max_tags is not None:
        return options
    return options.model_copy(update={"max_tags": options.top_k or min(pool_top_k, _MOST)})


def unsupported(options: BatchOptions, tagger: str) -> list[str]:
    """Return the names of given options that this tagger does not have."""
    if family_of(tagger) == "florence2":
        return []
    return [name for name in ("tasks", "candidates") if getattr(options, name) is not None]


def job_options(options: dict[str, Any]) -> TagOptions:
    """Return the options that a batch's jobs carry to the tagger."""
    known = BatchOptions.model_validate(options)
    # Tags that are filtered out later must not take the place of others.
    top_k = _MOST if known.selects else known.top_k
    return TagOptions(
        top_k=top_k,
        min_confidence=known.min_confidence,
        cumulative=known.cumulative,
        tasks=known.tasks,
        candidates=known.candidates,
    )


def select_tags(tags: Sequence[dict[str, Any]], options: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tags of a result that the batch keeps. `tags` are in the order of their confidence."""
    known = BatchOptions.model_validate(options)
    if not known.include and not known.exclude:
        return list(tags[: known.max_tags])
    include, exclude = _folded(known.include), _folded(known.exclude)
    wanted = [tag for tag in tags if (name := _fold(tag["name"])) not in exclude and (not include or name in include)]
    return wanted[: known.max_tags]


def _folded(names: Sequence[str]) -> set[str]:
    return {_fold(name) for name in names}


def _fold(name: str) -> str:
    return " ".join(name.casefold().split())

"""What a batch asks for: what of it travels with its jobs, and which tags of a result are kept."""

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
    """`top_k` tags at most are asked of the tagger, none below `min_confidence`; null takes the pool's default.

    Of these only tags named in `include` are kept, if it names any, and none named in `exclude`, upper or lower case;
    of the rest the `max_tags` most confident. With `include` or `exclude` the tagger is asked for all that it has, and
    `max_tags` is `top_k` where it is null.

    `cumulative` asks for the fewest tags whose confidences add up to it, of a tagger whose confidences sum to 1.
    `tasks` says what florence2 is to do: detect (things, with boxes), regions (the same described in words), caption,
    detailed_caption, and find (the things named in `candidates`, which alone ask for nothing else). It gives no
    confidences, so that `min_confidence` and `cumulative` leave its tags alone.
    """

    tasks: Annotated[tuple[Task, ...], Field(min_length=1)] | None = None
    candidates: Annotated[tuple[TagName, ...], Field(min_length=1, max_length=100)] | None = None
    max_tags: Annotated[int, Field(ge=1, le=_MOST)] | None = None
    include: TagNames = Field(default_factory=list)
    exclude: TagNames = Field(default_factory=list)

    @model_validator(mode="after")
    def _says_what_to_find(self) -> Self:
        if self.tasks and "find" in self.tasks and not self.candidates:
            raise ValueError("the task find looks for things that candidates name, and there are none")
        if self.candidates and self.tasks and "find" not in self.tasks:
            raise ValueError("candidates are for the task find, which is not among tasks")
        return self

    @property
    def selects(self) -> bool:
        return bool(self.include or self.exclude)


def settled(options: BatchOptions, pool_top_k: int) -> BatchOptions:
    """The options with what they leave open and later steps need."""
    if not options.selects or options.max_tags is not None:
        return options
    return options.model_copy(update={"max_tags": options.top_k or min(pool_top_k, _MOST)})


def misplaced(options: BatchOptions, tagger: str) -> list[str]:
    """Options that this tagger knows nothing of."""
    if family_of(tagger) == "florence2":
        return []
    return [name for name in ("tasks", "candidates") if getattr(options, name) is not None]


def for_jobs(options: dict[str, Any]) -> TagOptions:
    """The part of a batch's options that its tagger obeys."""
    known = BatchOptions.model_validate(options)
    # What is left out here must not cost a place among the few that are asked for.
    top_k = _MOST if known.selects else known.top_k
    return TagOptions(
        top_k=top_k,
        min_confidence=known.min_confidence,
        cumulative=known.cumulative,
        tasks=known.tasks,
        candidates=known.candidates,
    )


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

"""Every error that Tagfleet raises on purpose. A message says what happened, to what, and what to do."""

from __future__ import annotations

from core.exits import memory_cause


class TagfleetError(Exception):
    """Base of all; its text is written for the person who meets it."""


def describe_error(error: BaseException) -> str:
    """What to tell people of any error: those that are not ours are named by their kind too."""
    if isinstance(error, TagfleetError):
        return str(error)
    said = f"{type(error).__name__}: {error}".removesuffix(": ")
    cause = memory_cause(None, said)
    return f"{said}; {cause}" if cause else said


class NotFound(TagfleetError):
    """The store has no object under this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no object {key!r} in the store")
        self.key = key


class Unreadable(TagfleetError):
    """An object lies there and cannot be had: too large, archived, not for these credentials. No retry helps."""


class PreconditionFailed(TagfleetError):
    """A conditional put lost: the object is there already, is gone, or changed since it was read."""

    def __init__(self, key: str) -> None:
        super().__init__(f"object {key!r} changed since it was read")
        self.key = key


class Unavailable(TagfleetError):
    """A part that Tagfleet stands on does not answer now: disk full, locked, down. Retrying may help."""


class Misconfigured(Unavailable):
    """A part answers, and refuses: credentials, a permission, a name. It goes on once somebody mends what it says.

    What runs for long waits for that as for anything unavailable, and shows the line meanwhile: credentials are
    renewed and roles are mended under running workers. A command that runs once ends with the line.
    """


class UnsuitableStore(TagfleetError):
    """The store answers and lacks what Tagfleet stands on. No retry helps: it has to be another one."""


class PartialSend(Unavailable):
    """Some messages of one `send` were not accepted; `unsent` holds their positions in the call."""

    def __init__(self, queue: str, unsent: list[int]) -> None:
        super().__init__(f"queue {queue}: {len(unsent)} messages were not accepted")
        self.unsent = unsent


class BadMessage(TagfleetError):
    """A queue message that this version cannot read; its body stays as it is and ends in the dead letters."""


class BadImage(TagfleetError):
    """The image can never be tagged (no image, damaged, too large). The text is shown to its owner."""


class DecoderLost(BadImage):
    """A decoder in a process of its own crashed, or took too long, on this image."""


class WeightsMissing(TagfleetError):
    """A tagger's weights were found in none of the places where they are looked for."""


class WeightsInvalid(TagfleetError):
    """A weights file is damaged or belongs to another network."""


class DataInvalid(TagfleetError):
    """Labelled images that cannot be learned from as they are; the text names file and line."""


class RunInvalid(TagfleetError):
    """The folder of a training is damaged, or is that of another training than the one asked for."""


class TrainingStopped(TagfleetError):
    """A training cannot go on: no finite loss, no room for its state, a job that failed. The last good state stays."""

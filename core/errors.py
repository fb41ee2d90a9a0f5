"""Every error that Tagfleet raises on purpose. A message says what happened, to what, and what to do next."""

from __future__ import annotations

from core.exits import memory_cause


class TagfleetError(Exception):
    """Base class of Tagfleet's errors. The text is written for the person who reads it."""


def describe_error(error: BaseException) -> str:
    """Return a line about any error for people. For an error that is not ours, it includes the type."""
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
    """The object exists and cannot be read: it is too large, archived, or not for these credentials. No retry helps."""


class PreconditionFailed(TagfleetError):
    """A conditional put lost: the object exists already, is gone, or changed since it was read."""

    def __init__(self, key: str) -> None:
        super().__init__(f"object {key!r} changed since it was read")
        self.key = key


class Unavailable(TagfleetError):
    """Something that Tagfleet depends on does not answer now: disk full, file locked, service down. Retry later."""


class Misconfigured(Unavailable):
    """A service answers and refuses: bad credentials, a missing permission, a wrong name. Somebody has to fix it.

    Long-running processes retry it like any Unavailable and show the message meanwhile: people renew credentials and
    fix roles while workers run. A command that runs once ends with the message.
    """


class UnsuitableStore(TagfleetError):
    """The store answers and lacks what Tagfleet needs. No retry helps: choose another store."""


class PartialSend(Unavailable):
    """The queue did not accept some messages of one `send`; `unsent` holds their positions in the call."""

    def __init__(self, queue: str, unsent: list[int]) -> None:
        super().__init__(f"queue {queue}: {len(unsent)} messages were not accepted")
        self.unsent = unsent


class BadMessage(TagfleetError):
    """This version cannot read a queue message. Its body stays as it is and ends among the dead letters."""


class BadImage(TagfleetError):
    """The image can never be tagged (not an image, damaged, too large). The text is shown to its owner."""


class DecoderLost(BadImage):
    """The decoder's child process crashed on this image, or took too long."""


class WeightsMissing(TagfleetError):
    """A tagger's weights were found in none of the searched places."""


class WeightsInvalid(TagfleetError):
    """A weights file is damaged or belongs to another network."""


class GpuUnusable(TagfleetError):
    """A GPU is expected on this machine, and does not compute."""


class DataInvalid(TagfleetError):
    """Labelled images cannot be trained on as they are. The text names file and line."""


class RunInvalid(TagfleetError):
    """The folder of a training run is damaged, or belongs to another run than the requested one."""


class TrainingStopped(TagfleetError):
    """A training run cannot go on: the loss is not finite, the disk is full, a job failed. The last state is kept."""

"""The stored progress of a run: one document, changed by compare-and-set, and the run's portions."""

from __future__ import annotations

import hashlib
import secrets
from base64 import b32encode
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from core.domain.messages import SentOptions, TagOptions
from core.errors import PreconditionFailed, TagfleetError
from core.storage import layout
from core.storage.documents import Document
from core.storage.ports import IfAbsent, ObjectStore

_DIGITS = 16


class RunTaken(TagfleetError):
    """Another process has resumed this run."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"another `tagfleet tag` has resumed run {run_id}; this one stops, and nothing is lost")


class RunDiffers(TagfleetError):
    """A run with this name tags other objects, or with other options."""


class Portion(BaseModel):
    """Objects that were listed together. An object's position is part of its result's id."""

    model_config = ConfigDict(frozen=True)
    uris: tuple[str, ...]
    passed_over: int
    """Number of objects in between whose keys do not look like images."""
    cursor: str
    """The listing resumes from here."""
    last: bool


class RunState(BaseModel):
    """State of a run: portions 1 to `portions` are listed, 1 to `gathered` are written as Parquet. Times are Unix
    seconds.
    """

    model_config = ConfigDict(frozen=True)
    v: int = 1
    listing: str
    pool: str
    options: SentOptions = TagOptions()
    everything: bool = False
    begun_at: float = 0.0
    finished_at: float | None = None
    cursor: str = ""
    listed: bool = False
    """Whether the listing has ended."""
    portions: int = 0
    passed_over: int = 0
    sending: int = 1
    """The portion that is being sent."""
    offset: int = 0
    """Number of its objects that are sent."""
    sent: int = 0
    gathered: int = 0
    done: int = 0
    """Results in gathered portions, including failed ones."""
    failed: int = 0
    writer: str = ""
    """The process that wrote this version. It differs between processes, so that each recognises its own writes."""
    seq: int = Field(default=0, ge=0)
    """Number of this version."""


def run_id_of(listing: str, pool: str) -> str:
    """Return the id of a run that has no name: the same for the same listing and pool."""
    digest = hashlib.sha256(f"{pool}\n{listing}".encode()).digest()
    return f"run_{b32encode(digest).decode().lower()[:_DIGITS]}"


class RunFile:
    """The state of one run, in this process and in the store. Only the process that opened it last may change it."""

    def __init__(self, store: ObjectStore, run_id: str, new: RunState, clock: Callable[[], float]) -> None:
        """Begin a run, or resume it. Raises RunDiffers, RunTaken, Unavailable."""
        self.run_id = run_id
        self._store = store
        self._writer = secrets.token_hex(8)
        self._document = Document(
            store,
            layout.run_key(run_id),
            parse=RunState.model_validate_json,
            serialise=lambda state: state.model_dump_json().encode(),
        )
        found = self._document.load()
        self.resumed = found is not None
        self.state = found or new.model_copy(update={"begun_at": clock()})
        _check(run_id, self.state, new)
        if self.state.finished_at is None:
            self.change()

    def change(self, **values: object) -> None:
        """Change the state here and in the store. Raises RunTaken if another process resumed the run, Unavailable."""
        new = self.state.model_copy(update=values | {"writer": self._writer, "seq": self.state.seq + 1})
        try:
            self._document.save(new)
        except PreconditionFailed:
            raise RunTaken(self.run_id) from None
        self.state = new

    def portion(self, number: int) -> Portion:
        """Return a portion that was listed. Raises NotFound, Unavailable."""
        return Portion.model_validate_json(self._store.get(layout.portion_key(self.run_id, number)).data)

    def forget(self) -> None:
        """Delete the state and the portions of a run that found no images, so that the next one lists again.

        Raises Unavailable.
        """
        numbers = range(1, self.state.portions + 1)
        self._store.delete([layout.run_key(self.run_id), *(layout.portion_key(self.run_id, n) for n in numbers)])

    def keep_portion(self, number: int, portion: Portion) -> Portion:
        """Store a portion and return it. If one is stored under this number, its jobs may be sent: return that one."""
        key = layout.portion_key(self.run_id, number)
        try:
            data = portion.model_dump_json().encode()
            self._store.put(key, data, content_type="application/json", condition=IfAbsent())
        except PreconditionFailed:
            return self.portion(number)
        return portion


def _check(run_id: str, there: RunState, wanted: RunState) -> None:
    for name in ("listing", "pool", "options", "everything"):
        if getattr(there, name) != getattr(wanted, name):
            raise RunDiffers(
                f"run {run_id} was begun with another {name} ({getattr(there, name)}); "
                "repeat it as it was, or give this run its own name: --run NAME"
            )

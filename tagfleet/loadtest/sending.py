"""Sends the photos: some threads of one process, each with one request at a time."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence

from tagfleet.client import Batch, Client, ClientError, Refused
from tagfleet.loadtest.plan import Plan
from tagfleet.loadtest.record import Photo

Clock = Callable[[], float]
"""Seconds since the run began."""


class Book:
    """The photos by name. Each field of a photo is written by one thread only."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._photos: dict[str, Photo] = {}

    @property
    def photos(self) -> list[Photo]:
        return list(self._photos.values())

    def enter(self, name: str, photo: Photo) -> None:
        self._photos[name] = photo

    def tagged(self, name: str, error: str | None) -> None:
        """A photo's end; of two ends, a failure and what replaced it, the later one counts."""
        if photo := self._photos.get(name):
            photo.tagged = self.clock()
            photo.error = error


class _Content(io.BytesIO):
    """Notes when its first byte is taken to be sent; sending it once more, after a lost connection, changes nothing."""

    def __init__(self, content: bytes, photo: Photo, clock: Clock) -> None:
        super().__init__(content)
        self._photo = photo
        self._clock = clock

    def read(self, size: int | None = -1, /) -> bytes:
        if self._photo.sent is None:
            self._photo.sent = self._clock()
        return super().read(size)


class Sender:
    """Sends `photos` as the plan says, spread over `batches`; `stop` ends it after the requests under way."""

    def __init__(
        self, client: Client, plan: Plan, photos: Iterator[tuple[str, bytes]], batches: Sequence[Batch], book: Book
    ) -> None:
        self._client = client
        self._plan = plan
        self._photos = photos
        self._batches = batches
        self._book = book
        self._offsets = plan.offsets()
        self._per_request = plan.per_request if self._offsets is None else 1
        self._taken = 0
        self._requests = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.failure: Exception | None = None
        """What ended the sending before its time: a file of the folder that cannot be read."""
        self._threads = [
            threading.Thread(target=self._send, name=f"sender-{number}", daemon=True)
            for number in range(min(plan.concurrency, plan.count))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def sending(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        self._stopped.set()

    def _send(self) -> None:
        try:
            while not self._stopped.is_set() and (group := self._take()):
                self._send_group(group)
        except Exception as error:  # noqa: BLE001  # whatever it is, the thread that waits for us raises it
            self.failure = error
            self._stopped.set()

    def _take(self) -> tuple[Batch, list[tuple[str, Photo, _Content]]] | None:
        """The next request, at its time."""
        with self._lock:
            group: list[tuple[str, Photo, _Content]] = []
            while len(group) < self._per_request and self._taken < self._plan.count:
                name, content = next(self._photos)
                photo = Photo(bytes=len(content), planned=self._offsets[self._taken] if self._offsets else None)
                self._book.enter(name, photo)
                group.append((name, photo, _Content(content, photo, self._book.clock)))
                self._taken += 1
            batch = self._batches[self._requests % len(self._batches)]
            self._requests += 1
        if not group:
            return None
        planned = group[0][1].planned
        if planned is not None and self._stopped.wait(max(0.0, planned - self._book.clock())):
            return None
        return batch, group

    def _send_group(self, request: tuple[Batch, list[tuple[str, Photo, _Content]]]) -> None:
        batch, group = request
        try:
            self._client.upload(batch, [(name, content) for name, _, content in group], check=False)
        except ClientError as error:
            for _, photo, _ in group:
                if photo.tagged is None:  # else it had arrived, and only the answer was lost
                    photo.error = kind(error)
        else:
            now = self._book.clock()
            for _, photo, _ in group:
                photo.accepted = now


def kind(error: ClientError) -> str:
    """In words that are the same for all errors of a kind."""
    if isinstance(error, Refused):
        return f"refused: HTTP {error.status} {error.title}"
    return {"Unreachable": "nothing answers", "ConnectionLost": "connection lost", "Disconnected": "given up"}.get(
        type(error).__name__, str(error)
    )

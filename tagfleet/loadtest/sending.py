"""Send the photos from several threads of one process, each with one request at a time."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence

from tagfleet.client import Batch, Client, ClientError, Refused
from tagfleet.loadtest.plan import LoadPlan
from tagfleet.loadtest.record import Photo

Clock = Callable[[], float]
"""Returns seconds since the run began."""


class PhotoLog:
    """The photos by name. Only one thread writes each field of a photo."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._photos: dict[str, Photo] = {}

    @property
    def photos(self) -> list[Photo]:
        return list(self._photos.values())

    def add(self, name: str, photo: Photo) -> None:
        self._photos[name] = photo

    def tagged(self, name: str, error: str | None) -> None:
        """Record that the photo has finished. A later outcome replaces an earlier failure."""
        if photo := self._photos.get(name):
            photo.tagged = self.clock()
            photo.error = error


class _Content(io.BytesIO):
    """Records when its first byte is read for sending. Sending it again after a lost connection changes nothing."""

    def __init__(self, content: bytes, photo: Photo, clock: Clock) -> None:
        super().__init__(content)
        self._photo = photo
        self._clock = clock

    def read(self, size: int | None = -1, /) -> bytes:
        if self._photo.sent is None:
            self._photo.sent = self._clock()
        return super().read(size)


class Sender:
    """Sends `photos` as the plan says, spread over `batches`. `stop` ends it after the requests in progress."""

    def __init__(
        self,
        client: Client,
        plan: LoadPlan,
        photos: Iterator[tuple[str, bytes]],
        batches: Sequence[Batch],
        log: PhotoLog,
    ) -> None:
        self._client = client
        self._plan = plan
        self._photos = photos
        self._batches = batches
        self._log = log
        self._offsets = plan.offsets()
        self._taken = 0
        self._requests = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.failure: Exception | None = None
        """The exception that ended sending early: for example, for an unreadable file."""
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
        except Exception as error:  # noqa: BLE001  # the waiting thread raises it
            self.failure = error
            self._stopped.set()

    def _take(self) -> tuple[Batch, list[tuple[str, Photo, _Content]]] | None:
        """Wait until the next request is due and return it, or None if there is none."""
        with self._lock:
            group: list[tuple[str, Photo, _Content]] = []
            per_request = self._plan.per_request if self._offsets is None else 1
            while len(group) < per_request and self._taken < self._plan.count:
                name, content = next(self._photos)
                photo = Photo(bytes=len(content), planned=self._offsets[self._taken] if self._offsets else None)
                self._log.add(name, photo)
                group.append((name, photo, _Content(content, photo, self._log.clock)))
                self._taken += 1
            batch = self._batches[self._requests % len(self._batches)]
            self._requests += 1
        if not group:
            return None
        planned = group[0][1].planned
        if planned is not None and self._stopped.wait(max(0.0, planned - self._log.clock())):
            return None
        return batch, group

    def _send_group(self, request: tuple[Batch, list[tuple[str, Photo, _Content]]]) -> None:
        batch, group = request
        try:
            self._client.upload(batch, [(name, content) for name, _, content in group], check=False)
        except ClientError as error:
            for _, photo, _ in group:
                if photo.tagged is None:  # otherwise the photo arrived, and only the answer was lost
                    photo.error = describe_error(error)
        else:
            now = self._log.clock()
            for _, photo, _ in group:
                photo.accepted = now


def describe_error(error: ClientError) -> str:
    """Describe an error in the same words for all errors of a kind."""
    if isinstance(error, Refused):
        return f"refused: HTTP {error.status} {error.title}"
    return {"Unreachable": "nothing answers", "ConnectionLost": "connection lost", "Disconnected": "given up"}.get(
        type(error).__name__, str(error)
    )

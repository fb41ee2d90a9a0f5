"""The client: one method for each thing that the REST API does."""

from __future__ import annotations

import json
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import httpx

from tagfleet.client import sse
from tagfleet.client.errors import BadAnswer, Disconnected, Refused, UnreadableFile
from tagfleet.client.model import Batch, Item
from tagfleet.client.transport import Patience, Transport
from tagfleet.client.uploads import File, OpenGroup, Source, grouped

T = TypeVar("T")

_PAGE = 500
_SILENCE_S = 40.0  # the service pings every 15 s: after this long the connection is dead


class Client:
    """Talks to one service. Thread-safe; use it as a context manager or call `disconnect` at the end.

    `timeout` is in seconds, for one network operation. Every call may raise `ClientError`.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        timeout: float = 30.0,
        patience: Patience | None = None,
        connections: int = 3,
    ) -> None:
        self._connections = connections
        self._transport = Transport(url, timeout=timeout, patience=patience or Patience(), connections=connections + 2)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.disconnect()

    @property
    def url(self) -> str:
        return self._transport.url

    def disconnect(self) -> None:
        """End all calls that are under way in other threads, and close the connections."""
        self._transport.close()

    # --- batches ------------------------------------------------------------------------------

    def create_batch(
        self,
        tagger: str | None = None,
        *,
        top_k: int | None = None,
        min_confidence: float | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Batch:
        """An open batch for the pool `tagger` (None: the service's default).

        The same `idempotency_key` (made up where none is given) with the same arguments names the same batch.
        """
        asked = {"top_k": top_k, "min_confidence": min_confidence}
        payload = {
            "tagger": tagger,
            "options": {name: value for name, value in asked.items() if value is not None},
            "metadata": dict(metadata or {}),
        }
        headers = {"Idempotency-Key": idempotency_key or secrets.token_hex(16)}
        return self._read(Batch.from_json, self._transport.json("POST", "/batches", json=payload, headers=headers))

    def close(self, batch: Batch | str) -> Batch:
        """No more images will come; closing a closed batch is no error."""
        return self._read(Batch.from_json, self._transport.json("POST", f"/batches/{_id(batch)}/close"))

    def batch(self, batch: Batch | str) -> Batch:
        """The batch as it is now."""
        return self._read(Batch.from_json, self._transport.json("GET", f"/batches/{_id(batch)}"))

    def batches(self, limit: int | None = None) -> Iterator[Batch]:
        """Batches, newest first; all of them or up to `limit`."""
        pages = self._pages("/batches", "batches", {"limit": min(limit or 100, 100)})
        for count, data in enumerate(pages):
            if count == limit:
                return
            yield self._read(Batch.from_json, data)

    # --- images -------------------------------------------------------------------------------

    def upload(
        self,
        batch: Batch | str,
        sources: Iterable[Source],
        *,
        progress: Callable[[list[Item]], None] | None = None,
        unreadable: Callable[[UnreadableFile], None] | None = None,
    ) -> list[Item]:
        """Send files, several requests at once; returns their items in the order of `sources`.

        Memory does not grow with the files' sizes. `progress` gets the items of each request as it is answered;
        `unreadable` gets each file that cannot be read, which is then left out (without it, the first one raises).
        The service keeps a file that it has already (same name, same bytes) only once, so a repeated call is safe.
        """
        items: list[Item] = []
        waiting: deque[Future[tuple[list[Item], list[UnreadableFile]]]] = deque()

        def take() -> None:
            answered, errors = waiting.popleft().result()
            items.extend(answered)
            for error in errors:
                if unreadable is None:
                    raise error
                unreadable(error)
            if progress:
                progress(answered)

        pool = ThreadPoolExecutor(self._connections, thread_name_prefix="upload")
        try:
            for group in grouped(sources):
                waiting.append(pool.submit(self._upload_group, _id(batch), group))
                if len(waiting) > 2 * self._connections:
                    take()
            while waiting:
                take()
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        return items

    def image(self, image_id: str) -> Item:
        return self._read(Item.from_json, self._transport.json("GET", f"/images/{image_id}"))

    def results(self, batch: Batch | str, *, status: str | None = None) -> Iterator[Item]:
        """All items of the batch in the order of their upload, also those that still wait, fetched page by page."""
        params = {"limit": _PAGE} | ({"status": status} if status else {})
        for data in self._pages(f"/batches/{_id(batch)}/results", "results", params):
            yield self._read(Item.from_json, data)

    def stream(self, batch: Batch | str) -> Iterator[Item]:
        """Each item as soon as it is tagged or has failed; ends when the batch is completed.

        An item comes twice when a later result replaced its failure.
        """
        for event in self.events(batch):
            if isinstance(event, Item) and event.finished:
                yield event

    def events(self, batch: Batch | str) -> Iterator[Item | Batch]:
        """Every change of an item and of the batch's counts, from the beginning; ends when the batch is completed.

        A broken connection is resumed where it broke.
        """
        last_id: str | None = None
        failures, failing_since = 0, 0.0
        while True:
            try:
                for event in self._listen(_id(batch), last_id):
                    failures = 0
                    last_id = event.id or last_id
                    yield from self._understood(event)
                    if event.event == "completed":
                        return
                problem: Exception | None = None  # a clean end before the batch's: the service stops or starts anew
            except httpx.TransportError as error:
                problem = self._transport.lost(error)
                if self._transport.stopping.is_set():
                    raise Disconnected from None
                if self._transport.hopeless(problem):
                    raise problem from None
            except Refused as error:
                if error.status not in (429, 502, 503, 504):
                    raise
                problem = error
            failing_since = failing_since if failures else time.monotonic()
            if problem and time.monotonic() - failing_since > self._transport.patience.total_s:
                raise problem
            self._transport.pause(self._transport.patience.pause(failures))
            failures += 1

    # --- the service --------------------------------------------------------------------------

    def models(self) -> list[dict[str, Any]]:
        """The pools: which tagger each wants, which it serves, and why they differ."""
        return self._read(lambda data: list(data["models"]), self._transport.json("GET", "/models"))

    def fleet(self) -> dict[str, Any]:
        """Queues, workers, pools and the controller's last decisions."""
        return self._read(dict, self._transport.json("GET", "/fleet"))

    # --- inside -------------------------------------------------------------------------------

    def _upload_group(self, batch_id: str, files: list[File]) -> tuple[list[Item], list[UnreadableFile]]:
        """Leaves out, one by one, the files that cannot be read."""
        errors: list[UnreadableFile] = []
        while files:
            try:
                with OpenGroup(files, self._transport) as group:
                    answer = self._transport.json("POST", f"/batches/{batch_id}/images", content=group.content())
            except UnreadableFile as error:
                errors.append(error)
                files = [file for file in files if file is not error.file]
            else:
                return self._read(lambda data: [Item.from_json(image) for image in data["images"]], answer), errors
        return [], errors

    def _pages(self, path: str, name: str, params: Mapping[str, Any]) -> Iterator[Any]:
        cursor: str | None = None
        while True:
            asked = {**params, "cursor": cursor} if cursor else params
            page = self._transport.json("GET", path, params=asked)
            yield from self._read(lambda data: data[name], page)
            cursor = page.get("next_cursor")
            if not cursor:
                return

    def _listen(self, batch_id: str, last_id: str | None) -> Iterator[sse.ServerEvent]:
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"} | (
            {"Last-Event-ID": last_id} if last_id else {}
        )
        decoder = sse.Decoder()
        path = f"/batches/{batch_id}/events"
        with self._transport.stream(path, headers=headers, read_timeout=_SILENCE_S) as pieces:
            yield sse.ServerEvent("connected", "")
            for piece in pieces:
                yield from decoder.feed(piece)

    def _understood(self, event: sse.ServerEvent) -> Iterator[Item | Batch]:
        if event.event == "item":
            yield self._read(lambda data: Item.from_json(json.loads(data)), event.data)
        elif event.event in ("batch", "completed"):
            yield self._read(lambda data: Batch.from_json(json.loads(data)), event.data)

    def _read(self, kind: Callable[[Any], T], data: Any) -> T:
        try:
            return kind(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadAnswer(f"{self.url} answered something unexpected ({error!r}): is it a Tagfleet?") from None


def _id(batch: Batch | str) -> str:
    return batch if isinstance(batch, str) else batch.id

"""The client: one method for each thing that the REST API does."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import httpx

from tagfleet.client import sse
from tagfleet.client.calls import batch_id, given, image_id
from tagfleet.client.downloads import suggested_name
from tagfleet.client.errors import Disconnected, Refused
from tagfleet.client.model import Batch, Item
from tagfleet.client.sending import Uploading
from tagfleet.client.service import Service
from tagfleet.client.tags import Tags
from tagfleet.client.transport import Patience, Transport

_PAGE = 500
_SILENCE_S = 40.0  # the service pings every 15 s: after this long the connection is dead


class Client(Uploading, Tags, Service):
    """Talks to one service. Thread-safe; use it as a context manager or call `disconnect` at the end.

    `api_key` is what a service asks for that serves other machines; `timeout` is in seconds, for one network
    operation. Every call may raise `ClientError`.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        patience: Patience | None = None,
        connections: int = 3,
    ) -> None:
        super().__init__(
            Transport(
                url, timeout=timeout, patience=patience or Patience(), connections=connections + 2, api_key=api_key
            )
        )
        self._connections = connections

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.disconnect()

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
        cumulative: float | None = None,
        tasks: Sequence[str] | None = None,
        candidates: Sequence[str] | None = None,
        max_tags: int | None = None,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Batch:
        """An open batch for the pool `tagger` (None: the service's default).

        The tagger gives up to `top_k` tags, none below `min_confidence`; of these the batch keeps those in `include`
        (None: all), without those in `exclude`, and of the rest the `max_tags` most confident. `cumulative` asks for
        the fewest tags whose confidences add up to it.

        `tasks` says what florence2 is to do: "detect", "regions", "caption", "detailed_caption", and "find", which
        looks for the things that `candidates` name.

        The same `idempotency_key` (made up where none is given) with the same arguments names the same batch.
        """
        options = given(
            top_k=top_k,
            min_confidence=min_confidence,
            cumulative=cumulative,
            tasks=tasks,
            candidates=candidates,
            max_tags=max_tags,
            include=include,
            exclude=exclude,
        )
        payload = {
            "tagger": tagger,
            "options": options,
            "metadata": dict(metadata or {}),
        }
        headers = {"Idempotency-Key": idempotency_key or secrets.token_hex(16)}
        return self._read(Batch.from_json, self._transport.json("POST", "/batches", json=payload, headers=headers))

    def close(self, batch: Batch | str) -> Batch:
        """No more images will come; closing a closed batch is no error."""
        return self._read(Batch.from_json, self._transport.json("POST", f"/batches/{batch_id(batch)}/close"))

    def batch(self, batch: Batch | str) -> Batch:
        """The batch as it is now."""
        return self._read(Batch.from_json, self._transport.json("GET", f"/batches/{batch_id(batch)}"))

    def batches(self, limit: int | None = None) -> Iterator[Batch]:
        """Batches, newest first; all of them or up to `limit`."""
        pages = self._pages("/batches", "batches", {"limit": min(limit or 100, 100)})
        for count, data in enumerate(pages):
            if count == limit:
                return
            yield self._read(Batch.from_json, data)

    def cancel(self, batch: Batch | str) -> Batch:
        """Tag no more of it: what is done stays, images that still wait become `cancelled`."""
        return self._read(Batch.from_json, self._transport.json("POST", f"/batches/{batch_id(batch)}/cancel"))

    def retry(self, batch: Batch | str, images: Iterable[Item | str] | None = None) -> int:
        """Have failed images tagged once more, all or these; how many of them are tried."""
        body = {} if images is None else {"image_ids": list(map(image_id, images))}
        answer = self._transport.json("POST", f"/batches/{batch_id(batch)}/retry", json=body)
        return self._read(lambda data: int(data["retried"]), answer)

    def delete(self, batch: Batch | str) -> None:
        """Remove the batch with its images and all that is known of them. Raises Missing where there is none."""
        self._transport.send("DELETE", f"/batches/{batch_id(batch)}")

    def export(self, batch: Batch | str, format: str, out: BinaryIO, *, plain: bool = False) -> str:
        """Write the batch's tags as `csv`, `jsonl`, `coco` (JSON) or `xmp` (a zip of sidecars), as they come.

        A `csv` is for spreadsheets; `plain` leaves out its byte-order mark and the apostrophes before formulas.
        Returns the name for the file that the service suggests, after the batch's title: one without folders.
        After an error `out` has a part of it.
        """
        said: dict[str, str] = {}
        params = {"format": format, **({"plain": "true"} if plain else {})}
        path, headers = f"/batches/{batch_id(batch)}/export", {"Accept-Encoding": "identity"}
        try:
            with self._transport.stream(
                path, headers=headers, params=params, read_timeout=_SILENCE_S, answered=said.update
            ) as pieces:
                for piece in pieces:
                    out.write(piece)
        except httpx.TransportError as error:
            raise self._transport.lost(error) from None
        return suggested_name(said.get("content-disposition", ""), f"{batch_id(batch)}.{format}")

    # --- images -------------------------------------------------------------------------------

    def image(self, image_id: str) -> Item:
        return self._read(Item.from_json, self._transport.json("GET", f"/images/{image_id}"))

    def results(
        self,
        batch: Batch | str,
        *,
        status: str | None = None,
        tag: str | None = None,
        min_confidence: float | None = None,
    ) -> Iterator[Item]:
        """All items of the batch in the order of their upload, also those that still wait, fetched page by page.

        Or only those in one `status`, or with one `tag`, at least so sure.
        """
        params = {"limit": _PAGE, **given(status=status, tag=tag, min_confidence=min_confidence)}
        for data in self._pages(f"/batches/{batch_id(batch)}/results", "results", params):
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
                for event in self._listen(batch_id(batch), last_id):
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

    # --- inside -------------------------------------------------------------------------------

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

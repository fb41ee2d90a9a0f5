"""The client: one method for each operation of the REST API.

`Client` joins three groups of operations: uploads (`_upload`), tags (`_tags`), and the service itself (`_service`). The
methods for batches and images are here.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO
from urllib.parse import unquote

import httpx

from tagfleet.client import _sse
from tagfleet.client._calls import drop_none, to_batch_id, to_image_id
from tagfleet.client._errors import Disconnected, Refused
from tagfleet.client._model import Batch, Item
from tagfleet.client._service import Service
from tagfleet.client._tags import Tags
from tagfleet.client._transport import Patience, Transport
from tagfleet.client._upload import Uploading

_PAGE = 500
_EXTENDED = re.compile(r"filename\*=utf-8'[^']*'([^;\s]+)", re.IGNORECASE)
_PLAIN = re.compile(r'filename="([^"\\]+)"', re.IGNORECASE)
_NO_NAME = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_SILENCE_S = 40.0  # the service pings every 15 s, so the connection is dead by then


class Client(Uploading, Tags, Service):
    """Talks to one service. Thread-safe; use it as a context manager, or call `disconnect` at the end.

    A service that other machines can reach asks for an `api_key`. `timeout` is in seconds, for one network operation.
    Every call may raise `ClientError`.
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
        """End all calls that run in other threads, and close the connections."""
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
        """Create an open batch for the pool `tagger` (None: the service's default).

        The tagger gives up to `top_k` tags with at least `min_confidence`. The batch keeps the `max_tags` most
        confident tags that are in `include` (None: all) and not in `exclude`. `cumulative` asks for the fewest tags
        whose confidences add up to it.

        `tasks` are for florence2: "detect", "regions", "caption", "detailed_caption", and "find", which looks for the
        things named in `candidates`.

        The same `idempotency_key` (random if not given) with the same arguments gives the same batch.
        """
        options = drop_none(
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
        return self._parse(Batch.from_json, self._transport.json("POST", "/batches", json=payload, headers=headers))

    def close(self, batch: Batch | str) -> Batch:
        """Close the batch: it accepts no more images. Closing a closed batch is not an error."""
        return self._parse(Batch.from_json, self._transport.json("POST", f"/batches/{to_batch_id(batch)}/close"))

    def batch(self, batch: Batch | str) -> Batch:
        """Return the current state of the batch."""
        return self._parse(Batch.from_json, self._transport.json("GET", f"/batches/{to_batch_id(batch)}"))

    def batches(self, limit: int | None = None) -> Iterator[Batch]:
        """Yield batches, newest first: all of them, or up to `limit`."""
        pages = self._pages("/batches", "batches", {"limit": min(limit or 100, 100)})
        for count, data in enumerate(pages):
            if count == limit:
                return
            yield self._parse(Batch.from_json, data)

    def cancel(self, batch: Batch | str) -> Batch:
        """Stop tagging the batch. Finished images keep their tags; waiting images become `cancelled`."""
        return self._parse(Batch.from_json, self._transport.json("POST", f"/batches/{to_batch_id(batch)}/cancel"))

    def retry(self, batch: Batch | str, images: Iterable[Item | str] | None = None) -> int:
        """Tag failed images again: all of them, or only `images`. Return how many are tried again."""
        body = {} if images is None else {"image_ids": list(map(to_image_id, images))}
        answer = self._transport.json("POST", f"/batches/{to_batch_id(batch)}/retry", json=body)
        return self._parse(lambda data: int(data["retried"]), answer)

    def delete(self, batch: Batch | str) -> None:
        """Delete the batch with its images and results. Raises Missing if it does not exist."""
        self._transport.send("DELETE", f"/batches/{to_batch_id(batch)}")

    def export(self, batch: Batch | str, format: str, out: BinaryIO, *, plain: bool = False) -> str:
        """Write the batch's tags to `out` as `csv`, `jsonl`, `coco` (JSON) or `xmp` (a zip of sidecars), as they
        arrive.

        A `csv` is for spreadsheets; `plain` leaves out its byte-order mark and the apostrophes before formulas. Return
        the file name that the service suggests, made from the batch's title, without folders. After an error `out` is
        incomplete.
        """
        said: dict[str, str] = {}
        params = {"format": format, **({"plain": "true"} if plain else {})}
        path, headers = f"/batches/{to_batch_id(batch)}/export", {"Accept-Encoding": "identity"}
        try:
            with self._transport.stream(
                path, headers=headers, params=params, read_timeout=_SILENCE_S, answered=said.update
            ) as pieces:
                for piece in pieces:
                    out.write(piece)
        except httpx.TransportError as error:
            raise self._transport.explain(error) from None
        return suggested_name(said.get("content-disposition", ""), f"{to_batch_id(batch)}.{format}")

    # --- images -------------------------------------------------------------------------------

    def image(self, image_id: str) -> Item:
        """Return one image."""
        return self._parse(Item.from_json, self._transport.json("GET", f"/images/{image_id}"))

    def results(
        self,
        batch: Batch | str,
        *,
        status: str | None = None,
        tag: str | None = None,
        min_confidence: float | None = None,
    ) -> Iterator[Item]:
        """Yield all items of the batch in upload order, unfinished ones included, page by page.

        `status` and `tag` filter; `min_confidence` is for the tag.
        """
        params = {"limit": _PAGE, **drop_none(status=status, tag=tag, min_confidence=min_confidence)}
        for data in self._pages(f"/batches/{to_batch_id(batch)}/results", "results", params):
            yield self._parse(Item.from_json, data)

    def stream(self, batch: Batch | str) -> Iterator[Item]:
        """Yield each item as soon as it has finished. End when the batch is completed.

        An item appears twice if a later result replaces its failure.
        """
        for event in self.events(batch):
            if isinstance(event, Item) and event.finished:
                yield event

    def events(self, batch: Batch | str) -> Iterator[Item | Batch]:
        """Yield every change of an item or of the batch's counts, from the beginning. End when the batch is completed.

        After a broken connection, the stream resumes where it broke.
        """
        last_id: str | None = None
        failures, failing_since = 0, 0.0
        while True:
            try:
                for event in self._listen(to_batch_id(batch), last_id):
                    failures = 0
                    last_id = event.id or last_id
                    yield from self._parse_event(event)
                    if event.event == "completed":
                        return
                problem: Exception | None = None  # the stream ended cleanly before the batch: the service restarts
            except httpx.TransportError as error:
                problem = self._transport.explain(error)
                if self._transport.stopping.is_set():
                    raise Disconnected from None
                if self._transport.is_hopeless(problem):
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

    def _listen(self, batch_id: str, last_id: str | None) -> Iterator[_sse.ServerEvent]:
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"} | (
            {"Last-Event-ID": last_id} if last_id else {}
        )
        decoder = _sse.Decoder()
        path = f"/batches/{batch_id}/events"
        with self._transport.stream(path, headers=headers, read_timeout=_SILENCE_S) as pieces:
            yield _sse.ServerEvent("connected", "")
            for piece in pieces:
                yield from decoder.feed(piece)

    def _parse_event(self, event: _sse.ServerEvent) -> Iterator[Item | Batch]:
        if event.event == "item":
            yield self._parse(lambda data: Item.from_json(json.loads(data)), event.data)
        elif event.event in ("batch", "completed"):
            yield self._parse(lambda data: Batch.from_json(json.loads(data)), event.data)


def suggested_name(disposition: str, otherwise: str) -> str:
    """Return the file name in a Content-Disposition header (RFC 6266), or `otherwise` if there is none.

    The result never contains a folder, whatever the service sends.
    """
    if found := _EXTENDED.search(disposition):
        name = unquote(found[1])
    else:
        plain = _PLAIN.search(disposition)
        name = plain[1] if plain else ""
    return _NO_NAME.sub("_", name).strip().lstrip(".").rstrip(". ") or otherwise

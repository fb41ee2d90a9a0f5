"""Upload files: several requests at once, and no content that the service already has."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from tagfleet.client._calls import Calls, to_batch_id
from tagfleet.client._errors import UnreadableFile
from tagfleet.client._model import Batch, Item
from tagfleet.client._multipart import File, OpenGroup, Source, grouped


class Uploading(Calls):
    """Uploads of files into a batch."""

    _connections: int

    def upload(
        self,
        batch: Batch | str,
        sources: Iterable[Source],
        *,
        check: bool = True,
        progress: Callable[[list[Item]], None] | None = None,
        unreadable: Callable[[UnreadableFile], None] | None = None,
    ) -> list[Item]:
        """Upload files, several requests at once. Return their items in the order of `sources`.

        Memory does not grow with the files' sizes. With `check`, the call sends no content that the service has in any
        batch, by its SHA-256. `progress` gets the items of each answered request. `unreadable` gets each file that
        cannot be read, which is then skipped; without `unreadable`, the first such file raises. The service keeps a
        file with the same name and bytes only once per batch, so a repeated call is safe.
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
                waiting.append(pool.submit(self._upload_group, to_batch_id(batch), group, check))
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

    def _upload_group(self, batch_id: str, files: list[File], check: bool) -> tuple[list[Item], list[UnreadableFile]]:
        """Upload one group, skipping files that cannot be read."""
        items = self._find_known(batch_id, files) if check else {}
        left = {number: file for number, file in enumerate(files) if number not in items}
        errors: list[UnreadableFile] = []
        while left:
            try:
                with OpenGroup(list(left.values()), self._transport) as group:
                    answer = self._transport.json("POST", f"/batches/{batch_id}/images", content=group.content())
            except UnreadableFile as error:
                errors.append(error)
                left = {number: file for number, file in left.items() if file is not error.file}
            else:
                items |= self._parse(partial(_by_number, list(left)), answer)
                break
        return [items[number] for number in sorted(items)], errors

    def _find_known(self, batch_id: str, files: list[File]) -> dict[int, Item]:
        """Return the items of those files, by position, whose content the service already had."""
        digests: dict[int, str] = {}
        for number, file in enumerate(files):
            with suppress(UnreadableFile):  # sending the file reports it
                digests[number] = file.sha256()
        asked = sorted(set(digests.values()))
        answer = self._transport.json("POST", "/images/check", json={"sha256": asked}) if asked else {"known": {}}
        known = self._parse(lambda data: dict(data["known"]), answer)
        there = [number for number, digest in digests.items() if digest in known]
        if not there:
            return {}
        named = [{"name": files[number].plain_name, "sha256": digests[number]} for number in there]
        answer = self._transport.json("POST", f"/batches/{batch_id}/images/known", json={"images": named})
        return self._parse(partial(_by_number, there), answer)


def _by_number(numbers: Sequence[int], answer: Any) -> dict[int, Item]:
    """Return the answer's items by number, skipping null ones. Raises ValueError if their count is wrong."""
    return {
        number: Item.from_json(image)
        for number, image in zip(numbers, answer["images"], strict=True)
        if image is not None
    }

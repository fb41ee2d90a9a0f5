"""Read the images of a batch for an export."""

from __future__ import annotations

from collections.abc import Iterator

from web_tier.catalog.batches import Catalog, Image

_PAGE = 200


class Source:
    """The images of one batch in upload order. An iteration holds one page of them in memory."""

    def __init__(self, catalog: Catalog, batch_id: str) -> None:
        self._catalog = catalog
        self.batch_id = batch_id

    def images(self, until: int | None = None) -> Iterator[Image]:
        """Yield the images up to the position `until`. Raises what `pages` raises."""
        for page in self.pages():
            for image in page:
                if until is not None and image.position > until:
                    return
                yield image

    def pages(self) -> Iterator[list[Image]]:
        """Yield the pages. Raises Unavailable, and NoSuchBatch if the batch was deleted in the middle."""
        after = 0
        while page := self._catalog.list_results(self.batch_id, _PAGE, after):
            after = page[-1].position
            yield page
        self._catalog.read_change(self.batch_id)

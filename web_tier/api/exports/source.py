"""Where exports read from."""

from __future__ import annotations

from collections.abc import Iterator

from web_tier.catalog.batches import Catalog, Image

_PAGE = 200


class Source:
    """The images of one batch, in the order of their upload; each walk holds one page of them."""

    def __init__(self, catalog: Catalog, batch_id: str) -> None:
        self._catalog = catalog
        self.batch_id = batch_id

    def images(self, until: int | None = None) -> Iterator[Image]:
        """Up to the position `until`. Raises what `pages` raises."""
        for page in self.pages():
            for image in page:
                if until is not None and image.position > until:
                    return
                yield image

    def pages(self) -> Iterator[list[Image]]:
        """Raises Unavailable, and NoSuchBatch where it was deleted meanwhile: what was read of it is not the whole."""
        after = 0
        while page := self._catalog.list_results(self.batch_id, _PAGE, after):
            after = page[-1].position
            yield page
        self._catalog.read_change(self.batch_id)

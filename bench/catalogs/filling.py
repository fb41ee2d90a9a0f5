"""Fill a catalogue of any size with what a service in use would have written."""

from __future__ import annotations

from collections import Counter, defaultdict

from sqlalchemy import URL

from bench.catalogs import rows
from bench.catalogs.loading import Loader, Row, bulk_loading
from bench.catalogs.plan import Plan
from core.domain.tag_names import tag_key

_PORTION = 5000
_COLUMNS = {
    "batches": rows.BATCHES,
    "images": rows.IMAGES,
    "tags": rows.TAGS,
    "verdicts": rows.VERDICTS,
    "tag_counts": rows.TAG_COUNTS,
}


def fill_catalogue(url: URL, plan: Plan) -> None:
    """Fill the migrated, empty catalogue at `url`.

    Works on any schema that has the tables of revision 0009; newer columns and tables are filled where they exist.
    """
    every: Counter[str] = Counter()
    with bulk_loading(url) as loader:
        pending = _Pending(loader)
        for batch, images in plan:
            of_batch = rows.BatchRows(batch, images)
            pending.add("batches", [rows.batch_row(batch)])
            for portion in of_batch.portions(_PORTION):
                pending.add("tags", portion.tags)
                pending.add("verdicts", portion.verdicts)
                pending.add("images", portion.images)
            pending.add("tag_counts", of_batch.count_rows())
            every.update(of_batch.counts)
        pending.add("tag_counts", [(rows.ALL, tag_key(name), name, count) for name, count in every.items()])
        pending.flush()


class _Pending:
    """Collects rows of many small batches, so that they are inserted together."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._rows: defaultdict[str, list[Row]] = defaultdict(list)
        self._count = 0

    def add(self, table: str, added: list[Row]) -> None:
        self._rows[table] += added
        self._count += len(added)
        if self._count >= 4 * _PORTION:
            self.flush()

    def flush(self) -> None:
        for table, columns in _COLUMNS.items():
            self._loader.insert(table, columns, self._rows.pop(table, []))
        self._count = 0

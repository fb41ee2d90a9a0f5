"""Threads that add images share transactions, and a kill in the middle loses nothing accepted."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from sqlalchemy import text

from web_tier.catalog.batches import Batch, BatchClosed, Upload
from web_tier.catalog.database import Database, catalog_url, migrate
from web_tier.catalog.uploads import UploadCatalog


@pytest.fixture
def url(settings):
    url = catalog_url(settings)
    migrate(url)
    return url


def batch_of(database: Database, name: str) -> Batch:
    made = Batch(name, "p", {}, {}, 0.0, None, None, 0, 0, 0, 0)
    return UploadCatalog(database).create_batch(made, payload_hash="")[0]


def test_uploads_into_open_and_closed_batches_at_the_same_time(url):
    database = Database(url)
    catalog = UploadCatalog(database)
    batch_of(database, "open")
    batch_of(database, "closed")
    catalog.close_batch("closed", 1.0)
    refused: list[str] = []

    def add(number: int) -> None:
        try:
            catalog.add_images("closed" if number % 3 else "open", [Upload(f"i{number}", f"{number}", "0", 1)], 1.0)
        except BatchClosed:
            refused.append(str(number))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(refused) == 20
    assert (catalog.get_batch("open").total, catalog.get_batch("closed").total) == (10, 0)
    positions = [image.position for image in catalog.list_results("open", 100)]
    assert positions == list(range(1, 11))
    database.close()


_ADD = """
import os, sys, threading
from config import settings as config
from web_tier.catalog.batches import Upload
from web_tier.catalog.database import Database, catalog_url
from web_tier.catalog.uploads import UploadCatalog

catalog = UploadCatalog(Database(catalog_url(config.load({"TAGFLEET_HOME": sys.argv[1]}))))

def add(thread):
    for number in range(1 << 30):
        image_id = f"{sys.argv[2]}-{thread}-{number}"
        catalog.add_images(f"b{number % 3}", [Upload(image_id, image_id, image_id, 1)], 1.0)
        os.write(1, f"{image_id}\\n".encode())
        catalog.mark_sent([image_id])

threads = [threading.Thread(target=add, args=(thread,)) for thread in range(8)]
for thread in threads:
    thread.start()
"""


def test_processes_killed_in_the_middle_of_shared_transactions_lose_nothing_accepted(settings, url):
    database = Database(url)
    for name in ("b0", "b1", "b2"):
        batch_of(database, name)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _ADD, str(settings.home), name],
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("TAGFLEET_")},
        )
        for name in ("x", "y")
    ]
    accepted: set[str] = set()
    for writer in writers:
        assert writer.stdout is not None
        accepted |= {writer.stdout.readline().strip() for _ in range(60)}
    for writer in writers:
        writer.kill()
        accepted |= set(writer.communicate()[0].split("\n")[:-1])
    assert "" not in accepted
    with database.reading() as connection:
        found = {row[0] for row in connection.execute(text("SELECT id FROM images"))}
        counted = connection.execute(text("SELECT sum(total), sum(change) FROM batches")).one()
        changes = connection.execute(text("SELECT count(DISTINCT batch_id || ':' || change) FROM images")).scalar_one()
    assert accepted <= found
    assert counted[0] == counted[1] == len(found) == changes
    database.close()

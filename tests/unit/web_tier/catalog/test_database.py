"""The catalogue's databases: where they are, how they fail, and how they get their schema."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from config import settings as config
from config.settings import BadSetting, Settings
from core.errors import Unavailable
from web_tier.catalog.batches import Catalog
from web_tier.catalog.database import Database, catalog_url, migrate
from web_tier.catalog.tables import metadata


def placed(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"web": settings.web.model_copy(update={"catalog_url": url})})


def test_without_a_url_it_is_a_file_in_the_home_folder(settings):
    assert catalog_url(settings).database == str(settings.home / "catalog.db")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_url_of_postgresql(settings, scheme):
    url = catalog_url(placed(settings, f"{scheme}://me:secret@db.example:5433/tags?sslmode=require"))
    assert (url.host, url.port, url.database, url.password) == ("db.example", 5433, "tags", "secret")
    assert url.query == {"sslmode": "require"}


@pytest.mark.parametrize("value", ["mysql://me:secret@db/tags", "secret", "postgresql:/secret", "://secret"])
def test_a_url_that_is_none_is_refused_without_repeating_it(settings, value):
    with pytest.raises(BadSetting, match=r"setting web\.catalog_url: ") as refused:
        catalog_url(placed(settings, value))
    assert "secret" not in str(refused.value)


def test_children_get_the_url(settings):
    url = "postgresql://me@db/tags"
    again = config.load(config.as_environment(placed(settings, url)))
    assert again.web.catalog_url == url


def test_a_server_that_is_away_is_one_line_without_the_password(settings):
    url = catalog_url(placed(settings, f"postgresql://me:secret@/tags?host={settings.home}"))
    database = Database(url)
    for use in (lambda: migrate(url), lambda: Catalog(database).list_batches(1)):
        with pytest.raises(Unavailable, match="catalogue postgresql://") as away:
            use()
        assert "secret" not in str(away.value)
        assert "\n" not in str(away.value)


def test_a_database_that_is_not_there_is_said_to_be(settings, postgresql):
    server, _ = postgresql
    with pytest.raises(Unavailable, match="nothing_here"):
        migrate(server.url("nothing_here"))


def test_after_a_restart_of_the_server_the_next_request_is_served(cataloged, database, postgresql):
    if not cataloged.web.catalog_url:
        pytest.skip("SQLite has no server")
    catalog = Catalog(database)
    assert catalog.list_batches(1) == []
    server, _ = postgresql
    ending = (
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = '{}' AND application_name = '{}'"
    )
    server.say(ending.format(catalog_url(cataloged).database, "tagfleet"))
    assert catalog.list_batches(1) == []


def test_a_connection_that_breaks_within_a_transaction_is_one_line(cataloged, database):
    if not cataloged.web.catalog_url:
        pytest.skip("SQLite has no connection to break")
    with pytest.raises(Unavailable, match="catalogue postgresql://"), database.writing() as connection:
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    with database.reading() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1


def test_a_text_with_nul_is_looked_for_and_not_found(database):
    assert Catalog(database).find_image("img_\0") is None


def test_a_reader_sees_one_state_throughout(database):
    """Another one writes while it reads."""
    count = text("SELECT count(*) FROM samples")
    with database.reading() as reader:
        before = reader.execute(count).scalar_one()

        def write() -> None:
            with database.writing() as writer:
                writer.execute(text("INSERT INTO samples (slot, at, sample) VALUES (1, 1.0, '{}')"))

        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        assert reader.execute(count).scalar_one() == before
    with database.reading() as reader:
        assert reader.execute(count).scalar_one() == before + 1


def test_a_reader_cannot_write_on_postgresql(cataloged, database):
    if not cataloged.web.catalog_url:
        pytest.skip("SQLite lets it")
    with pytest.raises(Unavailable, match="read only"), database.reading() as connection:
        connection.execute(text("DELETE FROM samples"))


def test_migrations_make_the_tables_that_the_code_knows(database):
    with database.reading() as connection:
        found = inspect(connection)
        listing = (
            "SELECT name FROM sqlite_master" if found.dialect.name == "sqlite" else "SELECT indexname FROM pg_indexes"
        )
        names = set(connection.execute(text(listing)).scalars())  # SQLAlchemy does not find SQLite's indexes of terms
        for table in metadata.sorted_tables:
            columns = {column["name"]: column["nullable"] for column in found.get_columns(table.name)}
            assert columns == {column.name: column.nullable for column in table.columns}, table.name
            assert names >= {index.name for index in table.indexes}, table.name


def test_processes_that_start_together_migrate_one_database(postgresql):
    server, _ = postgresql

    script = "import sys; from sqlalchemy import make_url; from web_tier.catalog.database import migrate"
    with server.database() as url:
        place = url.render_as_string(hide_password=False)
        command = [sys.executable, "-c", f"{script}; migrate(make_url(sys.argv[1]))", place]
        started = [subprocess.Popen(command, stderr=subprocess.PIPE, cwd=Path(__file__).parents[4]) for _ in range(3)]
        assert [process.communicate()[1] for process in started] == [b""] * 3

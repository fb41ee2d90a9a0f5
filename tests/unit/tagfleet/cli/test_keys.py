from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from config import settings as config
from tagfleet.cli.keys import command
from web_tier.catalog.database import Database, catalog_url
from web_tier.catalog.keys import KeyCatalog


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    return {"TAGFLEET_HOME": str(tmp_path)}


@pytest.fixture
def run(environment) -> Callable[..., Result]:
    return lambda *arguments: CliRunner(env=environment).invoke(command, arguments)


def test_a_key_from_its_making_to_its_end(run, environment):
    made = run("create", "phone", "--scope", "read")
    secret = made.stdout.strip()
    assert made.stdout == f"{secret}\n"
    assert secret not in made.stderr
    key_id = made.stderr.partition(",")[0]
    database = Database(catalog_url(config.load(environment)))
    try:
        key = KeyCatalog(database).find(secret)
        assert key is not None
        assert (key.id, key.name, key.scopes) == (key_id, "phone", ["read"])
        listed = run("list").stdout
        assert key_id in listed
        assert "never used" in listed
        assert secret not in listed
        assert run("revoke", key_id).stdout == f"{key_id} is revoked\n"
        assert KeyCatalog(database).find(secret) is None
    finally:
        database.close()
    assert "  revoked " in run("list").stdout


def test_a_name_cannot_disturb_the_list(run):
    run("create", "line\nbreak \x1b[31m")
    (line,) = run("list").stdout.splitlines()
    assert "\x1b" not in line


def test_none(run):
    assert run("list").stderr == "no keys\n"


def test_a_key_that_is_none(run):
    result = run("revoke", "key_none")
    assert "there is no key 'key_none'" in str(result.exception)

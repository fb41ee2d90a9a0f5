"""A server that others can reach starts only with keys."""

from __future__ import annotations

import pytest

from config import settings as config
from config.settings import BadSetting
from web_tier.catalog.database import Database, catalog_url, migrate
from web_tier.catalog.keys import KeyCatalog
from web_tier.http import network_policy


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2"])
def test_other_addresses_need_a_live_key_to_start(settings, host):
    settings = settings.model_copy(update={"host": host})
    with pytest.raises(BadSetting, match=r"^setting host: .*tagfleet keys create") as refused:
        network_policy.check(settings)
    assert "\n" not in str(refused.value)
    database = Database(catalog_url(settings))
    try:
        made, _ = KeyCatalog(database).create("me", ["read"], 1.0)
        network_policy.check(settings)
        KeyCatalog(database).revoke(made.id, 2.0)
        with pytest.raises(BadSetting):
            network_policy.check(settings)
    finally:
        database.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_starts_without_one(settings, host):
    network_policy.check(settings.model_copy(update={"host": host}))


@pytest.mark.parametrize("flags", [{"web.hosts": "nas"}, {"web.require_keys": "true"}])
def test_a_proxy_before_loopback_is_no_way_around_keys(flags):
    assert network_policy.asks_for_keys(config.load({}, flags=flags))


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("localhost", "http://127.0.0.1:80"),
        ("192.168.1.2", "http://192.168.1.2:80"),
    ],
)
def test_where_this_machine_finds_it(host, url):
    assert network_policy.url_of(host, 80) == url


def test_others_on_this_machine_cannot_read_the_catalogue(settings):
    """It holds the secrets of webhooks in plain text."""
    migrate(catalog_url(settings))
    assert (settings.home / "catalog.db").stat().st_mode & 0o077 == 0

"""The address of a client: only entries of X-Forwarded-For that trusted proxies added count."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import settings as config
from config.networks import networks
from config.settings import BadSetting
from web_tier.app import create_app
from web_tier.server.client_address import Proxies, counted_as, parse_address

TRUSTED = Proxies(networks("10.0.0.0/8, 2001:db8:aa::/48 192.0.2.9"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.5", ["198.51.100.1"], "203.0.113.5"),  # not trusted: nothing that it says counts
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),  # the client wrote 1.1.1.1 itself
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1, 10.2.3.4"], "198.51.100.1"),
        ("10.0.0.1", ["10.9.9.9, 10.2.3.4"], "10.9.9.9"),
        ("10.0.0.1", ["198.51.100.1, 192.0.2.9 , 2001:db8:aa::7"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1:443"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("10.0.0.1", ["[2001:db8::1]"], "2001:db8::1"),
        ("10.0.0.1", ["2001:DB8::1"], "2001:db8::1"),
        ("10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("::ffff:203.0.113.5", ["198.51.100.1"], "203.0.113.5"),
        ("2001:db8:aa::1", ["fe80::1%eth0"], "fe80::1"),
        ("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, "], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, 10.0.0.300"], "10.0.0.1"),
        ("10.0.0.1", ["unknown, 10.2.3.4"], "10.2.3.4"),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_the_walk_goes_from_right_to_left_over_trusted_hops(peer, forwarded, client):
    assert TRUSTED.client(peer, forwarded) == client


@pytest.mark.parametrize(
    "entry",
    ["", "unknown", "_hidden", "1.2.3", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:99999", "[::1", "[::1]x", "[::1]:", "::1:x:",
     "01.2.3.4", "1.2.3.4/8", "١.2.3.4", "[1.2.3.4]:"],
)  # fmt: skip
def test_what_is_no_address_is_none(entry):
    assert parse_address(entry) is None


@given(
    st.ip_addresses(),
    st.one_of(st.none(), st.integers(0, 65_535)),
    st.text(max_size=30).filter(lambda text: "\n" not in text),
)
def test_what_a_client_writes_never_moves_what_a_proxy_says_of_it(client, port, written):
    """Whatever stands to the left, the client is whom the proxy heard from, in any form of its address."""
    if ipaddress.ip_address(str(client)) in ipaddress.ip_network("10.0.0.0/8"):
        return
    shown = f"[{client}]" if client.version == 6 and port is not None else str(client)
    entry = shown if port is None else f"{shown}:{port}"
    proxies = Proxies(networks("10.0.0.0/8"))
    assert proxies.client("10.0.0.1", [f"{written}, {entry}"]) == str(parse_address(str(client)))


@given(st.text(), st.lists(st.text()))
def test_no_header_makes_it_fail(peer, forwarded):
    TRUSTED.client(peer, forwarded)


def test_addresses_of_one_ipv6_network_count_as_one():
    assert counted_as("2001:db8:1:2::1") == counted_as("2001:db8:1:2:ffff::9")
    assert counted_as("2001:db8:1:2::1") != counted_as("2001:db8:1:3::1")
    assert counted_as("::ffff:192.0.2.1") == counted_as("192.0.2.1") == "192.0.2.1"


@pytest.mark.parametrize("word", ["proxy.example.org", "10.0.0.0/33", "0.0.0.0/0", "::/0", "*", "10.0.0.1:80"])
def test_what_is_no_network_is_one_line_with_the_setting(word):
    with pytest.raises(BadSetting, match=r"web\.trusted_proxies") as refused:
        config.load({}, flags={"web.trusted_proxies": f"192.0.2.1 {word}"})
    assert word in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.fixture
def proxied(web):
    """A client of a service that asks for keys, behind a proxy on 10.0.0.0/8."""
    changed = web.settings.web.model_copy(update={"require_keys": True, "trusted_proxies": "10.0.0.0/8"})
    app = create_app(web.backend, web.settings.model_copy(update={"web": changed}), web.clock)
    yield app.test_client()
    app.extensions["tagfleet"].database.close()


def guess(client, peer: str, said: str) -> int:
    headers = {"Authorization": "Bearer tf_wrong", "X-Forwarded-For": said}
    return client.get("/api/v1/batches", headers=headers, environ_base={"REMOTE_ADDR": peer}).status_code


def test_who_guesses_keys_behind_a_proxy_keeps_nobody_else_out(proxied):
    """And writes an address of its own choice in vain, as do those who come past the proxy."""
    codes = [guess(proxied, "10.0.0.1", f"192.0.2.{number}, 198.51.100.1") for number in range(25)]
    assert codes == [401] * 20 + [429] * 5
    assert guess(proxied, "10.0.0.2", "198.51.100.2") == 401
    codes = [guess(proxied, "203.0.113.5", f"192.0.2.{number}") for number in range(25)]
    assert codes == [401] * 20 + [429] * 5


def test_without_the_setting_no_proxy_is_believed(web):
    changed = web.settings.web.model_copy(update={"require_keys": True})
    app = create_app(web.backend, web.settings.model_copy(update={"web": changed}), web.clock)
    codes = [guess(app.test_client(), "127.0.0.1", f"192.0.2.{number}") for number in range(25)]
    assert codes == [401] * 20 + [429] * 5
    app.extensions["tagfleet"].database.close()

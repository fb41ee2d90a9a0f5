"""Addresses of the open internet, by IANA's registries, in every version of Python."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web_tier.services.public_addresses import is_public

IPV4 = [
    "0.0.0.0/8",
    "0.0.0.0/32",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.0.0/29",
    "192.0.0.8/32",
    "192.0.0.9/32",
    "192.0.0.10/32",
    "192.0.0.170/31",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.88.99.2/32",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "224.0.0.0/4",
]
IPV6 = [
    "::1/128",
    "::/128",
    "::ffff:0:0/96",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",
    "2001::/32",
    "2001:1::1/128",
    "2001:1::2/128",
    "2001:1::3/128",
    "2001:2::/48",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:30::/28",
    "2001:db8::/32",
    "2620:4f:8000::/48",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "::/96",
    "::ffff:0:0:0/96",
    "4000::/3",
    "8000::/1",
]


@pytest.mark.parametrize("block", IPV4 + IPV6)
def test_no_special_block_is_public(block):
    """Each entry of both registries, and the blocks that other registries of IANA set aside."""
    network = ipaddress.ip_network(block)
    for address in (network[0], network[network.num_addresses // 2], network[-1]):
        assert not is_public(str(address))


@pytest.mark.parametrize(
    "address",
    [
        "192.88.99.1",
        "fec0::1",
        "3fff::1",
        "169.254.169.254",
        "fd00:ec2::254",
        "fe80::1%eth0",
        "2606:4700:4700::1111%eth0",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:c058:6301::",
        "2001:0:7f00:1::",
        "::7f00:1",
        "::ffff:1.1.1.1",
        "",
        "localhost",
        "1.1.1.1.",
        "010.1.1.1",
    ],
)
def test_what_is_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "93.184.216.34", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.32.0.0"),
        *("192.0.1.0", "192.88.98.255", "192.88.100.0", "198.17.255.255", "198.20.0.0", "223.255.255.255"),
        *("2606:4700:4700::1111", "2001:200::1", "2001:4860:4860::8888", "2a00:1450::1", "3ffe::1", "3fff:1000::1"),
        *("2002:101:101::", "64:ff9b::101:101"),
    ],
)
def test_public_addresses(address):
    assert is_public(address)


@given(st.sampled_from(IPV4).flatmap(lambda block: st.ip_addresses(v=4, network=block)))
def test_no_form_of_a_special_address_is_public(address):
    high, low = int(address) >> 16, int(address) & 0xFFFF
    forms = [
        str(address),
        f"::ffff:{address}",
        f"::ffff:0:{address}",
        f"::{address}",
        f"64:ff9b::{high:x}:{low:x}",
        f"64:ff9b:1::{high:x}:{low:x}",
        f"2002:{high:x}:{low:x}::",
        f"2002:{high:x}:{low:x}:dead:beef::1",
        f"2001:0:{high:x}:{low:x}::1",
    ]
    assert not any(map(is_public, forms))


@given(st.ip_addresses(v=4))
def test_a_translated_address_is_as_public_as_what_it_carries(address):
    high, low = int(address) >> 16, int(address) & 0xFFFF
    public = is_public(str(address))
    assert is_public(f"64:ff9b::{high:x}:{low:x}") == is_public(f"2002:{high:x}:{low:x}::1") == public


@given(st.ip_addresses())
def test_nothing_is_public_that_this_python_calls_private(address):
    """Its tables lack entries, and so may only be narrower than ours; a NAT64 address may carry a private one."""
    if is_public(str(address)):
        assert not address.is_private
        assert not address.is_multicast
        assert not address.is_loopback
        assert not address.is_link_local

"""One table of public addresses, and a copy that the sandbox service has."""

from __future__ import annotations

import ipaddress

import pytest

from portico import addresses
from sandbox import addresses as of_sandbox

INSIDE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.254",
    "192.0.0.8",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.254",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "::ffff:0:8.8.8.8",
    "64:ff9b::10.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456:789a::1",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "fec0::1",
    "feff::1",
    "ff02::1",
    "ff0e::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.0.1",
    "172.32.0.1",
    "192.0.1.1",
    "192.89.0.1",
    "198.17.0.1",
    "198.20.0.1",
    "223.255.255.254",
    "64:ff9b::8.8.8.8",
    "2400:cb00::1",
    "2606:4700::1111",
    "2a00:1450:4001:81b::200e",
    "2620:fe::fe",
]


def test_there_are_enough_addresses_to_tell_tables_apart() -> None:
    assert len(set(INSIDE + PUBLIC)) >= 60


@pytest.mark.parametrize("text", INSIDE)
def test_an_address_inside_is_not_public(text: str) -> None:
    assert not addresses.is_public(addresses.parse_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_an_address_of_the_internet_is_public(text: str) -> None:
    assert addresses.is_public(addresses.parse_address(text))


@pytest.mark.parametrize("text", INSIDE + PUBLIC)
def test_the_sandbox_answers_the_same(text: str) -> None:
    address = of_sandbox.parse_address(text)
    assert address == addresses.parse_address(text)
    assert of_sandbox.is_public(address) == addresses.is_public(address)


def test_the_copies_have_the_same_table_and_code() -> None:
    assert addresses._NOT_PUBLIC == of_sandbox._NOT_PUBLIC
    assert addresses._NAT64 == of_sandbox._NAT64 == ipaddress.ip_network("64:ff9b::/96")
    assert addresses.is_public.__code__.co_code == of_sandbox.is_public.__code__.co_code

"""Which IP addresses are in the public internet: the table of `portico/addresses.py`, held equal by a test.

A copy, because the sandbox service imports nothing of Portico.
"""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(text)
    for text in (
        # What `is_global` of Python 3.11 and 3.12 accepts, or judges differently between releases.
        "0.0.0.0/8",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "224.0.0.0/3",
        "::/96",
        "::ffff:0:0/96",
        "::ffff:0:0:0/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
        "ff00::/8",
    )
)


def parse_address(text: str) -> Address:
    """The address without its zone. Raises `ValueError`."""
    return ipaddress.ip_address(text.partition("%")[0])


def is_public(address: Address) -> bool:
    """Whether the address, or the IPv4 address behind a NAT64 one, is in the public internet."""
    effective = _behind_nat64(address)
    return (
        effective.is_global
        and not effective.is_multicast
        and not any(effective in block for block in _NOT_PUBLIC)
    )


def _behind_nat64(address: Address) -> Address:
    """Networks with NAT64 give such an address for every public name."""
    if address.version == 6 and address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address

"""Which addresses a registry that only an image names may have."""

from __future__ import annotations

import pytest

from cellwire.reachable import Allowed

LOCAL = [
    "127.0.0.1",
    "127.9.9.9",
    "::1",
    "0.0.0.0",
    "::",
    "169.254.169.254",
    "fe80::1%eth0",
    "224.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "::7f00:1",
    "2002:7f00:1::",
    "fd00:ec2::254",
    "not-an-address",
]
PRIVATE = ["10.0.0.5", "172.16.3.4", "192.168.1.1", "fd00::5", "::ffff:10.0.0.5"]
PUBLIC = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"]


@pytest.mark.parametrize("address", LOCAL)
def test_nobody_is_led_to_this_machine_or_its_metadata_service(address: str) -> None:
    assert not Allowed(asked="r.test").admits("r.test", 443, address)
    assert not Allowed(asked="r.test").admits("other.test", 443, address)
    assert Allowed(frozenset({"r.test:443"})).admits("r.test", 443, address)
    assert not Allowed(frozenset({"r.test:443"})).admits("r.test", 80, address)


@pytest.mark.parametrize("address", PRIVATE)
def test_only_the_images_own_registry_may_be_in_a_private_network(address: str) -> None:
    assert Allowed(asked="r.test").admits("r.test", 443, address)
    assert not Allowed(asked="r.test").admits("other.test", 443, address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_asked(address: str) -> None:
    assert Allowed(asked="r.test").admits("other.test", 443, address)


@pytest.mark.parametrize(("url", "refused"), [
    ("http://127.0.0.1:6446/", True), ("http://[::1]/", True), ("http://[fe80::1%25eth0]/", True),
    ("https://10.0.0.5/", True), ("https://93.184.216.34/", False), ("https://name.test/", False), ("https:///", False),
])  # fmt: skip
def test_an_address_in_a_url_is_looked_at_before_it_is_asked(url: str, *, refused: bool) -> None:
    assert Allowed(asked="r.test").refuses_literal(url) == refused

"""What the kernel's messages about networks mean to a cell."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from cellagent.network import guard, netlink_watch
from cellagent.network.guard import Guard

NEWROUTE, DELROUTE, NEWLINK = 24, 25, 16


def message(kind: int, body: bytes = b"") -> bytes:
    body = body.ljust((len(body) + 3) // 4 * 4, b"\0")
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def test_a_loss_is_found_behind_what_does_not_matter() -> None:
    assert not netlink_watch.concerns(message(NEWROUTE, b"abc") + message(NEWLINK))
    assert netlink_watch.concerns(message(NEWROUTE, b"abc") + message(NEWLINK, b"a") + message(DELROUTE))


@given(st.binary(max_size=200))
def test_no_message_is_too_odd_to_be_read(data: bytes) -> None:
    assert netlink_watch.concerns(data) in {True, False}


def test_a_cell_whose_vpc_is_not_known_translates_nothing() -> None:
    text = guard.rules(Guard(table="t", cable="c", address="10.0.0.5", uplink="eth0", public=True))
    assert "nat" not in text
    assert "169.254.169.254" in text


def test_a_pod_that_may_see_metadata_and_stays_in_the_vpc_needs_no_rules() -> None:
    assert guard.rules(Guard(table="t", cable="c", address="10.0.0.5", uplink="eth0", metadata=True)) == ""
    assert guard.rules(Guard(table="t", metadata=True)) == ""

"""The cell's small share of DNS: questions read, answers written, nothing too odd."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellagent.network import dns_messages, service_rules
from cellagent.network.service_rules import TABLE, Around, Names
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind


def query(name: str, type_: int = dns_messages.A, *, size: int = 0) -> bytes:
    more = b"\0" + struct.pack(">HHIH", 41, size, 0, 0) if size else b""
    head = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 1 if size else 0)
    return head + dns_messages.written(name) + struct.pack(">HH", type_, 1) + more


def records(name: str, count: int) -> list[wire.NameRecord]:
    return [
        wire.NameRecord(name=name, type=dns_messages.A, ttl=5, text=f"10.0.{one >> 8}.{one & 255}")
        for one in range(count)
    ]


def test_a_question_is_read_with_the_size_that_its_asker_takes() -> None:
    asked = dns_messages.question(query("Web.Default.svc", dns_messages.AAAA, size=1232))
    assert asked is not None
    assert (asked.name, asked.type, asked.size, asked.id) == ("web.default.svc", dns_messages.AAAA, 1232, 7)


def test_an_answer_repeats_the_question_as_it_stood() -> None:
    asked = dns_messages.question(query("WeB.x"))
    assert asked is not None
    said = dns_messages.answer(asked, 0, records("web.x", 2))
    number, flags, questions, answers, _, _ = struct.unpack_from(">HHHHHH", said)
    assert (number, flags & 0x8000, flags & 15, questions, answers) == (7, 0x8000, 0, 1, 2)
    assert b"WeB" in said
    assert said.endswith(bytes([10, 0, 0, 1]))


def test_what_is_longer_than_its_asker_takes_is_cut_and_says_so_but_not_over_tcp() -> None:
    for size, whole in ((0, False), (4096, True)):
        asked = dns_messages.question(query("web.x", size=size))
        assert asked is not None
        said = dns_messages.answer(asked, 0, records("web.x", 60))
        assert bool(said[2] & 2) is not whole
        assert not dns_messages.answer(asked, 0, records("web.x", 60), stream=True)[2] & 2


@given(st.binary(max_size=300))
def test_no_question_is_too_odd_to_be_read(data: bytes) -> None:
    asked = dns_messages.question(data)
    if asked is not None:
        dns_messages.answer(asked, dns_messages.SERVER_FAILURE)


@given(st.binary(max_size=40), st.integers(0, 40), st.integers(0, 255))
def test_no_change_of_a_question_is_too_odd(more: bytes, at: int, byte: int) -> None:
    data = bytearray(query("web.default.svc.cluster.local", size=1232) + more)
    data[at % len(data)] = byte
    dns_messages.question(bytes(data))


_PORTS = st.builds(
    lambda protocol, vip, backends, seconds, node: wire.ServicePort(
        protocol=protocol, addresses=[f"10.96.0.{vip}"], port=80, node_port=node, affinity_seconds=seconds,
        backends=[wire.ServiceBackend(address=f"10.0.0.{one}", port=8080) for one in backends],
    ),
    st.sampled_from(["tcp", "udp", "sctp"]), st.integers(1, 9), st.sets(st.integers(1, 9), max_size=4),
    st.sampled_from([0, 60]), st.sampled_from([0, 30080]),
)  # fmt: skip
_HELD = st.dictionaries(st.sampled_from(["a/one", "a/two", "b/one"]), st.lists(_PORTS, max_size=2))


@given(_HELD, _HELD)
def test_a_transaction_removes_what_is_held_no_more_and_jumps_to_nothing_else(
    before: dict[str, list[wire.ServicePort]], after: dict[str, list[wire.ServicePort]]
) -> None:
    def made(ports: dict[str, list[wire.ServicePort]]) -> dict[str, wire.HeldService]:
        return {name: wire.HeldService(name=name, ports=found) for name, found in ports.items()}

    _, names = service_rules.transaction(made(before), None, Around(pods=("10.0.0.1",)))
    text, now = service_rules.transaction(made(after), names, Around(pods=("10.0.0.1",)))
    for name in names.chains - now.chains:
        assert f"delete chain inet {TABLE} {name}" in text
    gone = {line.split()[-1] for line in text.splitlines() if line.startswith("delete ")}
    assert not gone & (now.chains | now.sets)
    jumps = {word for line in text.splitlines() for word in line.replace(",", " ").split() if word[:2] in {"s4", "b4"}}
    assert jumps <= now.chains | gone
    empty, nothing = service_rules.transaction({}, now, Around())
    assert nothing == Names()
    assert f"flush table inet {TABLE}" in empty


def test_the_records_of_an_answer_are_read_with_names_that_point_back() -> None:
    head = (
        struct.pack(">HHHHHH", 7, 0x8180, 1, 2, 0, 0)
        + dns_messages.written("far.test")
        + struct.pack(">HH", dns_messages.A, 1)
    )
    target = b"\x04near\xc0\x10"  # "near" before the "test" of the question
    first = b"\xc0\x0c" + struct.pack(">HHIH", dns_messages.CNAME, 1, 30, len(target)) + target
    at = len(head) + 12
    second = struct.pack(">H", 0xC000 | at) + struct.pack(">HHIH", dns_messages.A, 1, 20, 4) + bytes([192, 0, 2, 7])
    found = dns_messages.records(head + first + second)
    assert [(one.name, one.type, one.ttl, one.text) for one in found] == [
        ("far.test", dns_messages.CNAME, 30, "near.test"),
        ("near.test", dns_messages.A, 20, "192.0.2.7"),
    ]


@given(st.binary(max_size=200))
def test_an_answer_that_cannot_be_read_is_refused_and_does_no_harm(data: bytes) -> None:
    try:
        dns_messages.records(data)
    except ValueError:
        pass


def test_an_answer_by_a_stream_has_as_many_records_as_there_is_room_for() -> None:
    asked = dns_messages.question(dns_messages.query(7, "db.default.svc.cluster.local", dns_messages.A))
    assert asked is not None
    records = [
        wire.NameRecord(name=asked.name, type=dns_messages.A, ttl=5, text=f"10.0.{number >> 8}.{number & 255}")
        for number in range(5000)
    ]
    said = dns_messages.answer(asked, 0, records, stream=True)
    assert 65000 < len(said) < 65536
    assert len(dns_messages.records(said)) > 1000


def test_of_two_services_at_one_place_the_first_is_there_and_nft_gets_no_map_with_two_ends() -> None:
    def at(name: str, end: str) -> wire.HeldService:
        backends = [wire.ServiceBackend(address=end, port=8080)]
        return wire.HeldService(
            name=name,
            ports=[
                wire.ServicePort(protocol="tcp", addresses=["192.0.2.9"], port=80, node_port=30080, backends=backends)
            ],
        )

    both = {one.name: one for one in (at("a/one", "10.0.0.1"), at("b/two", "10.0.0.2"))}
    text, _ = service_rules.transaction(both, None, Around())
    assert text.count("tcp . 192.0.2.9 . 80 : goto") == 1
    assert text.count("tcp . 30080 : goto") == 1


def test_a_service_with_more_backends_than_there_is_room_for_keeps_no_other_out() -> None:
    def of(name: str, count: int) -> wire.HeldService:
        backends = [
            wire.ServiceBackend(address=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", port=80) for n in range(count)
        ]
        return wire.HeldService(name=name, ports=[wire.ServicePort(protocol="tcp", port=80, backends=backends)])

    all_of_them = {
        one.name: one for one in (of("evil/large", service_rules.MOST_BACKENDS + 1), of("a/one", 2), of("b/two", 0))
    }
    assert service_rules.fitting(all_of_them) == ["a/one", "b/two"]
    text, _ = service_rules.transaction(all_of_them, None, Around())
    assert "10.0.0.1:80" in text
    assert len(text) < 10_000


@pytest.mark.parametrize("address", ["fd00::1%x", "fd00::1%\nflush ruleset\n", "10.0.0.1 }", ""])
def test_no_rules_are_made_of_what_is_more_than_an_address(address: str) -> None:
    port = wire.ServicePort(protocol="tcp", port=80, addresses=["10.96.0.7"])
    for told in (
        wire.ServicePort(protocol="tcp", port=80, addresses=["10.96.0.7", address]),
        wire.ServicePort(protocol="tcp", port=80, addresses=["10.96.0.7"], node_addresses=[address]),
        wire.ServicePort(protocol="tcp", port=80, backends=[wire.ServiceBackend(address=address, port=80)]),
    ):
        with pytest.raises(Fault, match=r"is no IP address|does not appear") as refused:
            service_rules.checked(wire.HeldService(name="a/b", ports=[port, told]))
        assert refused.value.kind is Kind.INVALID

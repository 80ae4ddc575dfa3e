"""Which name servers a pod is given that asks for none."""

from __future__ import annotations

import pytest

from cellagent.network.etc_files import check, reachable, resolv_conf
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind

STUB = "nameserver 127.0.0.53\noptions edns0\n"
REAL = "# by a resolver\nnameserver 10.0.0.2\n"


def test_servers_that_only_the_machine_reaches_are_not_handed_to_pods() -> None:
    assert reachable([STUB, REAL]) == REAL
    assert reachable(["nameserver ::1\n", REAL]) == REAL
    assert reachable([REAL, STUB]) == REAL
    assert reachable(["nameserver 127.0.0.1\nnameserver fe80::1%eth0\n", REAL]).startswith("nameserver 127")


def test_where_none_can_be_reached_the_machines_own_file_is_as_good_as_any() -> None:
    assert reachable([STUB]) == STUB
    assert reachable([]) == ""


def test_a_pod_that_says_something_gets_that_and_nothing_of_the_machines() -> None:
    asked = cri.DNSConfig(servers=["10.96.0.10"], options=["ndots:5"])
    assert resolv_conf(asked, REAL) == "nameserver 10.96.0.10\noptions ndots:5\n"
    assert resolv_conf(cri.DNSConfig(), REAL) == REAL


@pytest.mark.parametrize("sign", ["\n", "\0", "\r", " ", "\u2028"])
def test_what_would_be_more_than_one_word_of_a_file_is_refused(sign: str) -> None:
    check("web", cri.DNSConfig(servers=["10.0.0.2"], searches=["a.b"], options=["ndots:5", "timeout:3 rotate"]))
    for hostname, dns in (
        (f"web{sign}10.0.0.1", cri.DNSConfig()),
        ("web", cri.DNSConfig(servers=[f"10.0.0.2{sign}nameserver"])),
        ("web", cri.DNSConfig(searches=[f"a.b{sign}options"])),
        *((("web", cri.DNSConfig(options=[f"ndots:5{sign}nameserver"])),) if sign != " " else ()),
    ):
        with pytest.raises(Fault) as refused:
            check(hostname, dns)
        assert refused.value.kind is Kind.INVALID

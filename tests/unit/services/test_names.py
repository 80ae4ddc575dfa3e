"""Names as Kubernetes' DNS specification has them, where the controller answers."""

from __future__ import annotations

import pytest

from controller.services import dns_names
from controller.services.book import Book
from controller.services.dns_names import AAAA, CNAME, NO_NAME, PTR, SRV, A
from controller.services.model import MappedPort, ServiceEntry, Slice, SliceEndpoint

DOMAIN = "cluster.local"


@pytest.fixture
def book() -> Book:
    made = Book()
    ports = (MappedPort(name="http", number=80),)
    made.put_service(ServiceEntry(key=("default", "web"), cluster=("10.96.0.7", "fd00::7"), addresses=(), ports=ports))
    made.put_service(ServiceEntry(key=("default", "db"), ports=ports))
    made.put_service(ServiceEntry(key=("default", "far"), external_name="example.com"))
    endpoints = (SliceEndpoint(address="10.0.0.1", hostname="db-0"), SliceEndpoint(address="10.0.0.2", ready=False))
    made.put_slice(
        Slice(key=("default", "db-1"), service=("default", "db"), ports={("http", "tcp"): 8080}, endpoints=endpoints)
    )
    return made


def asked(book: Book, name: str, type_: int = A) -> tuple[int, list[str]] | None:
    said = dns_names.answer(book, DOMAIN, name, type_)
    if said is None:
        return None
    assert said.known
    return said.code, [f"{one.text}:{one.port}" if one.port else one.text for one in said.records]


@pytest.mark.parametrize(
    ("name", "type_", "said"),
    [
        ("web.default.svc.cluster.local", A, ["10.96.0.7"]),
        ("web.default.svc.cluster.local", AAAA, ["fd00::7"]),
        ("web.default.svc.cluster.local", 15, []),
        ("db.default.svc.cluster.local", A, ["10.0.0.1"]),
        ("db-0.db.default.svc.cluster.local", A, ["10.0.0.1"]),
        ("10-0-0-1.db.default.svc.cluster.local", A, ["10.0.0.1"]),
        ("far.default.svc.cluster.local", A, ["example.com"]),
        ("_http._tcp.web.default.svc.cluster.local", SRV, ["web.default.svc.cluster.local:80"]),
        ("_http._tcp.db.default.svc.cluster.local", SRV, ["db-0.db.default.svc.cluster.local:8080"]),
        ("10-0-0-9.default.pod.cluster.local", A, ["10.0.0.9"]),
        ("7.0.96.10.in-addr.arpa", PTR, ["web.default.svc.cluster.local"]),
        ("1.0.0.10.in-addr.arpa", PTR, ["db-0.db.default.svc.cluster.local"]),
        ("default.svc.cluster.local", A, []),
        ("svc.cluster.local", A, []),
    ],
)
def test_a_name_is_answered(book: Book, name: str, type_: int, said: list[str]) -> None:
    assert asked(book, name, type_) == (0, said)


@pytest.mark.parametrize(
    "name",
    [
        "none.default.svc.cluster.local",
        "web.other.svc.cluster.local",
        "other.svc.cluster.local",
        "x.web.default.svc.cluster.local",
        "db-9.db.default.svc.cluster.local",
        "x.cluster.local",
        "not-an-address.default.pod.cluster.local",
    ],
)
def test_a_name_that_nobody_has_is_said_not_to_be_there(book: Book, name: str) -> None:
    assert asked(book, name) == (NO_NAME, [])


@pytest.mark.parametrize("name", ["example.com", "9.9.9.9.in-addr.arpa", "web.default.svc.cluster.local.example.com"])
def test_what_is_none_of_the_domains_is_for_others_to_answer(book: Book, name: str) -> None:
    assert asked(book, name, PTR) is None


def test_a_name_tells_which_service_is_about_to_be_used() -> None:
    assert dns_names.service_asked("web.default.svc.cluster.local", DOMAIN) == ("default", "web")
    assert dns_names.service_asked("_http._tcp.web.default.svc.cluster.local", DOMAIN) == ("default", "web")
    assert dns_names.service_asked("example.com", DOMAIN) is None
    assert dns_names.service_asked("web.default.pod.cluster.local", DOMAIN) is None


def test_an_external_name_is_an_alias(book: Book) -> None:
    said = dns_names.answer(book, DOMAIN, "far.default.svc.cluster.local", A)
    assert said is not None
    assert [one.type for one in said.records] == [CNAME]


def test_who_makes_a_headless_service_gives_no_names_to_addresses_of_other_services(book: Book) -> None:
    book.put_service(ServiceEntry(key=("evil", "db")))
    endpoints = (SliceEndpoint(address="10.96.0.7", hostname="bank"),)
    book.put_slice(Slice(key=("evil", "db-1"), service=("evil", "db"), endpoints=endpoints))
    assert asked(book, "7.0.96.10.in-addr.arpa", PTR) == (0, ["web.default.svc.cluster.local"])


def test_an_answer_has_no_more_records_than_dns_has_room_for(book: Book) -> None:
    endpoints = tuple(SliceEndpoint(address=f"10.1.{number >> 8}.{number & 255}") for number in range(3000))
    book.put_slice(
        Slice(key=("default", "db-2"), service=("default", "db"), ports={("http", "tcp"): 1}, endpoints=endpoints)
    )
    for name, type_ in (("db.default.svc.cluster.local", A), ("_http._tcp.db.default.svc.cluster.local", SRV)):
        found = asked(book, name, type_)
        assert found is not None
        assert len(found[1]) == dns_names.MOST

"""Names of Services and of pods, as Kubernetes' DNS specification 1.1 has them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from itertools import islice

from cellwire.cell.v1 import cell_pb2 as wire
from controller.services import compiling
from controller.services.book import Book
from controller.services.model import Key, ServiceEntry

A, CNAME, PTR, AAAA, SRV = 1, 5, 12, 28, 33
NO_NAME = 3
TTL = 5
"""Seconds: an answer that is kept for longer keeps a pod from who has come since."""
MOST = 1000
"""Records of an answer: about as many as DNS has room for."""


def service_asked(name: str, domain: str) -> Key | None:
    """The Service that a name in the domain is of; None where it is of none."""
    labels = _labels(name, domain)
    if labels is None or len(labels) < 3 or labels[-1] != "svc":
        return None
    return labels[-2], labels[-3]


def answer(book: Book, domain: str, name: str, type_: int) -> wire.NameAnswer | None:
    """What the controller answers where there is no cluster; None where others are to be asked."""
    if name.endswith((".in-addr.arpa", ".ip6.arpa")):
        return _reverse(book, domain, name, type_)
    labels = _labels(name, domain)
    if labels is None:
        return None
    if len(labels) == 3 and labels[2] == "pod":
        return _pod(name, labels[0], type_)
    key = service_asked(name, domain)
    service = book.services.get(key) if key is not None else None
    if service is None or key is None:
        # Names with nothing of their own, but with others below them.
        empty = not labels or labels in (["svc"], ["pod"]) or (len(labels) == 2 and labels[1] in {"svc", "pod"})
        return _none() if empty and _has(book, labels) else _unknown()
    return _of_service(book, service, name, labels[:-3], type_)


def _has(book: Book, labels: list[str]) -> bool:
    return len(labels) < 2 or book.some_in(labels[0])


def _of_service(book: Book, service: ServiceEntry, name: str, before: list[str], type_: int) -> wire.NameAnswer:
    known = book.slices_of(service.key)
    if service.external_name:
        if before:
            return _unknown()
        return _said([wire.NameRecord(name=name, type=CNAME, ttl=TTL, text=service.external_name)])
    whole = name.split(".", len(before))[-1]
    if len(before) == 2 and before[0].startswith("_") and before[1].startswith("_"):
        return _ports(service, book, name, whole, (before[0][1:], before[1][1:]), type_)
    if not before:
        addresses = service.cluster or tuple(one.address for one in islice(compiling.told(service, known), MOST))
    elif len(before) == 1 and not service.cluster:
        there = compiling.told(service, known)
        addresses = tuple(one.address for one in there if before[0] in {one.hostname, _dashed(one.address)})
    else:
        return _unknown()
    if not addresses:
        return _none() if not before and service.cluster else _unknown()
    return _said(_addresses(name, addresses, type_))


def _ports(
    service: ServiceEntry, book: Book, name: str, whole: str, asked: tuple[str, str], type_: int
) -> wire.NameAnswer:
    port = next((one for one in service.ports if (one.name, one.protocol) == asked), None)
    if port is None:
        return _unknown()
    if type_ != SRV:
        return _none()
    if service.cluster:
        return _said([wire.NameRecord(name=name, type=SRV, ttl=TTL, text=whole, port=port.number)])
    there = (
        (endpoint, number)
        for one in book.slices_of(service.key)
        if (number := one.ports.get((port.name, port.protocol))) is not None
        for endpoint in one.endpoints
        if endpoint.ready or service.not_ready_too
    )
    records = [
        wire.NameRecord(
            name=name, type=SRV, ttl=TTL, port=number,
            text=f"{endpoint.hostname or _dashed(endpoint.address)}.{whole}",
        )
        for endpoint, number in islice(there, MOST)
    ]  # fmt: skip
    return _said(records) if records else _unknown()


def _pod(name: str, dashed: str, type_: int) -> wire.NameAnswer:
    for text in (dashed.replace("-", "."), dashed.replace("-", ":")):
        try:
            return _said(_addresses(name, [str(ip_address(text))], type_))
        except ValueError:
            continue
    return _unknown()


def _reverse(book: Book, domain: str, name: str, type_: int) -> wire.NameAnswer | None:
    address = _reversed(name) if type_ == PTR else ""
    if (key := book.at(address)) is not None:
        found = [_whole(key, domain)]
    else:
        found = [
            f"{endpoint.hostname}.{_whole(one.service, domain)}"
            for one in book.named_at(address)
            if (service := book.services.get(one.service)) is not None and not service.cluster
            for endpoint in compiling.told(service, (one,))
            if endpoint.address == address and endpoint.hostname
        ]
    return _said([wire.NameRecord(name=name, type=PTR, ttl=TTL, text=text) for text in found]) if found else None


def _whole(key: Key, domain: str) -> str:
    return f"{key[1]}.{key[0]}.svc.{domain}"


def _reversed(name: str) -> str:
    labels = name.split(".")
    if name.endswith(".in-addr.arpa") and len(labels) == 6:
        return ".".join(reversed(labels[:4]))
    if name.endswith(".ip6.arpa") and len(labels) == 34:
        digits = "".join(reversed(labels[:32]))
        try:
            return str(ip_address(":".join(digits[at : at + 4] for at in range(0, 32, 4))))
        except ValueError:
            return ""
    return ""


def _addresses(name: str, addresses: Iterable[str], type_: int) -> list[wire.NameRecord]:
    wanted = {A: 4, AAAA: 6}.get(type_)
    return [
        wire.NameRecord(name=name, type=type_, ttl=TTL, text=one)
        for one in dict.fromkeys(addresses)
        if ip_address(one).version == wanted
    ]


def _dashed(address: str) -> str:
    return address.replace(".", "-").replace(":", "-")


def _labels(name: str, domain: str) -> list[str] | None:
    if name == domain:
        return []
    return name.removesuffix(f".{domain}").split(".") if name.endswith(f".{domain}") else None


def _said(records: list[wire.NameRecord]) -> wire.NameAnswer:
    return wire.NameAnswer(known=True, records=records)


def _none() -> wire.NameAnswer:
    return wire.NameAnswer(known=True)


def _unknown() -> wire.NameAnswer:
    return wire.NameAnswer(known=True, code=NO_NAME)

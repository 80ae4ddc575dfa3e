"""Services that are declared here: their addresses, and that cells are told of who answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwire.faults import Fault
from controller.objects import library
from controller.objects.admission import How
from controller.objects.kinds import ENDPOINT_SLICES, ENDPOINTS, SERVICES, STORED
from controller.objects.library import Library
from controller.objects.sealing import Sealing
from controller.objects.stored import Ending
from controller.pods.kind import PODS
from controller.services import cluster_ips, declared
from controller.services.book import Book
from controller.services.cluster_ips import Ranges
from tests.support.memory_store import MemoryStore
from tests.support.waiting import until

Json = dict[str, Any]
RANGE = IPv4Network("10.96.0.0/29")
RANGES = cluster_ips.ranges("10.96.0.0/29", "fd00:10:96::/112")
HOW = How()


def service(name: str, **spec: Any) -> Json:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"app": name}, **spec}}


def pod(name: str, app: str, address: str) -> Json:
    container = {"name": "c", "image": "i"}
    return {"metadata": {"name": name, "labels": {"app": app}}, "spec": {"containers": [container]}, "x": address}


@asynccontextmanager
async def room(store: MemoryStore, book: Book, ranges: Ranges = RANGES) -> AsyncGenerator[Library]:
    listed = asyncio.Event()
    async with (
        library.running(store, Sealing(bytes(32)), (*STORED, PODS), time.time) as found,
        declared.running(found, book, ranges, listed.set),
    ):
        await listed.wait()
        yield found


async def ready(found: Library, name: str, address: str, *, ready: bool = True, more: str = "") -> None:
    """A pod that runs at an address."""
    if found.objects(PODS.key).get("default", name) is None:
        await found.create(PODS, "default", pod(name, name.partition("-")[0], address), HOW)
    state = {"type": "Ready", "status": str(ready)}
    both = [{"ip": one} for one in (address, more) if one]
    status = {"phase": "Running", "podIP": address, "podIPs": both, "conditions": [state]}
    await found.keeper(PODS).change("default", name, lambda before: {**before, "status": status})


def backends(book: Book, name: str) -> list[str]:
    return sorted(one.address for each in book.slices_of(("default", name)) for one in each.endpoints if one.ready)


async def test_who_is_ready_answers_and_kubectl_is_told_the_same() -> None:
    store, book = MemoryStore(), Book()
    async with room(store, book) as found:
        await found.create(SERVICES, "default", service("web"), HOW)
        await ready(found, "web-1", "10.0.0.1")
        await ready(found, "web-2", "10.0.0.2", ready=False)
        await until(lambda: backends(book, "web") == ["10.0.0.1"], 5)
        await ready(found, "web-2", "10.0.0.2")
        await until(lambda: backends(book, "web") == ["10.0.0.1", "10.0.0.2"], 5)
        (subset,) = found.find(ENDPOINTS, "default", "web")["subsets"]
        assert [one["ip"] for one in subset["addresses"]] == ["10.0.0.1", "10.0.0.2"]
        await found.delete(PODS, "default", "web-1", Ending(), HOW)
        await until(lambda: backends(book, "web") == ["10.0.0.2"], 5)
    again = Book()
    async with room(store, again) as found:
        assert backends(again, "web") == ["10.0.0.2"]
        await found.delete(SERVICES, "default", "web", Ending(), HOW)
        await until(lambda: not again.services and not backends(again, "web"), 5)
        await until(
            lambda: not found.objects(ENDPOINTS.key).list() and not found.objects(ENDPOINT_SLICES.key).list(), 5
        )


async def test_addresses_are_given_once_kept_and_given_back() -> None:
    async with room(MemoryStore(), Book()) as found:
        async with asyncio.TaskGroup() as tasks:
            made = [tasks.create_task(found.create(SERVICES, "default", service(f"s{one}"), HOW)) for one in range(5)]
        given_out = {one.result()["spec"]["clusterIP"] for one in made}
        assert len(given_out) == 5
        fixed = next(str(one) for one in RANGE.hosts() if str(one) not in given_out)
        await found.create(SERVICES, "default", service("fixed", clusterIP=fixed), HOW)
        with pytest.raises(Fault, match="already allocated"):
            await found.create(SERVICES, "default", service("twice", clusterIP=fixed), HOW)
        with pytest.raises(Fault, match="not in the valid range"):
            await found.create(SERVICES, "default", service("far", clusterIP="10.97.0.1"), HOW)
        with pytest.raises(Fault, match="every address is taken"):
            await found.create(SERVICES, "default", service("late"), HOW)

        def plain(before: Json) -> Json:
            spec = {key: value for key, value in before["spec"].items() if not key.startswith("clusterIP")}
            return {**before, "spec": {**spec, "sessionAffinity": "ClientIP"}}

        changed = await found.change(SERVICES, "default", "fixed", plain, HOW)
        assert changed["spec"]["clusterIP"] == fixed
        outside = {"type": "ExternalName", "externalName": "there.test"}
        await found.change(SERVICES, "default", "fixed", lambda one: {**one, "spec": outside}, HOW)
        late = await found.create(SERVICES, "default", service("late"), HOW)
        assert late["spec"]["clusterIP"] == fixed


async def test_services_of_an_earlier_life_without_an_address_get_one() -> None:
    store = MemoryStore()
    async with library.running(store, Sealing(bytes(32)), (*STORED, PODS), time.time) as found:
        await found.create(SERVICES, "default", service("old"), HOW)
    book = Book()
    async with room(store, book):
        assert book.services["default", "old"].addresses


BOTH = {"ipFamilyPolicy": "PreferDualStack"}


async def test_a_service_of_two_families_has_an_address_and_slices_of_each() -> None:
    book = Book()
    async with room(MemoryStore(), book) as found:
        made = (await found.create(SERVICES, "default", service("web", **BOTH), HOW))["spec"]
        assert made["ipFamilies"] == ["IPv4", "IPv6"]
        first, second = made["clusterIPs"]
        assert first == made["clusterIP"]
        assert (":" in first, ":" in second) == (False, True)
        await ready(found, "web-1", "10.0.0.1", more="fd00::1")
        await until(lambda: backends(book, "web") == ["10.0.0.1", "fd00::1"], 5)
        types = {one["addressType"]: one["endpoints"] for one in found.objects(ENDPOINT_SLICES.key).list()}
        assert types.keys() == {"IPv4", "IPv6"}
        (subset,) = found.find(ENDPOINTS, "default", "web")["subsets"]
        assert [one["ip"] for one in subset["addresses"]] == ["10.0.0.1"]

        def one_family(before: Json) -> Json:
            return {**before, "spec": {**before["spec"], "ipFamilyPolicy": "SingleStack"}}

        after = (await found.change(SERVICES, "default", "web", one_family, HOW))["spec"]
        assert (after["clusterIPs"], after["ipFamilies"]) == ([first], ["IPv4"])
        await until(lambda: backends(book, "web") == ["10.0.0.1"], 5)
        await found.create(SERVICES, "default", service("next", clusterIP=second), HOW)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"ipFamilies": ["IPv4", "IPv6"]}, "when multiple IP families are specified"),
        ({"ipFamilies": ["IPv6", "IPv6"], **BOTH}, "Duplicate value"),
        ({"ipFamilies": ["IPv5"]}, "supported values"),
        ({"ipFamilyPolicy": "Both"}, "supported values"),
        ({"ipFamilies": ["IPv6"], "clusterIP": "10.96.0.1"}, "expected an IPv6 value"),
        ({"clusterIP": "fd00::1"}, "not in the valid range"),
        ({"clusterIP": "10.96.0.1", "clusterIPs": ["fd00:10:96::1"]}, "must match"),
    ],
)
async def test_families_that_cannot_be_had_are_refused(spec: Json, why: str) -> None:
    async with room(MemoryStore(), Book()) as found:
        with pytest.raises(Fault, match=why):
            await found.create(SERVICES, "default", service("web", **spec), HOW)


async def test_one_range_gives_one_family_and_nobody_is_kept_from_starting_by_a_former_second() -> None:
    store = MemoryStore()
    async with room(store, Book()) as found:
        await found.create(SERVICES, "default", service("old", **BOTH), HOW)
    async with room(store, Book(), cluster_ips.ranges("10.96.0.0/29")) as found:
        with pytest.raises(Fault, match="not configured for dual-stack"):
            await found.create(SERVICES, "default", service("web", ipFamilyPolicy="RequireDualStack"), HOW)
        made = (await found.create(SERVICES, "default", service("web", **BOTH), HOW))["spec"]
        assert made["ipFamilies"] == ["IPv4"]
        by_hand = {"clusterIP": "None", "selector": {}, "ipFamilies": ["IPv6"]}
        await found.create(SERVICES, "default", service("hand", **by_hand), HOW)


@given(st.sets(st.integers(1, 6)), st.integers(0, 5))
def test_a_free_address_is_found_where_there_is_one(taken: set[int], drawn: int) -> None:
    there = {str(RANGE[one]) for one in taken}
    if len(taken) == 6:
        with pytest.raises(Fault):
            cluster_ips.free(RANGE, there, lambda _: drawn)
    else:
        found = cluster_ips.free(RANGE, there, lambda _: drawn)
        assert found not in there
        assert found in {str(one) for one in RANGE.hosts()}


@pytest.mark.parametrize("text", ["10.96.0.0/30", "10.96.0.1/16", "fd00::/64", "x"])
def test_a_range_without_room_is_refused(text: str) -> None:
    with pytest.raises(Fault, match=r"services\.addresses"):
        cluster_ips.ranges(text)


async def test_a_service_takes_no_traffic_beside_its_own_address() -> None:
    book = Book()
    async with room(MemoryStore(), book) as found:
        made = await found.create(SERVICES, "default", service("victim"), HOW)
        theirs = made["spec"]["clusterIP"]
        port = {"port": 80, "nodePort": 53, "protocol": "UDP"}
        taking = service("taking", type="NodePort", ports=[port], externalIPs=["198.51.100.7", theirs])
        await found.create(SERVICES, "default", taking, HOW)
        balanced = {"loadBalancer": {"ingress": [{"ip": "198.51.100.8"}]}}
        change = found.keeper(SERVICES).change("default", "taking", lambda before: {**before, "status": balanced})
        own = (await change)["spec"]["clusterIP"]
        await until(lambda: ("default", "taking") in book.services)
        assert book.services["default", "taking"].addresses == (own,)
        assert [one.node for one in book.services["default", "taking"].ports] == [0]
        assert book.at(theirs) == ("default", "victim")


async def test_a_service_names_one_address_and_no_second_that_is_anothers() -> None:
    async with room(MemoryStore(), Book()) as found:
        made = await found.create(SERVICES, "default", service("victim"), HOW)
        theirs = made["spec"]["clusterIP"]
        own = next(str(one) for one in RANGE.hosts() if str(one) != theirs)
        both = [own, theirs]
        with pytest.raises(Fault, match="clusterIPs"):
            await found.create(SERVICES, "default", service("taking", clusterIP=own, clusterIPs=both), HOW)
        await found.create(SERVICES, "default", service("taking", clusterIP=own), HOW)

        def more(before: Json) -> Json:
            return {**before, "spec": {**before["spec"], "clusterIPs": both}}

        with pytest.raises(Fault, match="clusterIPs"):
            await found.change(SERVICES, "default", "taking", more, HOW)

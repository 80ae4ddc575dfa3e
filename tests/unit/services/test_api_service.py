"""The API finds itself in the list of Services, as in every cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from controller.objects import library
from controller.objects.admission import How
from controller.objects.kinds import ENDPOINTS, SERVICES, STORED
from controller.objects.library import Library
from controller.objects.sealing import Sealing
from controller.objects.stored import Ending
from controller.pods.kind import PODS
from controller.services import api_service, cluster_ips, declared
from controller.services.book import Book
from tests.support.memory_store import MemoryStore
from tests.support.waiting import until

KEY = ("default", "kubernetes")
RANGES = cluster_ips.ranges("10.96.0.0/29", "")
HOW = How()


@asynccontextmanager
async def room(store: MemoryStore, book: Book, address: str) -> AsyncGenerator[Library]:
    listed = asyncio.Event()
    async with (
        library.running(store, Sealing(bytes(32)), (*STORED, PODS), time.time) as found,
        declared.running(found, book, RANGES, listed.set),
        api_service.running(found, address, 6443),
    ):
        yield found


def backends(book: Book) -> list[str]:
    return sorted(one.address for each in book.slices_of(KEY) for one in each.endpoints)


async def test_the_service_comes_back_whoever_changes_or_deletes_it() -> None:
    book = Book()
    async with room(MemoryStore(), book, "10.9.0.1") as found:
        await until(lambda: backends(book) == ["10.9.0.1"])
        service = found.objects(SERVICES.key).get(*KEY)
        assert service is not None
        assert service["spec"]["ports"] == [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443}]
        first = service["metadata"]["uid"]

        other = [{"addresses": [{"ip": "10.9.0.66"}], "ports": [{"name": "https", "port": 1, "protocol": "TCP"}]}]
        await found.change(ENDPOINTS, *KEY, lambda one: {**one, "subsets": other}, HOW)
        await until(lambda: backends(book) == ["10.9.0.1"])
        await found.change(SERVICES, *KEY, lambda one: {**one, "spec": {**one["spec"], "selector": {"a": "b"}}}, HOW)
        await until(lambda: "selector" not in (found.objects(SERVICES.key).get(*KEY) or {})["spec"])
        await found.delete(SERVICES, *KEY, Ending(), HOW)
        await until(lambda: (found.objects(SERVICES.key).get(*KEY) or service)["metadata"]["uid"] != first)


async def test_it_goes_when_pods_reach_the_api_no_more_and_a_users_own_stays() -> None:
    store = MemoryStore()
    async with room(store, Book(), "10.9.0.1") as found:
        await until(lambda: found.objects(ENDPOINTS.key).get(*KEY) is not None)
    async with room(store, Book(), "") as found:
        await until(lambda: found.objects(SERVICES.key).get(*KEY) is None)
        await until(lambda: found.objects(ENDPOINTS.key).get(*KEY) is None)
        own = {"metadata": {"name": "kubernetes"}, "spec": {"ports": [{"port": 80}], "selector": {"app": "mine"}}}
        await found.create(SERVICES, "default", own, HOW)
    async with room(store, Book(), "api.example") as found:
        assert found.objects(SERVICES.key).get(*KEY) is not None

"""Pulls of tests: what fails, and a registry that breaks off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web

from cellagent.images.messages import Credentials
from cellagent.images.room import ImageRoom
from cellwire.faults import Fault
from tests.support.registry import serving

NOBODY = Credentials()


async def failure(room: ImageRoom, name: str, credentials: Credentials = NOBODY) -> Fault:
    with pytest.raises(Fault) as caught:
        await room.puller.pull(name, credentials)
    assert not room.store.images() or name not in room.store.images()[0].tags
    return caught.value


class Flaky:
    """A registry in front of the registry that breaks connections, and counts what it is asked."""

    def __init__(self, registry: str) -> None:
        self.registry = registry
        self.blobs = 0
        self.ranges: list[str] = []
        self.break_after = 0
        self.hang = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        blob = "/blobs/" in request.path
        wanted = {k: v for k, v in request.headers.items() if k in {"Range", "Accept"}}
        async with (
            ClientSession() as session,
            session.get(f"http://{self.registry}{request.path}", headers=wanted) as found,
        ):
            body = await found.read()
            response = web.StreamResponse(status=found.status)
            for name in ("Content-Type", "Content-Range", "Docker-Content-Digest", "Content-Length"):
                if name in found.headers:
                    response.headers[name] = found.headers[name]
            await response.prepare(request)
            if blob and len(body) > 1000:
                self.blobs += 1
                self.ranges += [wanted["Range"]] if "Range" in wanted else []
                if self.hang:
                    await response.write(body[:1000])
                    await asyncio.sleep(60)
                if self.break_after and len(body) > self.break_after:
                    await response.write(body[: self.break_after])
                    if request.transport:
                        request.transport.close()
                    return response
            await response.write(body)
            return response


@asynccontextmanager
async def flaky_registry(registry: str) -> AsyncGenerator[tuple[Flaky, str]]:
    flaky = Flaky(registry)
    app = web.Application()
    app.router.add_get("/{path:.*}", flaky.answer)
    async with serving(app) as address:
        yield flaky, address

"""A registry that the machine's own authorities vouch for needs no settings."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

from cellagent.images.messages import Credentials, RegistrySettings
from cellagent.images.room import ImageSettings, running
from cellwire.faults import Fault, Kind
from cellwire.proxies import Proxies
from tests.support.authorities import FileAuthority
from tests.support.oci import layer, push_image
from tests.support.registry import running_registry, serving

NAME = "registry.test/garden:1"


async def nothing(_: web.Request) -> web.Response:
    return web.Response(status=404)


async def test_who_the_machines_authorities_vouch_for_is_trusted_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = FileAuthority(tmp_path / "mine"), FileAuthority(tmp_path / "other")
    certificate, key = mine.sign("server", "127.0.0.1")
    tls: dict[str, object] = {"certificate": str(certificate), "key": str(key)}
    empty = web.Application()
    empty.router.add_route("*", "/{path:.*}", nothing)
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(running_registry(folder=tmp_path))
        await push_image(plain, "garden:1", [layer({"a": b"1"})])
        address = await stack.enter_async_context(running_registry(folder=tmp_path, tls=tls))
        proxy = await stack.enter_async_context(serving(empty))
        settings = ImageSettings(
            root=tmp_path / "images",
            registries=(RegistrySettings(host="registry.test", mirrors=(f"https://{address}",), plain_http=True),),
            proxies=Proxies(http=f"http://{proxy}"),
        )
        room = await stack.enter_async_context(running(settings))
        monkeypatch.setenv("SSL_CERT_FILE", str(other.ca))
        with pytest.raises(Fault) as caught:
            await room.puller.pull(NAME, Credentials())
        assert caught.value.kind is Kind.NOT_FOUND
        assert f"before that, {address}: {address} shows a certificate that is not trusted" in str(caught.value)

        monkeypatch.setenv("SSL_CERT_FILE", str(mine.ca))
        assert (await room.puller.pull(NAME, Credentials())).layers

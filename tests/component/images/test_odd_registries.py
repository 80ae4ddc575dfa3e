"""Registries that are not one well-behaved origin: redirects, limits, authorities of one's own, proxies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from cellagent.daemon import registries
from cellagent.images import registry_answers
from cellagent.images.messages import Credentials, PullDelayed, PullProgress, PullRequest, RegistrySettings
from cellagent.images.reference import parse
from cellagent.images.registry_client import RegistryClient, opened
from cellagent.images.room import ImageRoom, ImageSettings, running
from cellwire.faults import Fault, Kind
from cellwire.platforms import Platform
from cellwire.proxies import Proxies
from tests.support.authorities import FileAuthority
from tests.support.oci import layer, push_image
from tests.support.proxy import running_proxy
from tests.support.registry import running_registry, serving

NOBODY = Credentials()
SECRET = Credentials(username="gardener", password="of registry A")


async def failure(room: ImageRoom, name: str, credentials: Credentials = NOBODY) -> Fault:
    with pytest.raises(Fault) as caught:
        await room.puller.pull(name, credentials)
    return caught.value


class Behind:
    """Registry B, which gives tokens to anybody, in front of a real one; A leads to it. Keeps what headers it saw."""

    def __init__(self, registry: str) -> None:
        self._registry = registry
        self.seen: list[str] = []
        self.refuses = False
        self.token: dict[str, str | None] = {"token": "for anybody"}

    async def answer(self, request: web.Request) -> web.Response:
        authorization = request.headers.get("Authorization", "")
        self.seen.append(authorization)
        if request.path == "/token":
            return web.json_response(self.token)
        if self.refuses or authorization != "Bearer for anybody":
            realm = f'Bearer realm="http://{request.host}/token",service="b"'
            body = {"errors": [{"code": "UNAUTHORIZED", "message": "B says no"}]}
            return web.json_response(body, status=401, headers={"WWW-Authenticate": realm})
        accept = {name: request.headers[name] for name in ("Accept",) if name in request.headers}
        async with (
            ClientSession() as session,
            session.get(f"http://{self._registry}{request.path}", headers=accept) as found,
        ):
            kept = {
                name: found.headers[name] for name in ("Content-Type", "Docker-Content-Digest") if name in found.headers
            }
            return web.Response(status=found.status, body=await found.read(), headers=kept)


@asynccontextmanager
async def leading_on(tmp_path: Path) -> AsyncGenerator[tuple[str, Behind, ImageRoom]]:
    """Registry A, which wants a login and then leads everything on to B."""
    async with AsyncExitStack() as stack:
        real = await stack.enter_async_context(running_registry())
        await push_image(real, "garden:1", [layer({"a": b"1"})])
        behind = Behind(real)
        app = web.Application()
        app.router.add_get("/{path:.*}", behind.answer)
        b = await stack.enter_async_context(serving(app))

        async def lead(request: web.Request) -> web.Response:
            if not request.headers.get("Authorization"):
                return web.Response(status=401, headers={"WWW-Authenticate": 'Negotiate, Basic realm="A, Bearer"'})
            return web.Response(status=307, headers={"Location": f"http://{b}{request.path_qs}"})

        front = web.Application()
        front.router.add_get("/{path:.*}", lead)
        a = await stack.enter_async_context(serving(front))
        room = await stack.enter_async_context(running(ImageSettings(root=tmp_path)))
        yield a, behind, room


async def test_whom_a_registry_leads_to_is_logged_in_to_without_the_registrys_credentials(tmp_path: Path) -> None:
    async with leading_on(tmp_path) as (a, behind, room):
        image = await room.puller.pull(f"{a}/garden:1", SECRET)
        assert (image.layers[0] / "a").read_bytes() == b"1"
        assert set(behind.seen) == {"", "Bearer for anybody"}


@pytest.mark.parametrize("none", [{}, {"token": None}, {"token": ""}], ids=["absent", "null", "empty"])
async def test_a_token_may_come_under_its_other_name_alone(tmp_path: Path, none: dict[str, str | None]) -> None:
    async with leading_on(tmp_path) as (a, behind, room):
        behind.token = {**none, "access_token": "for anybody"}
        assert await room.puller.pull(f"{a}/garden:1", SECRET)
        assert set(behind.seen) == {"", "Bearer for anybody"}


async def test_a_refusal_of_whom_a_registry_leads_to_names_it_and_guesses_no_mend(tmp_path: Path) -> None:
    async with leading_on(tmp_path) as (a, behind, room):
        behind.refuses = True
        fault = await failure(room, f"{a}/garden:1", SECRET)
        assert fault.kind is Kind.DENIED
        assert f"(to which {a} redirects) refused with 401 (UNAUTHORIZED: B says no)" in str(fault)
        assert "imagePullSecret" not in str(fault)
        assert not [header for header in behind.seen if "Basic" in header]


@asynccontextmanager
async def limiting(times: int, asked: str) -> AsyncGenerator[str]:
    """A registry that answers its first questions, `times` of them, with 429."""
    left = [times]
    async with running_registry() as real:
        await push_image(real, "garden:1", [layer({"a": b"1"})])
        behind = Behind(real)

        async def answer(request: web.Request) -> web.Response:
            if left[0] > 0:
                left[0] -= 1
                body = {"errors": [{"code": "TOOMANYREQUESTS", "message": "beds are full, see the gardener"}]}
                return web.json_response(body, status=429, headers={"Retry-After": asked})
            request = request.clone(headers={**request.headers, "Authorization": "Bearer for anybody"})
            return await behind.answer(request)

        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        async with serving(app) as address:
            yield address


class Waits:
    """Hears what a pull waits for: reasons, and seconds that were asked for."""

    def __init__(self) -> None:
        self.why: list[str] = []
        self.seconds: list[float] = []

    def asks(self, host: str) -> None:
        """Whose answer is awaited is no matter here."""

    def waits(self, why: str, seconds: float) -> None:
        self.why.append(why)
        self.seconds.append(seconds)


@asynccontextmanager
async def asking(address: str) -> AsyncGenerator[tuple[RegistryClient, Waits]]:
    """A registry asked as a pull asks it, in this process; and the waits that the pull is told of, in seconds."""
    waited = Waits()
    wanted = parse(f"{address}/garden:1")
    request = PullRequest(reference=str(wanted), work="", platform=Platform("linux", "amd64"))
    async with opened(wanted, request, waited) as client:
        yield client, waited


async def test_a_pull_is_told_of_the_wait_that_a_registry_asks_for() -> None:
    async with limiting(1, "1") as address, asking(address) as (client, waited):
        assert (await client.manifest("1"))[0]
    assert waited.seconds == [1.0]
    assert "it limits the rate of pulls (429) (TOOMANYREQUESTS: beds are full, see the gardener)" in waited.why[0]


async def test_a_limit_that_does_not_end_is_told_after_five_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    # However slowly a busy machine answers: what is counted here is not its time.
    monkeypatch.setattr(registry_answers, "TRIED_SECONDS", 300.0)
    async with limiting(100, "1") as address, asking(address) as (client, waited):
        with pytest.raises(Fault) as caught:
            await client.manifest("1")
    assert caught.value.reason == "RateLimited"
    assert "(tried 5 times)" in str(caught.value)
    assert waited.seconds == [1.0] * 4


async def test_a_registry_that_takes_a_question_and_answers_nothing_is_told_of_while_it_is_waited_for(
    tmp_path: Path,
) -> None:
    asked, told = asyncio.Event(), asyncio.Queue[PullProgress | PullDelayed]()

    async def silent(request: web.Request) -> web.Response:
        asked.set()
        await asyncio.sleep(60)
        return web.Response()

    app = web.Application()
    app.router.add_get("/{path:.*}", silent)
    async with serving(app) as address, running(ImageSettings(root=tmp_path), told.put_nowait) as room:
        async with asyncio.TaskGroup() as group:
            pulling = group.create_task(room.puller.pull(f"{address}/garden:1", NOBODY))
            said = await told.get()
            await asked.wait()
            pulling.cancel()
    assert isinstance(said, PullDelayed)
    assert said.why.startswith(f"no answer of {address} yet, ")


async def test_a_limit_for_longer_than_anybody_waits_is_told_at_once_with_the_registrys_words(tmp_path: Path) -> None:
    async with limiting(100, "3600") as address, running(ImageSettings(root=tmp_path)) as room:
        fault = await failure(room, f"{address}/garden:1")
    assert (fault.kind, fault.reason) == (Kind.UNAVAILABLE, "RateLimited")
    assert "limits the rate of pulls (429) (TOOMANYREQUESTS: beds are full, see the gardener)" in str(fault)
    assert "asks to wait for 3600 s" in str(fault)
    assert "tried" not in str(fault)
    assert "network" not in str(fault)


async def test_a_registry_of_an_own_authority_is_trusted_where_the_settings_say_so(tmp_path: Path) -> None:
    mine, other = FileAuthority(tmp_path / "mine"), FileAuthority(tmp_path / "other")
    certificate, key = mine.sign("server", "127.0.0.1")
    shown = mine.sign("client")
    tls: dict[str, object] = {"certificate": str(certificate), "key": str(key), "clientcas": [str(mine.ca)]}
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(running_registry(folder=tmp_path))
        await push_image(plain, "garden:1", [layer({"a": b"1"})])
        address = await stack.enter_async_context(running_registry(folder=tmp_path, tls=tls))
        room = await stack.enter_async_context(running(ImageSettings(root=tmp_path / "images")))

        def settings(ca: Path, pair: tuple[Path, Path] | None) -> RegistrySettings:
            certificate, key = (path.read_text() for path in pair) if pair else ("", "")
            return RegistrySettings(host=address, ca=ca.read_text(), certificate=certificate, key=key)

        room.configure([settings(other.ca, shown)])
        fault = await failure(room, f"{address}/garden:1")
        assert (fault.kind, fault.reason) == (Kind.DENIED, "CertificateNotTrusted")
        assert "shows a certificate that is not trusted (unable to get local issuer certificate)" in str(fault)
        assert "name that in the settings of this registry (ca)" in str(fault)

        room.configure([settings(mine.ca, None)])
        fault = await failure(room, f"{address}/garden:1")
        assert "TLS with it failed (" in str(fault)
        assert "certificate" in str(fault)

        # A mirror's own settings count for it, whoever's mirror it is.
        mirror = RegistrySettings(host="registry.test", mirrors=(f"https://{address}",))
        room.configure([mirror, settings(mine.ca, shown)])
        assert (await room.puller.pull("registry.test/garden:1", NOBODY)).layers


async def test_certificates_are_found_in_a_folder_for_each_registry(tmp_path: Path) -> None:
    mine = FileAuthority(tmp_path / "mine")
    certificate, key = mine.sign("server", "127.0.0.1")
    folder = tmp_path / "certificates"
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(running_registry(folder=tmp_path))
        await push_image(plain, "garden:1", [layer({"a": b"1"})])
        tls: dict[str, object] = {"certificate": str(certificate), "key": str(key)}
        address = await stack.enter_async_context(running_registry(folder=tmp_path, tls=tls))
        (folder / address).mkdir(parents=True)
        (folder / address / "ca.crt").write_bytes(mine.ca.read_bytes())
        known = registries(["registry.test=https://" + address], folder)
        room = await stack.enter_async_context(running(ImageSettings(root=tmp_path / "images", registries=known)))
        for name in (f"{address}/garden:1", "registry.test/garden:1"):
            assert (await room.puller.pull(name, NOBODY)).layers
        (folder / address / "ca.crt").write_text("no certificate")
        with pytest.raises(Fault, match="its certificate authority cannot be read") as caught:
            registries([], folder)
        assert caught.value.kind is Kind.INVALID


async def test_registries_are_reached_through_the_proxy_that_is_set(tmp_path: Path) -> None:
    mine = FileAuthority(tmp_path / "mine")
    certificate, key = mine.sign("server", "registry.test")
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(running_registry(folder=tmp_path))
        await push_image(plain, "garden:1", [layer({"a": b"1"})])
        tls: dict[str, object] = {"certificate": str(certificate), "key": str(key)}
        address = await stack.enter_async_context(running_registry(folder=tmp_path, tls=tls))
        places = {"registry.test:443": address, "plain.test": plain}
        proxy = await stack.enter_async_context(running_proxy(places))
        proxies = Proxies(http=proxy.address, https=proxy.address, exempt=("outside.test",))
        room = await stack.enter_async_context(running(ImageSettings(root=tmp_path / "images", proxies=proxies)))
        room.configure(
            [
                RegistrySettings(host="registry.test", ca=mine.ca.read_text()),
                RegistrySettings(host="plain.test", plain_http=True),
                RegistrySettings(host="outside.test", mirrors=(f"http://{plain}",)),
            ]
        )
        assert (await room.puller.pull("registry.test/garden:1", NOBODY)).layers
        assert set(proxy.asked) == {"CONNECT registry.test:443"}
        assert (await room.puller.pull("plain.test/garden:1", NOBODY)).layers
        assert "GET http://plain.test/v2/garden/manifests/1" in proxy.asked
        before = len(proxy.asked)
        assert (await room.puller.pull("outside.test/garden:1", NOBODY)).layers
        assert len(proxy.asked) == before
        fault = await failure(room, "nowhere.test/garden:1")
        assert fault.kind is Kind.UNAVAILABLE
        assert "the proxy on the way to it answered 502" in str(fault)

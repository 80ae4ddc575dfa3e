"""For which processors images are built, asked of a real registry."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
from aiohttp import ClientSession, web

from controller.clouds.protocol import Login
from controller.clouds.settings import Proxy, Registry
from controller.fleet.registry_facts import context, proxies
from controller.pods.registries import asking
from tests.support.authorities import FileAuthority
from tests.support.oci import OCI_INDEX, layer, push_image, push_index
from tests.support.proxy import running_proxy
from tests.support.registry import PASSWORD, USER, running_registry, serving


async def told(registry: str, images: Sequence[str], address: str = "") -> tuple[str, ...]:
    async with asking({registry: (address or f"http://{registry}",)}) as registries:
        return await registries.architectures([f"{registry}/{image}" for image in images])


async def test_an_index_names_its_processors_and_an_image_its_own() -> None:
    async with running_registry() as registry:
        amd = await push_image(registry, "web:amd", [layer({"a": b"1"})], architecture="amd64")
        arm = await push_image(registry, "web:arm", [layer({"a": b"2"})], architecture="arm64")
        odd = await push_image(registry, "web:odd", [layer({"a": b"3"})], architecture="s390x")
        both = {"linux/amd64": amd, "linux/arm64/v8": arm, "linux/s390x": odd, "unknown/unknown": odd}
        await push_index(registry, "web:both", both)

        assert await told(registry, ["web:both"]) == ("amd64", "arm64")
        assert await told(registry, ["web:arm"]) == ("arm64",)
        assert await told(registry, [f"web@{arm.digest}"]) == ("arm64",)
        assert await told(registry, ["web:both", "web:arm", "web:both"]) == ("arm64",)
        assert await told(registry, ["web:odd"]) == ()


async def test_indexes_within_an_index_are_followed_as_far_as_is_sane() -> None:
    async with running_registry() as registry:
        amd = await push_image(registry, "web:amd", [layer({"a": b"1"})], architecture="amd64")
        arm = await push_image(registry, "web:arm", [layer({"a": b"2"})], architecture="arm64")
        inner = await push_index(registry, "web:inner", {"linux/arm64": arm})
        for depth in range(4):
            own = {"": amd} if not depth else {}
            outer = await push_index(
                registry, f"web:{depth}", own, {"mediaType": OCI_INDEX, "digest": inner, "size": 1}
            )
            inner = outer
        assert await told(registry, ["web:0"]) == ("amd64", "arm64")
        assert await told(registry, ["web:2"]) == ("amd64", "arm64")
        assert await told(registry, ["web:3"]) == ()


async def test_a_registry_that_gives_tokens_to_anybody_is_asked_with_one() -> None:
    async def manifest(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer open sesame":
            realm = f'http://{request.host}/token",service="s",scope="repository:web:pull'
            return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})
        platform = {"os": "linux", "architecture": "arm64"}
        return web.Response(body=json.dumps({"manifests": [{"platform": platform}]}))

    async def token(request: web.Request) -> web.Response:
        assert dict(request.query) == {"service": "s", "scope": "repository:web:pull"}
        return web.json_response({"token": "open sesame"})

    app = web.Application()
    app.router.add_get("/v2/web/manifests/latest", manifest)
    app.router.add_get("/token", token)
    async with serving(app) as address:
        assert await told("registry.test", ["web"], f"http://{address}") == ("arm64",)


async def test_a_registry_of_the_clouds_own_is_asked_with_its_login_and_a_mirror_of_it_where_told() -> None:
    async with running_registry("basic") as registry:
        await push_image(registry, "web:1", [layer({"a": b"1"})], auth="basic", architecture="arm64")

        async def login(image: str) -> Login | None:
            return Login(username=USER, password=PASSWORD)

        image = f"{registry}/web:1"
        async with asking({registry: (f"http://{registry}",)}, login) as registries:
            assert await registries.architectures([image]) == ("arm64",)
        mirror = registry.replace("127.0.0.1", "localhost")
        async with asking({registry: (f"http://{mirror}",)}, login) as registries:
            assert await registries.architectures([image]) == ()
        async with asking({registry: (f"http://{mirror}",)}, login, mirror_logins={registry}) as registries:
            assert await registries.architectures([image]) == ("arm64",)


async def test_a_registry_that_wants_credentials_says_nothing() -> None:
    async with running_registry("basic") as registry:
        assert await told(registry, ["web"]) == ()


async def test_a_registry_that_is_down_or_slow_or_odd_says_nothing_and_is_left_alone_for_a_while() -> None:
    asked: list[str] = []
    over = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if "slow" in request.path:
            await over.wait()
        return web.Response(body=b"\x00" * (5 << 20) if "huge" in request.path else b"[[[")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with (
        serving(app) as address,
        asking({"r.test": (f"http://{address}",), "down.test": ("http://127.0.0.1:1",)}) as found,
    ):
        images = ["r.test/slow", "r.test/huge", "r.test/odd", "down.test/web", "r.test/../x", "r.test/a?b"]
        assert await found.architectures(images) == ()
        assert len(asked) == 3, "what is no image reference is not asked for"
        assert await found.architectures(images) == ()
        assert len(asked) == 3
        over.set()


async def test_a_mirror_is_asked_first_and_the_registry_itself_where_the_mirror_has_it_not() -> None:
    async with running_registry() as mirror, running_registry() as registry:
        await push_image(registry, "web:1", [layer({"a": b"1"})], architecture="arm64")
        bases = {"r.test": (f"http://{mirror}", f"http://{registry}")}
        async with asking(bases) as found:
            assert await found.architectures(["r.test/web:1"]) == ("arm64",)


async def test_registries_are_asked_through_the_proxy_and_trusted_as_the_settings_say(tmp_path: Path) -> None:
    mine = FileAuthority(tmp_path / "mine")
    certificate, key = mine.sign("server", "registry.test")
    async with running_registry(folder=tmp_path) as plain:
        await push_image(plain, "web:1", [layer({"a": b"1"})], architecture="arm64")
        tls: dict[str, object] = {"certificate": str(certificate), "key": str(key)}
        async with (
            running_registry(folder=tmp_path, tls=tls) as address,
            running_proxy({"registry.test:443": address}) as proxy,
        ):
            settings = Registry(host="registry.test", ca=mine.ca)
            ways = {"registry.test": context(settings)}
            for known, architectures in ((ways, ("arm64",)), ({}, ())):
                async with asking({}, None, known, proxies(Proxy(https=proxy.address))) as registries:
                    assert await registries.architectures(["registry.test/web:1"]) == architectures
            assert set(proxy.asked) == {"CONNECT registry.test:443"}


def leading_to(onwards: str) -> web.Application:
    """A registry that sends everybody on."""

    async def manifest(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": onwards})

    app = web.Application()
    app.router.add_get("/v2/web/manifests/latest", manifest)
    return app


@pytest.mark.parametrize(
    "elsewhere", ["localhost", "127.0.0.1", "127.0.0.2", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0"]
)
async def test_no_redirect_leads_the_controller_to_what_listens_on_its_own_machine(elsewhere: str) -> None:
    asked: list[str] = []

    async def secret(request: web.Request) -> web.Response:
        asked.append(request.path)
        platform = {"os": "linux", "architecture": "arm64"}
        return web.Response(body=json.dumps({"manifests": [{"platform": platform}]}))

    inside = web.Application()
    inside.router.add_get("/{any:.*}", secret)
    async with serving(inside) as there:
        port = there.rpartition(":")[2]
        async with serving(leading_to(f"http://{elsewhere}:{port}/secret")) as registry:
            assert await told("registry.test", ["web"], f"http://{registry}") == ()
        assert asked == []
        # What the settings name may be led to.
        async with serving(leading_to(f"http://{there}/v2/x/manifests/1")) as registry:
            bases = {"registry.test": (f"http://{registry}",), "named.test": (f"http://{there}",)}
            async with asking(bases) as registries:
                assert await registries.architectures(["registry.test/web"]) == ("arm64",)
        assert asked == ["/v2/x/manifests/1"]


async def test_a_token_server_is_believed_in_no_more_than_a_token() -> None:
    answers: list[web.Response] = [
        web.Response(body=b"[" * 100_000),
        web.Response(body=gzip.compress(b"0" * (64 << 20)), headers={"Content-Encoding": "gzip"}),
        web.Response(body=b'{"token": "' + b"x" * (8 << 20) + b'"}'),
        web.Response(body=b"\xff\xfe"),
    ]

    async def manifest(request: web.Request) -> web.Response:
        realm = f'http://{request.host}/token",service="s"'
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}'})

    async def token(_: web.Request) -> web.Response:
        return answers.pop()

    app = web.Application()
    app.router.add_get("/v2/web/manifests/{tag}", manifest)
    app.router.add_get("/token", token)
    async with serving(app) as registry, asking({"registry.test": (f"http://{registry}",)}) as registries:
        for number in range(len(answers)):
            assert await registries.architectures([f"registry.test/web:{number}"]) == ()
    assert answers == []


async def digest_of(registry: str, image: str, login: Login | None = None) -> str:
    named = {registry: (f"http://{registry}",)}
    async with ClientSession() as session, session.get(f"http://{registry}/v2/") as answer:
        challenge = answer.headers["WWW-Authenticate"]
        if challenge.startswith("Bearer"):  # on this machine no token server is asked that no setting names
            named["tokens"] = (challenge.split('realm="')[1].partition("/token")[0],)
    async with asking(named) as registries:
        return await registries.digest(f"{registry}/{image}", login)


OWN, WRONG = Login(username=USER, password=PASSWORD), Login(username=USER, password="guessed")


@pytest.mark.parametrize("way", ["basic", "token"])
async def test_only_who_may_pull_an_image_is_told_what_its_name_stands_for(way: Literal["basic", "token"]) -> None:
    async with running_registry(way) as registry:
        pushed = await push_image(registry, "web:1", [layer({"a": b"1"})], auth=way)
        assert await digest_of(registry, "web:1", OWN) == pushed.digest
        assert await digest_of(registry, f"web@{pushed.digest}", OWN) == pushed.digest
        for nobody in (None, WRONG):
            assert await digest_of(registry, "web:1", nobody) == ""
        assert await digest_of(registry, "web:2", OWN) == ""


async def test_a_pods_login_is_not_shown_to_a_mirror_or_to_a_token_server_without_tls() -> None:
    shown: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        shown.append(request.headers.get("Authorization", ""))
        realm = 'Basic realm="x"' if "mirror" in request.path else 'Bearer realm="http://127.0.0.1:1/token"'
        return web.Response(status=401, headers={"WWW-Authenticate": realm})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with serving(app) as address, asking({"r.test": (f"http://{address}",)}) as registries:
        assert await registries.digest("r.test/mirror:1", OWN) == ""
        assert await registries.digest("r.test/other:1", OWN) == ""
        assert shown == ["", ""]


async def test_a_registry_out_of_reach_is_not_waited_for_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.pods.registries.DIGEST_PATIENCE", 0.2)
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        await asyncio.sleep(5)
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with serving(app) as address, asking({"r.test": (f"http://{address}",)}) as registries:
        for image in ("r.test/a", "r.test/b"):
            assert await registries.digest(image, None) == ""
    assert len(asked) == 1

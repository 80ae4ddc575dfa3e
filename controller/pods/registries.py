"""Asks registries for which processors a pod's images are built, before an instance is chosen for it; and which image
a name stands for now, as its pod is told, so that a cell which has that image need not ask itself.

A registry that does not answer in time, or wants credentials that the cloud has not, says nothing: the choice then
takes its default. So this never fails and never holds a pod up for long; what was learnt, a silence too, is
remembered for a while, but not what a pod may have. Where an answer leads on, only public addresses are asked, but for
those that the settings name.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import aiohttp
import msgspec
import structlog

from cellwire import strangers_json
from cellwire.faults import Fault
from cellwire.proxies import DIRECT, Proxies
from cellwire.reachable import Reach, place
from controller.choice import architectures
from controller.choice.architectures import DOCKER_HUB, Location
from controller.clouds.protocol import Login, LoginOf

log = structlog.get_logger()
ACCEPTED = (
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
)
# Beside the tens of seconds that an instance takes to boot.
PATIENCE = 3.0
# A tag may be pushed anew; an image does not often change its processors.
REMEMBERED = 600.0
SILENCE_REMEMBERED = 60.0
# A cell that asks itself needs about half a second for it.
DIGEST_PATIENCE = 2.0
MOST_REMEMBERED = 10_000
LARGEST = 4 << 20
# Indexes within indexes that are followed, and how many of one.
MOST_DEPTH, MOST_WITHIN = 3, 8
MOST_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})
CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class CloudLogins(NamedTuple):
    """Credentials of the cloud's registries, and the hosts whose mirrors are shown the credentials for them."""

    login: LoginOf | None = None
    mirrored: Collection[str] = ()

    def may_see(self, base: str, host: str) -> bool:
        """Whether credentials for this host are shown at this address of it."""
        return base == _registry(host) or urlsplit(base).netloc == host or host in self.mirrored


class Registries:
    """`bases` gives for a host the addresses at which to ask, in order; those not in it are asked by https."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        reach: Reach,
        bases: Mapping[str, Sequence[str]],
        logins: CloudLogins,
        clock: Callable[[], float] = time.monotonic,
        *,
        tls: Mapping[str, ssl.SSLContext] | None = None,
        proxies: Proxies = DIRECT,
    ) -> None:
        self._session = session
        self._reach = reach
        self._bases = bases
        self._logins = logins
        self._clock = clock
        self._tls = tls or {}
        self._proxies = proxies
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._silent: dict[str, float] = {}
        """Hosts that did not answer at all, and until when they are left alone."""

    async def architectures(self, images: Sequence[str]) -> tuple[str, ...]:
        """The processors that all these images run on; empty where nobody said."""
        wanted = sorted(set(images))
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(self._of(image)) for image in wanted]
        return architectures.common(task.result() for task in asked)

    async def digest(self, image: str, login: Login | None) -> str:
        """What this reference stands for now, told to who logs in so, or to anybody; "" where nobody says. Asked anew
        each time: it is the answer to whether a pod may have the image.
        """
        try:
            place = architectures.locate(image)
            if self._silent.get(place.host, 0.0) > self._clock():
                return ""
            async with asyncio.timeout(DIGEST_PATIENCE):
                return await self._stands_for(place, login)
        except (ValueError, Fault) as error:
            log.info("a registry did not say what an image's name stands for", image=image, cause=str(error))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.info("a registry is not asked for a while whose image is whose", image=image, cause=str(error))
            self._silent[architectures.locate(image).host] = self._clock() + SILENCE_REMEMBERED
        return ""

    async def _stands_for(self, image: Location, login: Login | None) -> str:
        for base in self._bases.get(image.host, (_registry(image.host),)):
            own = login if self._logins.may_see(base, image.host) else None
            address = f"{base}/v2/{image.repository}/manifests/{image.wanted}"
            found, challenge = await self._told(address, "")
            if challenge and (authorization := await self._authorization(base, challenge, own, told=own)):
                found, _ = await self._told(address, authorization)
            if found:
                return found
        return ""

    async def _of(self, image: str) -> tuple[str, ...]:
        until, known = self._known.get(image, (0.0, ()))
        if until > self._clock():
            return known
        try:
            async with asyncio.timeout(PATIENCE):
                login = await self._logins.login(image) if self._logins.login is not None else None
                known = await self._asked(architectures.locate(image), login)
        except (aiohttp.ClientError, Fault, OSError, ValueError, TimeoutError) as error:
            log.info("a registry did not say for which processors an image is built", image=image, cause=str(error))
            known = ()
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[image] = (self._clock() + (REMEMBERED if known else SILENCE_REMEMBERED), known)
        return known

    async def _asked(self, image: Location, login: Login | None) -> tuple[str, ...]:
        for base in self._bases.get(image.host, (_registry(image.host),)):
            own = login if self._logins.may_see(base, image.host) else None
            content, authorization = await self._manifest(base, image, own)
            if content is None:
                continue
            return await self._offered(f"{base}/v2/{image.repository}", content, authorization, MOST_DEPTH)
        return ()

    async def _offered(self, place: str, content: bytes, authorization: str, depth: int) -> tuple[str, ...]:
        """The processors of what a manifest or an index says, and of the indexes within it."""
        listed = architectures.of_index(content)
        if listed is None:
            digest = architectures.config_digest(content)
            config, _ = await self._got(f"{place}/blobs/{digest}", authorization) if digest else (None, "")
            return architectures.of_config(config or b"")
        found = set(listed)
        for digest in architectures.unnamed(content)[:MOST_WITHIN] if depth else ():
            within, _ = await self._got(f"{place}/manifests/{digest}", authorization)
            if within is not None:
                found.update(await self._offered(place, within, authorization, depth - 1))
        return tuple(name for name in architectures.KNOWN if name in found)

    async def _manifest(self, base: str, image: Location, login: Login | None) -> tuple[bytes | None, str]:
        address = f"{base}/v2/{image.repository}/manifests/{image.wanted}"
        content, challenge = await self._got(address, "")
        if content is not None or not challenge:
            return content, ""
        authorization = await self._authorization(base, challenge, login)
        content, _ = await self._got(address, authorization)
        return content, authorization

    async def _authorization(self, base: str, challenge: str, login: Login | None, told: Login | None = None) -> str:
        """What answers a challenge, "" where nothing does; `told` is whom a token is asked for, else it is nobody."""
        if login is not None and challenge.lower().startswith("basic"):
            return _basic(login)
        token = await self._token(base, challenge, told)
        return f"Bearer {token}" if token else ""

    async def _got(self, address: str, authorization: str) -> tuple[bytes | None, str]:
        """What is there, or None; and with what the registry wants one to log in."""
        async with self._followed("GET", address, authorization) as answer:
            content = await _read(answer) if answer is not None and answer.status == 200 else None
            return content, _challenge(answer)

    async def _told(self, address: str, authorization: str) -> tuple[str, str]:
        """The digest of what is there, ""; and with what the registry wants one to log in. No registry counts it."""
        async with self._followed("HEAD", address, authorization) as answer:
            found = answer.headers.get("Docker-Content-Digest", "") if answer is not None and answer.ok else ""
            return found if architectures.is_digest(found) else "", _challenge(answer)

    @asynccontextmanager
    async def _followed(
        self, method: str, address: str, authorization: str
    ) -> AsyncGenerator[aiohttp.ClientResponse | None]:
        """The answer after redirects; None where they lead nowhere."""
        asked = urlsplit(address).hostname or ""
        headers = {"Accept": ACCEPTED, **({"Authorization": authorization} if authorization else {})}
        for _ in range(MOST_REDIRECTS + 1):
            async with self._asking(address, asked, headers, method=method) as answer:
                if answer.status not in REDIRECTS:
                    yield answer
                    return
                onwards = urljoin(address, answer.headers.get("Location", ""))
            if urlsplit(onwards).netloc != urlsplit(address).netloc:
                headers.pop("Authorization", None)  # it was for the registry, not for whom the registry names
            if urlsplit(onwards).scheme not in {"https", urlsplit(address).scheme}:
                break
            address = onwards
        yield None

    @asynccontextmanager
    async def _asking(
        self,
        address: str,
        asked: str,
        headers: Mapping[str, str],
        query: Mapping[str, str] | None = None,
        method: str = "GET",
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """One request, no redirects followed; `asked` is the host that the image names. Raises ClientError, OSError."""
        tls, proxy = self._way(address)
        with self._reach.request(address, asked, proxy):
            async with self._session.request(
                method, address, headers=headers, params=query, allow_redirects=False, ssl=tls, proxy=proxy
            ) as answer:
                yield answer

    def _way(self, address: str) -> tuple[ssl.SSLContext | bool, str | None]:
        return self._tls.get(urlsplit(address).netloc, True), self._proxies.to(address) or None

    async def _token(self, base: str, challenge: str, login: Login | None) -> str:
        """A token for who logs in so, or for somebody without a name. The answer to an address that a registry names is
        given to it: https only, but for a registry that is itself asked in the clear.
        """
        fields = dict(CHALLENGE.findall(challenge))
        realm = fields.pop("realm", "")
        scheme = urlsplit(realm).scheme
        if not challenge.lower().startswith("bearer") or (scheme != "https" and scheme != urlsplit(base).scheme):
            return ""
        query = {key: value for key, value in fields.items() if key in {"service", "scope"}}
        headers = {"Authorization": _basic(login)} if login is not None else {}
        async with self._asking(realm, urlsplit(base).hostname or "", headers, query) as answer:
            if answer.status != 200:
                return ""
            try:
                given = strangers_json.decode(await _read(answer))
            except msgspec.DecodeError as error:
                raise ValueError(f"the token server's answer cannot be read: {error}") from error
        return str(given.get("token") or given.get("access_token") or "") if isinstance(given, dict) else ""


def _registry(host: str) -> str:
    """Where a registry is asked that no setting names."""
    return "https://registry-1.docker.io" if host == DOCKER_HUB else f"https://{host}"


def _basic(login: Login) -> str:
    return f"Basic {base64.b64encode(f'{login.username}:{login.password}'.encode()).decode()}"


def _challenge(answer: aiohttp.ClientResponse | None) -> str:
    return answer.headers.get("WWW-Authenticate", "") if answer is not None and answer.status == 401 else ""


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise ValueError("the answer is compressed, though that was not asked for")
    content = bytearray()
    async for part in answer.content.iter_chunked(1 << 16):
        content += part
        if len(content) > LARGEST:
            raise ValueError(f"the answer is larger than {LARGEST} bytes")
    return bytes(content)


@asynccontextmanager
async def asking(
    bases: Mapping[str, Sequence[str]],
    login: LoginOf | None = None,
    tls: Mapping[str, ssl.SSLContext] | None = None,
    proxies: Proxies = DIRECT,
    mirror_logins: Collection[str] = (),
) -> AsyncGenerator[Registries]:
    """Registries, with connections of their own. `login` gives credentials of the cloud's registries, `tls` what hosts
    want beside what this machine trusts; mirrors of the hosts in `mirror_logins` are shown the logins for these.
    """
    reach = Reach(frozenset(place(base) for known in bases.values() for base in known))
    async with aiohttp.ClientSession(
        connector=reach.connector(),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"Accept-Encoding": "identity"},
    ) as session:
        yield Registries(session, reach, bases, CloudLogins(login, mirror_logins), tls=tls, proxies=proxies)

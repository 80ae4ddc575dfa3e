"""The client side of the OCI distribution protocol, for one repository: manifests whole, blobs as streams.

Loaded only in the pull child, since aiohttp is heavy. Mirrors are tried in order before the host itself. A broken
connection or a 5xx is retried with backoff, and a blob goes on where it stopped; the retry budget refills on progress.
Nothing here verifies a blob's digest: whoever takes the stream does.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from cellagent.images import credentials as creds
from cellagent.images import registry_answers
from cellagent.images.logins import Host, RegistryLogins
from cellagent.images.manifest import ACCEPTED, MANIFEST_LIMIT, Descriptor, digest_of
from cellagent.images.messages import Credentials, PullRequest, RegistrySettings
from cellagent.images.reference import DEFAULT_REGISTRY, Reference, is_digest
from cellagent.images.registry_answers import ATTEMPTS, RetryBudget, Transient
from cellagent.images.routes import HttpRoutes
from cellwire.faults import Fault, Kind
from cellwire.reachable import ANYWHERE, Reach, place

# Once a mirror has said that it lacks an image: a registry behind the mirrors is often out of reach altogether.
ATTEMPTS_AFTER_AN_ANSWER = 2
REDIRECTS = 5
READ_BUFFER = 1 << 20


class PullListener(Protocol):
    """Listener to what a pull waits for."""

    def asks(self, host: str) -> None:
        """The next answer must come from this host."""
        ...

    def waits(self, why: str, seconds: float) -> None:
        """Nothing will come for so long: the registry asked us to wait."""
        ...


class Base:
    """One address that serves the repository."""

    def __init__(self, address: str, credentials: Credentials, *, mirror: bool, withheld: str = "") -> None:
        self.address = address
        self.mirror = mirror
        self.host = Host(address, credentials, mirror=mirror, withheld=withheld)
        self.led_to: dict[URL, Host] = {}
        """Hosts that it redirects to, by their origin."""


# Digits of a number of bytes.
LONGEST_NUMBER = 18


class RegistryClient:
    """One repository, at its host and the host's mirrors. `asked_at` is when somebody asked for it (monotonic)."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        reference: Reference,
        bases: Sequence[Base],
        routes: HttpRoutes,
        listener: PullListener,
        asked_at: float | None = None,
        reach: Reach = ANYWHERE,
    ) -> None:
        self._session = session
        self._reach = reach
        self._asked_at = asked_at
        self._reference = reference
        self._bases = list(bases)
        self._routes = routes
        self._listener = listener
        self.thing = f"image {reference}"
        scope = f"repository:{reference.repository}:pull"
        self._logins = RegistryLogins(session, self.thing, scope, routes, reach)

    async def manifest(self, wanted: str) -> tuple[bytes, str, str]:
        """The manifest or index that `wanted` (a tag or digest) names: content, media type, digest."""
        headers = {"Accept": ", ".join(ACCEPTED)}
        content, answer = await self._whole(f"manifests/{wanted}", headers, MANIFEST_LIMIT)
        claimed = answer.get("Docker-Content-Digest", "")
        expected = wanted if is_digest(wanted) else claimed
        digest = digest_of(content)
        if is_digest(expected) and digest_of(content, expected) != expected:
            raise self._mismatch("manifest", digest_of(content, expected), expected)
        return content, answer.get("Content-Type", ""), wanted if is_digest(wanted) else digest

    async def small(self, descriptor: Descriptor, limit: int) -> bytes:
        """A small blob, whole and verified."""
        content, _ = await self._whole(f"blobs/{descriptor.digest}", {}, limit)
        if (found := digest_of(content, descriptor.digest)) != descriptor.digest:
            raise self._mismatch("configuration", found, descriptor.digest)
        return content

    async def blob(self, descriptor: Descriptor) -> AsyncGenerator[bytes]:
        """The bytes of a blob, not verified, resumed where a connection breaks."""
        at, failures, bases = 0, 0, list(self._bases)
        patience = RetryBudget(len(bases), _now())
        notes: list[str] = []
        while at < descriptor.size or not at:
            try:
                async with self._open(bases[0], f"blobs/{descriptor.digest}", _range(at), patience) as answer:
                    skip = at if answer.status == 200 else _skip(answer, at)
                    async for chunk in answer.content.iter_any():
                        fresh = chunk[skip:] if skip else chunk
                        skip -= len(chunk) - len(fresh)
                        at += len(fresh)
                        if at > descriptor.size:
                            raise self._mismatch(f"layer {descriptor.digest}", "more bytes", f"{descriptor.size} bytes")
                        failures, patience = 0, RetryBudget(len(bases), _now())
                        if fresh:
                            yield fresh
                if at < descriptor.size:
                    raise Transient(f"the registry ended the answer after {at} of {descriptor.size} bytes")
                return
            except Transient as error:
                failures += 1
                if failures < error.attempts and not patience.is_over(_now()):
                    await self._pause(bases[0], failures, error, patience)
                    continue
                fault = self._down(bases[0], error, failures)
            except Fault as refused:
                fault = refused
            if len(bases) == 1 or fault.kind is Kind.BROKEN:
                raise _with_notes(fault, notes)
            notes.append(f"{bases.pop(0).host}: {fault.cause}")
            failures = 0
            patience.turn(_now())

    async def _whole(self, path: str, headers: dict[str, str], limit: int) -> tuple[bytes, dict[str, str]]:
        notes: list[str] = []
        attempts, patience = ATTEMPTS, RetryBudget(len(self._bases), _now(), self._asked_at)
        self._asked_at = None  # what follows an answer has its own time
        for base in list(self._bases):
            try:
                content, answer = await self._persist(base, path, headers, limit, attempts, patience)
            except Fault as fault:
                if base is self._bases[-1] or fault.kind is Kind.BROKEN:
                    raise _with_notes(fault, notes) from fault.__cause__
                notes.append(f"{base.host}: {fault.cause}")
                patience.turn(_now())
                if fault.kind is Kind.NOT_FOUND:
                    attempts = ATTEMPTS_AFTER_AN_ANSWER
            else:
                # What follows is likely where this was.
                self._bases.sort(key=lambda b: b is not base and b.mirror)
                return content, answer
        raise AssertionError("a repository has at least one address")

    async def _persist(
        self, base: Base, path: str, headers: dict[str, str], limit: int, attempts: int, patience: RetryBudget
    ) -> tuple[bytes, dict[str, str]]:
        failures = 0
        while True:
            try:
                async with self._open(base, path, headers, patience) as answer:
                    content = await registry_answers.read(answer, limit, self.thing)
                    return content, {name.title(): value for name, value in answer.headers.items()}
            except Transient as error:
                failures += 1
                if failures >= min(attempts, error.attempts) or patience.is_over(_now()):
                    raise self._down(base, error, failures) from error
                await self._pause(base, failures, error, patience)

    @asynccontextmanager
    async def _open(
        self, base: Base, path: str, headers: dict[str, str], patience: RetryBudget
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """A good answer to GET `path`, after whatever redirects and log-ins it takes."""
        # A mirror of several registries is told which one is meant, as containerd does it.
        query = f"?ns={self._reference.registry}" if base.mirror else ""
        url = URL(f"{base.address}/{self._reference.repository}/{path}{query}", encoded=True)
        asked: set[Host] = set()
        for _ in range(REDIRECTS + 2):
            host = self._host(base, url)
            sent = {**headers, "Authorization": host.authorization} if host.authorization else headers
            self._listener.asks(str(host))
            async with self._answer(base, host, url, sent, patience.connecting(_now())) as answer:
                if answer.status in {301, 302, 303, 307, 308}:
                    url = self._redirected(base, answer)
                    continue
                if answer.status == 401 and host not in asked:
                    asked.add(host)
                    host.authorization = await self._logins.log_in(host, answer, patience.connecting(_now()))
                    continue
                if answer.status in {401, 403}:
                    cause = f"{host} refused with {answer.status}{await registry_answers.words(answer)}"
                    raise self._logins.denied(host, cause, known=answer.status == 403)
                missing = (
                    "no such image" if path.startswith("manifests/") else f"the manifest but not the content {path[6:]}"
                )
                await registry_answers.judge(answer, str(host), self.thing, missing)
                yield answer
                return
        raise Fault(Kind.BROKEN, self.thing, f"{base.host} redirects without end")

    @asynccontextmanager
    async def _answer(
        self, base: Base, host: Host, url: URL, headers: dict[str, str], connecting: float
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Whatever `host` answers to GET `url`."""
        tls, proxy = self._routes.to(str(url), own=host is base.host)
        within = registry_answers.limits(connecting)
        who = "it" if host is base.host else str(host)
        async with registry_answers.network_faults(self.thing, str(host), who, connecting):
            with self._reach.request(str(url), host.asked, proxy):
                answer = await self._session.get(
                    url, headers=headers, allow_redirects=False, ssl=tls, proxy=proxy, timeout=within
                )
            async with answer:
                yield answer

    def _host(self, base: Base, url: URL) -> Host:
        if url.origin() == URL(base.address).origin():
            return base.host
        if (origin := url.origin()) not in base.led_to:
            # Nothing that was made out to the registry goes to whom it redirects to.
            told = creds.for_host(base.host.credentials, url.authority, named_only=True)
            base.led_to[origin] = Host(str(origin), told, led_by=base.host)
        return base.led_to[origin]

    def _redirected(self, base: Base, answer: aiohttp.ClientResponse) -> URL:
        try:
            target = answer.url.join(URL(answer.headers.get("Location", ""), encoded=True))
            sound = bool(target.host) and target.scheme in {"http", "https"}
        except ValueError:
            target, sound = URL(""), False
        if not sound or (target.scheme == "http" and not base.host.plain):
            raise Fault(Kind.BROKEN, self.thing, f"{base.host} redirects to a place without TLS or none")
        return target

    async def _pause(self, base: Base, failures: int, error: Transient, patience: RetryBudget) -> None:
        if error.pause:
            self._listener.waits(f"registry {base.host}: {error}", error.pause)
        jitter = random.uniform(0.75, 1.25)  # noqa: S311 (no secret)
        await asyncio.sleep(patience.pause(failures, error.pause, jitter, _now()))

    def _down(self, base: Base, error: Transient, attempts: int) -> Fault:
        tried = f" (tried {attempts} times)" if attempts > 1 else ""
        cause = f"registry {base.host} does not serve: {error}{tried}"
        return Fault(Kind.UNAVAILABLE, self.thing, cause, reason=error.reason)

    def _mismatch(self, what: str, found: str, wanted: str) -> Fault:
        return Fault(
            Kind.BROKEN,
            self.thing,
            f"digest mismatch: the registry sent for the {what} {found} where {wanted} was promised",
            "pull again; if it stays, push the image again",
            reason="DigestMismatch",
        )


@asynccontextmanager
async def opened(reference: Reference, request: PullRequest, listener: PullListener) -> AsyncGenerator[RegistryClient]:
    """The repository of `reference`, reached as `request` says. Raises Fault."""
    plain = RegistrySettings(host=reference.registry)
    settings = next((each for each in request.registries if each.host == reference.registry), plain)
    routes = HttpRoutes(settings, request.registries, request.proxies)
    reach = Reach(_named(request.registries)) if request.room else ANYWHERE
    async with aiohttp.ClientSession(
        connector=reach.connector(),
        auto_decompress=False,
        read_bufsize=READ_BUFFER,
        headers={"User-Agent": "chinampa", "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield RegistryClient(
            session,
            reference,
            bases_of(settings, request.credentials),
            routes,
            listener,
            request.asked_at or None,
            reach,
        )


def _now() -> float:
    return time.monotonic()


def bases_of(settings: RegistrySettings, credentials: Credentials) -> list[Base]:
    """The mirrors in order, then the host itself."""
    bases: list[Base] = []
    for mirror in settings.mirrors:
        address = (mirror if "://" in mirror else f"https://{mirror}").rstrip("/")
        host = urlsplit(address).netloc
        allowed = creds.for_host(credentials, host, named_only=not settings.mirror_logins)
        withheld = settings.host if credentials != allowed else ""
        base = address if address.endswith("/v2") else f"{address}/v2"
        bases.append(Base(base, allowed, mirror=True, withheld=withheld))
    scheme = "http" if settings.plain_http or (is_loopback(settings.host) and not settings.has_tls) else "https"
    host = creds.DOCKER_HOST if settings.host == DEFAULT_REGISTRY else settings.host
    own = creds.for_host(credentials, settings.host, named_only=False)
    bases.append(Base(f"{scheme}://{host}/v2", own, mirror=False))
    return bases


def _named(registries: Sequence[RegistrySettings]) -> frozenset[str]:
    """Every address that the settings name."""
    bases = (base for each in registries for base in bases_of(each, Credentials()))
    return frozenset(place(base.address) for base in bases)


def is_loopback(host: str) -> bool:
    """Whether `host` (with or without a port) is this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _range(at: int) -> dict[str, str]:
    return {"Range": f"bytes={at}-"} if at else {}


def _skip(answer: aiohttp.ClientResponse, at: int) -> int:
    """How many bytes of a partial answer we have already."""
    start = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    if not (start.isascii() and start.isdigit() and len(start) <= LONGEST_NUMBER) or int(start) > at:
        raise Transient("it resumed at the wrong place")
    return at - int(start)


def _with_notes(fault: Fault, notes: list[str]) -> Fault:
    if not notes:
        return fault
    cause = f"{fault.cause} (before that, {'; '.join(notes)})"
    return Fault(fault.kind, fault.thing, cause, fault.mend, reason=fault.reason)

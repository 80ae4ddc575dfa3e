"""The client side of the OCI distribution protocol, for one repository: manifests whole, blobs as streams.

Loaded only in the pull child, since aiohttp is heavy. Mirrors are tried in order before the host itself. A broken
connection or a 5xx is retried with backoff, and a blob goes on where it stopped; the retry budget refills on progress.
Nothing here verifies a blob's digest: whoever takes the stream does.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from urllib.parse import urlsplit

import aiohttp
import msgspec
from yarl import URL

from cellagent.images import credentials as creds
from cellagent.images.manifest import ACCEPTED, MANIFEST_LIMIT, Descriptor, digest_of
from cellagent.images.messages import Credentials, RegistrySettings
from cellagent.images.reference import DEFAULT_REGISTRY, Reference, is_digest
from cellwire.faults import Fault, Kind

ATTEMPTS = 5
# Once a mirror has said that it lacks an image: a registry behind the mirrors is often out of reach altogether.
ATTEMPTS_AFTER_AN_ANSWER = 2
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
# Name, connection and TLS. A person is told within 5 s of what cannot be had; their pod is tried again after that.
CONNECT_SECONDS = 4.0
# Of an address to which no connection comes about at all within that time.
ATTEMPTS_IN_SILENCE = 1
SILENCE_SECONDS = 30.0
REDIRECTS = 5
TOKEN_LIMIT = 1 << 20
READ_BUFFER = 1 << 20
_DOWN = "check that the registry runs and that this cell can reach it"


class Transient(Exception):
    """A failure that may pass by itself. `pause` is how long the registry asked us to wait, if it did; `attempts` how
    often in a row this kind is tried.
    """

    def __init__(self, cause: str, pause: float = 0.0, *, attempts: int = ATTEMPTS) -> None:
        super().__init__(cause)
        self.pause = pause
        self.attempts = attempts


class _Base:
    """One address that serves the repository, with what is needed to be let in there."""

    def __init__(self, address: str, credentials: Credentials, *, mirror: bool) -> None:
        self.address = address
        self.credentials = credentials
        self.mirror = mirror
        self.plain = address.startswith("http://")
        self.host = urlsplit(address).netloc
        self.authorization = f"Bearer {credentials.registry_token}" if credentials.registry_token else ""


class _Token(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""


class Registry:
    """One repository, at its host and the host's mirrors."""

    def __init__(self, session: aiohttp.ClientSession, reference: Reference, bases: Sequence[_Base]) -> None:
        self._session = session
        self._reference = reference
        self._bases = list(bases)
        self.thing = f"image {reference}"

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
        notes: list[str] = []
        while at < descriptor.size or not at:
            try:
                async with aiohttp_faults(), self._open(bases[0], f"blobs/{descriptor.digest}", _range(at)) as answer:
                    skip = at if answer.status == 200 else _skip(answer, at)
                    async for chunk in answer.content.iter_any():
                        fresh = chunk[skip:] if skip else chunk
                        skip -= len(chunk) - len(fresh)
                        at += len(fresh)
                        if at > descriptor.size:
                            raise self._mismatch(f"layer {descriptor.digest}", "more bytes", f"{descriptor.size} bytes")
                        failures = 0
                        if fresh:
                            yield fresh
                if at < descriptor.size:
                    raise Transient(f"the registry ended the answer after {at} of {descriptor.size} bytes")
                return
            except Transient as error:
                failures += 1
                if failures < error.attempts:
                    await _pause(failures, error.pause)
                    continue
                fault = self._down(bases[0], error, failures)
            except Fault as refused:
                fault = refused
            if len(bases) == 1 or fault.kind is Kind.BROKEN:
                raise _with_notes(fault, notes)
            notes.append(f"{bases.pop(0).host}: {fault.cause}")
            failures = 0

    async def _whole(self, path: str, headers: dict[str, str], limit: int) -> tuple[bytes, dict[str, str]]:
        notes: list[str] = []
        attempts = ATTEMPTS
        for base in list(self._bases):
            try:
                content, answer = await self._persist(base, path, headers, limit, attempts)
            except Fault as fault:
                if base is self._bases[-1] or fault.kind is Kind.BROKEN:
                    raise _with_notes(fault, notes) from fault.__cause__
                notes.append(f"{base.host}: {fault.cause}")
                if fault.kind is Kind.NOT_FOUND:
                    attempts = ATTEMPTS_AFTER_AN_ANSWER
            else:
                # What follows is likely where this was.
                self._bases.sort(key=lambda b: b is not base and b.mirror)
                return content, answer
        raise AssertionError("a repository has at least one address")

    async def _persist(
        self, base: _Base, path: str, headers: dict[str, str], limit: int, attempts: int
    ) -> tuple[bytes, dict[str, str]]:
        failures = 0
        while True:
            try:
                async with aiohttp_faults(), self._open(base, path, headers) as answer:
                    content = await _read(answer, limit, self.thing)
                    return content, {name.title(): value for name, value in answer.headers.items()}
            except Transient as error:
                failures += 1
                if failures >= min(attempts, error.attempts):
                    raise self._down(base, error, failures) from error
                await _pause(failures, error.pause)

    @asynccontextmanager
    async def _open(self, base: _Base, path: str, headers: dict[str, str]) -> AsyncGenerator[aiohttp.ClientResponse]:
        """A good answer to GET `path`, after whatever redirects and log-in it takes."""
        # A mirror of several registries is told which one is meant, as containerd does it.
        query = f"?ns={self._reference.registry}" if base.mirror else ""
        url = URL(f"{base.address}/{self._reference.repository}/{path}{query}", encoded=True)
        logged_in = False
        for _ in range(REDIRECTS + 2):
            own = url.origin() == URL(base.address).origin()
            sent = {**headers, "Authorization": base.authorization} if own and base.authorization else headers
            async with self._session.get(url, headers=sent, allow_redirects=False) as answer:
                if answer.status in {301, 302, 303, 307, 308}:
                    url = self._redirected(base, answer)
                    continue
                if answer.status == 401 and own and not logged_in:
                    logged_in = True
                    base.authorization = await self._log_in(base, answer)
                    continue
                await self._judge(base, path, answer)
                yield answer
                return
        raise Fault(Kind.BROKEN, self.thing, f"{base.host} redirects without end", "tell the registry's owner")

    def _redirected(self, base: _Base, answer: aiohttp.ClientResponse) -> URL:
        try:
            target = answer.url.join(URL(answer.headers.get("Location", ""), encoded=True))
        except ValueError:
            target = URL("")
        if target.scheme not in {"http", "https"} or (target.scheme == "http" and not base.plain):
            raise Fault(
                Kind.BROKEN, self.thing, f"{base.host} redirects to a place without TLS or none", "tell its owner"
            )
        return target

    async def _judge(self, base: _Base, path: str, answer: aiohttp.ClientResponse) -> None:
        """Nothing for a good answer; else Transient or the Fault that tells what it means."""
        status = answer.status
        if status in {200, 206}:
            return
        if status >= 500 or status in {408, 416, 429}:
            word = "too many requests (429)" if status == 429 else f"error {status}"
            raise Transient(f"it answered {word}", _seconds(answer.headers.get("Retry-After", "")))
        said = await _words(answer)
        if status in {401, 403}:
            raise self._denied(base, f"{base.host} refused with {status}{said}")
        if status == 404:
            what = "no such image" if path.startswith("manifests/") else f"the manifest but not the content {path[6:]}"
            raise Fault(
                Kind.NOT_FOUND, self.thing, f"{base.host} has {what}", "check the name and tag", reason="NotFound"
            )
        raise Fault(Kind.BROKEN, self.thing, f"{base.host} answered {status}{said}", "tell the registry's owner")

    async def _log_in(self, base: _Base, answer: aiohttp.ClientResponse) -> str:
        """The Authorization header that `answer` asks for. Raises Fault DENIED where we have nothing to show."""
        basic = creds.basic_of(base.credentials, self.thing)
        asked = [creds.challenge_of(header) for header in answer.headers.getall("WWW-Authenticate", [])]
        for challenge in asked:
            if challenge.scheme == "bearer" and not base.credentials.registry_token:
                return "Bearer " + await self._token(base, challenge, basic)
            if challenge.scheme == "basic" and basic:
                return basic.header
        if any(challenge.scheme == "basic" for challenge in asked) and not base.credentials.registry_token:
            raise self._denied(base, f"{base.host} wants a user and a password, and none were given")
        raise self._denied(base, f"{base.host} refused the credentials")

    async def _token(self, base: _Base, challenge: creds.Challenge, basic: creds.Basic | None) -> str:
        if not creds.may_send_to(challenge.realm, registry_is_plain=base.plain):
            raise self._denied(base, f"{base.host} wants a token fetched without TLS or nowhere")
        scope = challenge.scope or f"repository:{self._reference.repository}:pull"
        asked = {"service": challenge.service, "scope": scope}
        if identity := base.credentials.identity_token:
            form = {**asked, "grant_type": "refresh_token", "client_id": "chinampa", "refresh_token": identity}
            request = self._session.post(challenge.realm, data=form, allow_redirects=False)
        else:
            headers = {"Authorization": basic.header} if basic else {}
            request = self._session.get(challenge.realm, params=asked, headers=headers, allow_redirects=False)
        async with request as answer:
            if answer.status >= 500 or answer.status == 429:
                raise Transient(f"its token server answered {answer.status}")
            if answer.status != 200:
                raise self._denied(base, f"{base.host}'s token server refused with {answer.status}")
            body = await _read(answer, TOKEN_LIMIT, self.thing)
        try:
            said = msgspec.json.decode(body, type=_Token)
        except (msgspec.DecodeError, ValueError) as error:
            raise Transient("its token server's answer cannot be read") from error
        if not (token := said.token or said.access_token) or not token.isprintable():
            raise self._denied(base, f"{base.host}'s token server gave no token")
        return token

    def _denied(self, base: _Base, cause: str) -> Fault:
        given = base.credentials != Credentials()
        mend = "correct the pod's imagePullSecret" if given else "check the name, or give the pod an imagePullSecret"
        return Fault(Kind.DENIED, self.thing, cause, mend, reason="Unauthorized")

    def _down(self, base: _Base, error: Transient, attempts: int) -> Fault:
        return Fault(
            Kind.UNAVAILABLE,
            self.thing,
            f"registry {base.host} does not serve: {error}" + (f" (tried {attempts} times)" if attempts > 1 else ""),
            _DOWN,
            reason="RegistryUnavailable",
        )

    def _mismatch(self, what: str, found: str, wanted: str) -> Fault:
        return Fault(
            Kind.BROKEN,
            self.thing,
            f"digest mismatch: the registry sent for the {what} {found} where {wanted} was promised",
            "pull again; if it stays, push the image again",
            reason="DigestMismatch",
        )


@asynccontextmanager
async def opened(
    reference: Reference, registries: Sequence[RegistrySettings], credentials: Credentials
) -> AsyncGenerator[Registry]:
    """The repository of `reference`, reached as `registries` say."""
    settings = next((r for r in registries if r.host == reference.registry), RegistrySettings(host=reference.registry))
    timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
    async with aiohttp.ClientSession(
        timeout=timeout,
        auto_decompress=False,
        read_bufsize=READ_BUFFER,
        headers={"User-Agent": "chinampa", "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield Registry(session, reference, bases_of(settings, credentials))


def bases_of(settings: RegistrySettings, credentials: Credentials) -> list[_Base]:
    """The mirrors in order, then the host itself."""
    bases: list[_Base] = []
    for mirror in settings.mirrors:
        address = (mirror if "://" in mirror else f"https://{mirror}").rstrip("/")
        host = urlsplit(address).netloc
        allowed = creds.for_host(credentials, host, mirror=True)
        bases.append(_Base(address if address.endswith("/v2") else f"{address}/v2", allowed, mirror=True))
    scheme = "http" if settings.plain_http or is_loopback(settings.host) else "https"
    host = creds.DOCKER_HOST if settings.host == DEFAULT_REGISTRY else settings.host
    own = creds.for_host(credentials, settings.host, mirror=False)
    bases.append(_Base(f"{scheme}://{host}/v2", own, mirror=False))
    return bases


def is_loopback(host: str) -> bool:
    """Whether `host` (with or without a port) is this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


@asynccontextmanager
async def aiohttp_faults() -> AsyncGenerator[None]:
    """Whatever the network does to us, as Transient."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise Transient(f"its certificate is not trusted ({error.verify_message})") from error
    except (aiohttp.ClientSSLError, ssl.SSLError) as error:
        raise Transient("it does not speak TLS properly (for plain http, say so in the settings)") from error
    except aiohttp.ClientConnectorError as error:
        raise Transient(f"it cannot be reached ({error.strerror or error})") from error
    except aiohttp.ConnectionTimeoutError as error:
        cause = f"it cannot be reached (no connection within {CONNECT_SECONDS:g} s)"
        raise Transient(cause, attempts=ATTEMPTS_IN_SILENCE) from error
    except (aiohttp.ServerTimeoutError, TimeoutError) as error:
        raise Transient("it was silent for too long") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Transient(f"the connection broke ({type(error).__name__})") from error


def _range(at: int) -> dict[str, str]:
    return {"Range": f"bytes={at}-"} if at else {}


def _skip(answer: aiohttp.ClientResponse, at: int) -> int:
    """How many bytes of a partial answer we have already."""
    start = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    if not start.isdigit() or int(start) > at:
        raise Transient("it resumed at the wrong place")
    return at - int(start)


async def _read(answer: aiohttp.ClientResponse, limit: int, thing: str) -> bytes:
    content = bytearray()
    async for chunk in answer.content.iter_any():
        content += chunk
        if len(content) > limit:
            raise Fault(Kind.BROKEN, thing, f"the registry's answer is larger than {limit} bytes", "tell its owner")
    return bytes(content)


async def _words(answer: aiohttp.ClientResponse) -> str:
    """The registry's own words in an error's body, made safe to show."""
    body = (await answer.content.read(2000)).decode("utf-8", "replace")
    text = " ".join("".join(c if c.isprintable() else " " for c in body).split())[:200]
    return f" ({text})" if text else ""


def _seconds(text: str) -> float:
    return min(float(text), LONGEST_PAUSE * 4) if text.isdigit() else 0.0


async def _pause(failures: int, asked: float) -> None:
    backoff = min(FIRST_PAUSE * 2 ** (failures - 1), LONGEST_PAUSE)
    await asyncio.sleep(max(asked, backoff * random.uniform(0.75, 1.25)))  # noqa: S311 (jitter, no secret)


def _with_notes(fault: Fault, notes: list[str]) -> Fault:
    if not notes:
        return fault
    cause = f"{fault.cause} (before that, {'; '.join(notes)})"
    return Fault(fault.kind, fault.thing, cause, fault.mend, reason=fault.reason)

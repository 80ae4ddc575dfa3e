"""Being let in: each host on the way to an image has a challenge of its own, and gets what was made out to it only."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from cellagent.images import credentials as creds
from cellagent.images import registry_answers
from cellagent.images.messages import Credentials
from cellagent.images.registry_answers import Transient
from cellagent.images.routes import HttpRoutes
from cellwire import strangers_json
from cellwire.faults import Fault, Kind
from cellwire.reachable import Reach

TOKEN_LIMIT = 1 << 20


class Host:
    """One host on the way, with what is needed to be let in there. `led_by` is who redirects to it, `withheld`
    the registry whose credentials it is not shown.
    """

    def __init__(
        self,
        address: str,
        credentials: Credentials,
        *,
        mirror: bool = False,
        led_by: Host | None = None,
        withheld: str = "",
    ) -> None:
        self.name = urlsplit(address).netloc
        self.asked: str = led_by.asked if led_by else urlsplit(address).hostname or ""
        self.plain = address.startswith("http://")
        self.credentials = credentials
        self.mirror = mirror
        self.withheld = withheld
        self.led_by = led_by
        self.authorization = f"Bearer {credentials.registry_token}" if credentials.registry_token else ""

    def __str__(self) -> str:
        return f"{self.name} (to which {self.led_by.name} redirects)" if self.led_by else self.name


class _Token(msgspec.Struct, frozen=True):
    token: str | None = None
    access_token: str | None = None


class RegistryLogins:
    """Answers challenges. `thing` is what is pulled, `scope` what is asked for where a challenge does not say."""

    def __init__(
        self, session: aiohttp.ClientSession, thing: str, scope: str, routes: HttpRoutes, reach: Reach
    ) -> None:
        self._session = session
        self._reach = reach
        self._thing = thing
        self._scope = scope
        self._routes = routes

    async def log_in(self, host: Host, answer: aiohttp.ClientResponse, connecting: float) -> str:
        """The Authorization header that a 401 of `host` asks for; whom it sends us to is reached within `connecting`
        seconds. Raises Fault DENIED where we have nothing to show.
        """
        basic = creds.basic_of(host.credentials, self._thing)
        headers = answer.headers.getall("WWW-Authenticate", [])
        asked = [challenge for header in headers for challenge in creds.challenges_of(header)]
        for challenge in asked:
            if challenge.scheme == "bearer" and challenge.realm and not host.credentials.registry_token:
                return "Bearer " + await self._token(host, challenge, basic, connecting)
            if challenge.scheme == "basic" and basic:
                return basic.header
        said = await registry_answers.words(answer)
        if any(challenge.scheme == "basic" for challenge in asked) and not host.credentials.registry_token:
            raise self.denied(host, f"{host} wants a user and a password, and none were given{said}")
        raise self.denied(host, f"{host} refused with 401{said}")

    async def _token(self, host: Host, challenge: creds.Challenge, basic: creds.Basic | None, connecting: float) -> str:
        if not creds.may_send_to(challenge.realm, registry_is_plain=host.plain):
            raise self.denied(host, f"{host} wants a token fetched without TLS or nowhere", known=True)
        scope = challenge.scope or self._scope
        asked = {"service": challenge.service, "scope": scope}
        way = self._routes.to(challenge.realm, own=False)
        sent: dict[str, Any] = {
            "allow_redirects": False,
            "ssl": way.tls,
            "proxy": way.proxy,
            "timeout": registry_answers.limits(connecting),
        }
        where = f"its token server {urlsplit(challenge.realm).netloc}"
        async with (
            registry_answers.network_faults(self._thing, where, where, connecting),
            AsyncExitStack() as held,
        ):
            with self._reach.request(challenge.realm, host.asked, way.proxy):
                if identity := host.credentials.identity_token:
                    form = {**asked, "grant_type": "refresh_token", "client_id": "chinampa", "refresh_token": identity}
                    request = self._session.post(challenge.realm, data=form, **sent)
                else:
                    headers = {"Authorization": basic.header} if basic else {}
                    request = self._session.get(challenge.realm, params=asked, headers=headers, **sent)
                answer = await held.enter_async_context(request)
            if answer.status == 429 or answer.status >= 500:
                await registry_answers.judge(answer, where, self._thing, "no token")
            if answer.status != 200:
                said = await registry_answers.words(answer)
                raise self.denied(host, f"{host}: {where} refused with {answer.status}{said}")
            body = await registry_answers.read(answer, TOKEN_LIMIT, self._thing)
        try:
            said = strangers_json.decode(body, _Token)
        except msgspec.DecodeError as error:
            raise Transient(f"what {where} answered cannot be read") from error
        if not (token := said.token or said.access_token) or not token.isprintable():
            raise self.denied(host, f"{host}: {where} gave no token", known=True)
        return token

    def denied(self, host: Host, cause: str, *, known: bool = False) -> Fault:
        """The fault of a refusal. Only what the registry itself refuses can be mended by credentials for it."""
        mend = ""
        if host.withheld:
            cause += f" (mirrors of {host.withheld} are shown pods' logins only where its mirror_logins is set)"
        if not (known or host.led_by or host.mirror):
            given = host.credentials != Credentials()
            mend = (
                "correct the pod's imagePullSecret" if given else "check the name, or give the pod an imagePullSecret"
            )
        return Fault(Kind.DENIED, self._thing, cause, mend, reason="Unauthorized")

"""Logs pulls in to Amazon ECR, with tokens that are fetched once per region and kept until shortly before they expire.

A token opens every registry of its region that the controller's role may read, in any account. Public images
(public.ecr.aws) need none.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, cast

import msgspec

from cellwire.faults import Fault, Kind
from controller.clouds.ec2.calls import Door, known_regions
from controller.clouds.protocol import Login
from hostkit.tasks import KeyedLocks

# A pull that begins with the token must end before it expires.
MARGIN_SECONDS = 1800.0
# That of each token, whatever our clock says.
LIFE_SECONDS = 12 * 3600.0
# Endings of all partitions. The second kind of hosts is that of the endpoints for IPv4 and IPv6.
_ENDS = r"(?:amazonaws\.com(?:\.cn)?|amazonaws\.eu|c2s\.ic\.gov|sc2s\.sgov\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)"
_BOTH_ENDS = r"on\.(?:aws|amazonwebservices\.com\.cn|amazonwebservices\.eu)"
_HOSTS = (
    re.compile(rf"\d{{12}}\.dkr\.ecr(?:-fips)?\.([a-z0-9-]{{1,40}})\.{_ENDS}", re.ASCII),
    re.compile(rf"\d{{12}}\.dkr-ecr(?:-fips)?\.([a-z0-9-]{{1,40}})\.{_BOTH_ENDS}", re.ASCII),
)


class _CachedToken(msgspec.Struct, frozen=True):
    """A token that is good until both moments: `until` by a clock that nobody sets, `expires` in unix seconds, for the
    other stands still while the machine sleeps.
    """

    login: Login
    until: float
    expires: float


def region_of(image: str) -> str:
    """The region whose ECR an image reference names, or ""."""
    host, slash, _ = image.partition("/")
    found = next((match for pattern in _HOSTS if (match := pattern.fullmatch(host))), None)
    return found[1] if slash and found else ""


class EcrLogins:
    """See the module. `home` is the region that is asked though the SDK may not know it; `clock` gives unix seconds,
    `steady` those of a clock that nobody sets.
    """

    def __init__(
        self,
        calls: Door,
        clock: Callable[[], float] = time.time,
        home: str = "",
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calls = calls
        self._home = home
        self._clock = clock
        self._steady = steady
        self._kept: dict[str, _CachedToken] = {}
        self._turns = KeyedLocks[str]()

    async def login(self, image: str) -> Login | None:
        """For a pull of this image; None where it is in no registry of ECR. Raises Fault."""
        region = region_of(image)
        # Whoever makes pods may write anything: an invented region would cost a client of its own, and its retries.
        if not region or (region != self._home and region not in await asyncio.to_thread(known_regions)):
            return None
        async with self._turns[region]:
            kept = self._kept.get(region)
            if kept is None or kept.until <= self._steady() or kept.expires - MARGIN_SECONDS <= self._clock():
                answer = await self._calls.call(f"ecr@{region}", "GetAuthorizationToken")
                login, expires = _read(answer)
                left = min(expires - self._clock(), LIFE_SECONDS) - MARGIN_SECONDS
                kept = _CachedToken(login, self._steady() + left, expires)
                # One that has expired already, by our clock, is good for this pull at best.
                self._kept[region] = kept
            return kept.login


def _read(answer: Mapping[str, Any]) -> tuple[Login, float]:
    """The token, and when it expires: unix seconds, 0 where that is not told."""
    thing = "ecr GetAuthorizationToken"
    told = cast("list[Mapping[str, Any]]", answer.get("authorizationData") or [])
    try:
        username, colon, password = base64.b64decode(str(told[0]["authorizationToken"])).decode().partition(":")
    except (IndexError, KeyError, binascii.Error, UnicodeDecodeError) as error:
        raise Fault(Kind.BROKEN, thing, "the answer holds no token that can be read", "it is asked again") from error
    if not colon:
        raise Fault(Kind.BROKEN, thing, "the token is not user:password", "it is asked again")
    expires = told[0].get("expiresAt")
    until = expires.timestamp() if isinstance(expires, datetime) else 0.0
    return Login(username=username, password=password), until

"""Grants: what the bearer of a token may, in which namespace and until when. Of a token only its digest is kept."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable

import msgspec
from msgspec import msgpack

from cellwire.faults import Fault, Kind
from controller.api.people import ROLES, Who
from controller.objects.fields import Report, dns_label
from controller.store.record_store import Store

KIND = "grant"
PREFIX = "chinampa."


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A right: a role in a namespace ("": in all), until a unix second (0: for ever)."""

    name: str
    role: str
    namespace: str = ""
    expires_at: float = 0.0
    created_at: float = 0.0
    digest: bytes = b""


class Grants:
    """All grants."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._grants: dict[str, Grant] = {}
        self.revoked = asyncio.Event()
        """Set when one was revoked; whoever has ended what its bearer does clears it."""

    async def load(self) -> None:
        """Take up what an earlier life wrote."""
        for stored in await self._store.list(KIND):
            self._grants[stored.key] = msgpack.decode(stored.value, type=Grant)

    def list(self) -> list[Grant]:
        """All grants by name, those too that are over."""
        return [self._grants[name] for name in sorted(self._grants)]

    async def create(self, name: str, role: str, namespace: str, seconds: float) -> tuple[Grant, str]:
        """A new grant and its token, which nobody can be told again. Raises Fault INVALID and EXISTS."""
        name = name or f"{namespace or 'all'}-{role}-{secrets.token_hex(3)}"
        _check(name, role)
        if name in self._grants:
            raise Fault(Kind.EXISTS, f"token {name}", "there is one of this name", "revoke it, or choose another name")
        secret, now = secrets.token_urlsafe(32), self._now()
        grant = Grant(
            name=name,
            role=role,
            namespace=namespace,
            expires_at=now + seconds if seconds else 0.0,
            created_at=now,
            digest=_digest(secret),
        )
        await self._store.put(KIND, name, msgpack.encode(grant), expected=0)
        self._grants[name] = grant
        return grant, f"{PREFIX}{name}.{secret}"

    async def revoke(self, name: str) -> Grant:
        """End a grant, and with it whatever its bearer is doing. Raises Fault NOT_FOUND."""
        grant = self._grants.get(name)
        if grant is None:
            raise Fault(Kind.NOT_FOUND, f"token {name}", "there is none of this name", "see chinampa token list")
        # Only then forgotten: what the store still has would hold again after a restart, and nobody could revoke it.
        await self._store.delete(KIND, name)
        self._grants.pop(name, None)
        self.revoked.set()
        return grant

    def holder(self, token: str) -> Who | None:
        """Whose token it is; None for one that is none of these, is revoked, or is over."""
        name, _, secret = token.removeprefix(PREFIX).partition(".")
        grant = self._grants.get(name) if token.startswith(PREFIX) else None
        if grant is None or not hmac.compare_digest(grant.digest, _digest(secret)):
            return None
        if grant.expires_at and grant.expires_at <= self._now():
            return None
        groups = (f"chinampa:{grant.role}", "system:authenticated")
        return Who(name=f"token:{name}", groups=groups, role=grant.role, namespace=grant.namespace, grant=name)


def _check(name: str, role: str) -> None:
    report = Report()
    dns_label(name, "name", report)
    if report.causes:
        raise Fault(Kind.INVALID, f"token {name!r}", report.causes[0].message)
    if role not in ROLES:
        raise Fault(Kind.INVALID, f"role {role!r}", "there is no such role", f"it is one of {', '.join(ROLES)}")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="replace")).digest()

"""Tokens for the command line: made, listed and revoked over the admin socket, by whoever may open that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from cellwire import strangers_json
from cellwire.faults import Fault
from controller.api.admin_kubeconfig import document
from controller.api.audit import Audit
from controller.api.grants import Grant, Grants
from controller.api.statuses import CODES
from controller.objects.admission import How
from controller.objects.fields import Json, bad_request
from controller.objects.kinds import NAMESPACES, QUOTAS
from controller.objects.library import Library
from controller.objects.quota_rules import USD_PER_HOUR
from controller.objects.stored import Ending

ADMIN_SOCKET = "admin socket"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class NewToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token that is asked for; bounds of 0 are none."""

    role: str
    name: str = ""
    namespace: str = ""
    seconds: Annotated[float, Meta(ge=0)] = 0.0
    most_usd_hour: Annotated[float, Meta(ge=0)] = 0.0
    most_cells: Annotated[int, Meta(ge=0)] = 0
    most_gpus: Annotated[int, Meta(ge=0)] = 0

    @property
    def hard(self) -> dict[str, str]:
        """The bounds as those of a ResourceQuota."""
        bounds = {
            USD_PER_HOUR: f"{self.most_usd_hour:g}" if self.most_usd_hour else "",
            "pods": str(self.most_cells or ""),
            "requests.nvidia.com/gpu": str(self.most_gpus or ""),
        }
        return {name: amount for name, amount in bounds.items() if amount}


class Desk:
    """Makes and revokes tokens with what belongs to them: their namespace, and the quota that bounds it."""

    def __init__(self, grants: Grants, library: Library, audit: Audit, cluster: Json) -> None:
        self._grants = grants
        self._library = library
        self._audit = audit
        self._cluster = cluster

    def routes(self) -> Sequence[web.RouteDef]:
        """For the admin socket."""
        return (
            web.get("/tokens", told(self._list)),
            web.post("/tokens", told(self._create)),
            web.delete("/tokens/{name}", told(self._revoke)),
        )

    async def _list(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response([_shown(one) for one in self._grants.list()])

    async def _create(self, request: web.Request) -> web.StreamResponse:
        try:
            wanted = strangers_json.decode(await request.read(), NewToken)
        except msgspec.DecodeError as error:
            raise bad_request(f"the request for a token: {error}") from error
        if wanted.hard and not wanted.namespace:
            raise bad_request("bounds are those of a namespace: name it with --namespace")
        if wanted.namespace:
            await self._furnish(wanted.namespace)
        grant, token = await self._grants.create(wanted.name, wanted.role, wanted.namespace, wanted.seconds)
        if wanted.hard:
            quota = {"metadata": {"name": _quota(grant.name)}, "spec": {"hard": wanted.hard}}
            await self._library.create(QUOTAS, wanted.namespace, quota, How(manager="chinampa-token"))
        self._audit.note(ADMIN_SOCKET, "create", "tokens", grant.name, wanted.namespace, 201)
        kubeconfig = document(self._cluster, token, wanted.namespace or "default")
        return web.json_response({**_shown(grant), "token": token, "kubeconfig": kubeconfig})

    async def _furnish(self, namespace: str) -> None:
        if self._library.objects(NAMESPACES.key).get("", namespace) is None:
            await self._library.create(NAMESPACES, "", {"metadata": {"name": namespace}}, How(manager="chinampa-token"))

    async def _revoke(self, request: web.Request) -> web.StreamResponse:
        grant = await self._grants.revoke(request.match_info["name"])
        name = _quota(grant.name)
        if grant.namespace and self._library.objects(QUOTAS.key).get(grant.namespace, name) is not None:
            await self._library.delete(QUOTAS, grant.namespace, name, Ending(), How(manager="chinampa-token"))
        self._audit.note(ADMIN_SOCKET, "delete", "tokens", grant.name, grant.namespace, 200)
        return web.json_response(_shown(grant))


def _quota(name: str) -> str:
    return f"token-{name}"


def _shown(grant: Grant) -> dict[str, Any]:
    names = ("name", "role", "namespace", "created_at", "expires_at")
    return {name: getattr(grant, name) for name in names}


def told(handler: Handler) -> Handler:
    """Faults as an error in a sentence."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Fault as fault:
            return web.json_response({"error": str(fault)}, status=CODES[fault.kind][0])

    return handle

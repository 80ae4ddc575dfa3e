"""Authorization of clients at the API: grants, what everybody may write, and the notes of who did what."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from aiohttp import web

from cellwire.faults import Fault
from controller.api.audit import SESSIONS, Audit
from controller.api.grants import Grants
from controller.api.people import AccessRequest, Who
from controller.api.statuses import status_of


class _Named(msgspec.Struct):
    name: str = ""


class _Made(msgspec.Struct):
    metadata: _Named = msgspec.field(default_factory=_Named)


@dataclass(frozen=True, slots=True)
class Gate:
    """Grants, the audit log, the values of restricted annotations that everybody may write, and what pods have cost by
    their uids.
    """

    grants: Grants
    audit: Audit
    allowed: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    spent: Callable[[str], float] = lambda _: 0.0

    async def noted(
        self,
        request: web.Request,
        who: Who,
        asked: AccessRequest | None,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """The handler's answer, which is noted, however it ends."""
        if asked is None:
            return await handler(request)
        begun = time.monotonic()
        if asked.part in SESSIONS:
            self.audit.request(who.name, asked, 0, command=request.query.getall("command", []), peer=request.remote)
        code = 499  # the client went, or was sent away
        made = asked
        try:
            response = await handler(request)
            code, made = response.status, _named(asked, response)
        except Fault as fault:
            code = status_of(fault)["code"]
            raise
        except web.HTTPException as error:
            code = error.status
            raise
        except Exception:
            code = 500
            raise
        finally:
            more = {"seconds": round(time.monotonic() - begun, 3), "peer": request.remote}
            self.audit.request(who.name, made, code, dry_run="dryRun" in request.query or None, **more)
        return response

    def note(self, request: web.Request, who: Who, asked: AccessRequest, response: web.Response) -> None:
        """An answer that was given before anybody was asked."""
        self.audit.request(who.name, asked, response.status, peer=request.remote)


def _named(asked: AccessRequest, response: web.StreamResponse) -> AccessRequest:
    """With the name that a new object was given."""
    if asked.verb != "create" or asked.name or not isinstance(response, web.Response) or response.status != 201:
        return asked
    try:
        name = msgspec.json.decode(response.body if isinstance(response.body, bytes) else b"", type=_Made).metadata.name
    except msgspec.DecodeError:
        return asked
    return msgspec.structs.replace(asked, name=name)

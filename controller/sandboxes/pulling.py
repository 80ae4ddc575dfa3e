"""Pulls of images onto cells, each with a login that may, and what a sandbox's own pod has been allowed to pull.

A pod may have an image where its registry says so, to the pod's own credentials, at each start. What a cell has already
is asked for from here: that is one request, where the cell itself would begin a pull that fetches nothing.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec
import structlog

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.choice.architectures import locate
from controller.clouds.protocol import Login, LoginOf
from controller.sandboxes.cell_client import PULL, OneCell
from controller.sandboxes.memory import Memory
from controller.sandboxes.records import SandboxRecord

log = structlog.get_logger()
# Name and password.
Account = tuple[str, str]


@dataclass(frozen=True, slots=True)
class RegistryAccess:
    """How registries are asked: `login` gives credentials of the cloud's own, `digest` tells what a reference stands
    for now where these credentials may know it, else "". `share` hears of each pull, before and after it.
    """

    login: LoginOf | None = None
    digest: Callable[[str, Login | None], Awaitable[str]] | None = None
    share: Callable[[str, Login | None, str], None] | None = None


NOBODY = RegistryAccess()


class Pulling:
    """Pulls onto the cells of sandboxes."""

    def __init__(self, memory: Memory, access: RegistryAccess) -> None:
        self._memory = memory
        self.access = access

    async def pull(
        self, there: OneCell, sandbox: SandboxRecord, asked: cri.PullImageRequest, accounts: Sequence[Account] = ()
    ) -> str:
        """Pull onto the sandbox's cell, and note that its pod was allowed to; the image's id. Raises Fault."""
        reference = asked.image.image
        try:
            image_id = await pull(there, asked, self.access, accounts)
        except Fault as fault:
            image_id = _already_pulled(sandbox, reference, fault)
        await self.allow(sandbox.id, reference, image_id)
        return image_id

    async def allow(self, sandbox_id: str, reference: str, image_id: str) -> None:
        """The sandbox's pod may have the image: it has pulled it."""

        def allowed(record: SandboxRecord) -> SandboxRecord:
            return msgspec.structs.replace(record, pulled={**record.pulled, reference: image_id})

        await self._memory.change_sandbox(sandbox_id, allowed)


async def pull(
    there: OneCell,
    asked: cri.PullImageRequest,
    access: RegistryAccess,
    accounts: Sequence[Account] = (),
    deadline: float = PULL,
) -> str:
    """Pull with the credentials in the request; where it has none with the first of these accounts that may, else with
    those of the cloud's own registries. What CreateContainer wants of it. Raises Fault.
    """
    if asked.auth.ByteSize() or not accounts:
        return await _pull(there, await logged_in(asked, access.login), access, deadline)
    for account in accounts[:-1]:
        try:
            return await _pull(there, _by(asked, account), access, deadline)
        except Fault as fault:
            if fault.kind is not Kind.DENIED:
                raise
    return await _pull(there, _by(asked, accounts[-1]), access, deadline)


async def _pull(there: OneCell, asked: cri.PullImageRequest, access: RegistryAccess, deadline: float) -> str:
    if access.share is not None:
        access.share(asked.image.image, _login_in(asked.auth), "")
    if found := await _found(there, asked, access):
        return found
    pulled = await there.pull_image(asked, deadline)
    if access.share is not None:
        access.share(asked.image.image, _login_in(asked.auth), pulled)
    return pulled


async def _found(there: OneCell, asked: cri.PullImageRequest, access: RegistryAccess) -> str:
    """The id of an image that the cell has and its registry gives to these credentials under this name; else ""."""
    reference, login = asked.image.image, _login_in(asked.auth)
    if access.digest is None or (login is None and asked.auth.ByteSize()):
        return ""
    present = await there.image(reference)
    if present is None or not (digest := await access.digest(reference, login)):
        return ""
    place = locate(reference)
    return present.id if f"{place.host}/{place.repository}@{digest}" in present.repo_digests else ""


def _login_in(auth: cri.AuthConfig) -> Login | None:
    """Name and password of credentials; None where they are of another kind, or none."""
    if auth.identity_token or auth.registry_token:
        return None
    if auth.auth and not auth.username:
        try:
            name, _, password = base64.b64decode(auth.auth, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return Login(username=name, password=password)
    return Login(username=auth.username, password=auth.password) if auth.username else None


async def logged_in(asked: cri.PullImageRequest, login: LoginOf | None) -> cri.PullImageRequest:
    """The request with the cloud's credentials for its own registries, where it has none. Raises Fault."""
    found = await login(asked.image.image) if login is not None and not asked.auth.ByteSize() else None
    return _by(asked, (found.username, found.password)) if found is not None else asked


def _by(asked: cri.PullImageRequest, account: Account) -> cri.PullImageRequest:
    wanted = cri.PullImageRequest()
    wanted.CopyFrom(asked)
    wanted.auth.username, wanted.auth.password = account
    return wanted


def _already_pulled(sandbox: SandboxRecord, reference: str, fault: Fault) -> str:
    """A container that is started again must not wait for a registry that is down."""
    if fault.kind in {Kind.UNAVAILABLE, Kind.TIMEOUT} and reference in sandbox.pulled:
        log.warning("registry out of reach; the pod's own image is used again", image=reference, cause=str(fault))
        return sandbox.pulled[reference]
    raise fault

"""Pulls of images onto cells, each with a login that may, and what a sandbox's own pod has been allowed to pull."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import structlog

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.clouds.protocol import LoginOf
from controller.sandboxes.cell import PULL, OneCell
from controller.sandboxes.memory import Memory
from controller.sandboxes.records import SandboxRecord

log = structlog.get_logger()
# Name and password.
Account = tuple[str, str]


class Pulling:
    """Pulls onto the cells of sandboxes. `login` gives credentials of the cloud's own registries."""

    def __init__(self, memory: Memory, login: LoginOf | None) -> None:
        self._memory = memory
        self.login = login

    async def pull(
        self, there: OneCell, sandbox: SandboxRecord, asked: cri.PullImageRequest, accounts: Sequence[Account] = ()
    ) -> str:
        """Pull onto the sandbox's cell, and note that its pod was allowed to; the image's id. Raises Fault."""
        reference = asked.image.image
        try:
            image_id = await pull(there, asked, self.login, accounts)
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
    login: LoginOf | None,
    accounts: Sequence[Account] = (),
    deadline: float = PULL,
) -> str:
    """Pull with the credentials in the request; where it has none with the first of these accounts that may, else with
    those of the cloud's own registries. What CreateContainer wants of it. Raises Fault.
    """
    if asked.auth.ByteSize() or not accounts:
        return await there.pull_image(await logged_in(asked, login), deadline)
    for account in accounts[:-1]:
        try:
            return await there.pull_image(_by(asked, account), deadline)
        except Fault as fault:
            if fault.kind is not Kind.DENIED:
                raise
    return await there.pull_image(_by(asked, accounts[-1]), deadline)


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

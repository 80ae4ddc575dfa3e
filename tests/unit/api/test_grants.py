"""What the bearers of tokens may, as it is kept."""

from __future__ import annotations

import pytest

from cellwire.faults import Fault, Kind
from controller.api.grants import Grants
from tests.support.memory_store import MemoryStore


class Failing(MemoryStore):
    """A store that cannot delete for now."""

    fails = True

    async def delete(self, kind: str, key: str) -> None:
        if self.fails:
            raise Fault(Kind.UNAVAILABLE, "store", "it is away")
        await super().delete(kind, key)


async def test_a_revocation_that_the_store_did_not_take_can_be_repeated() -> None:
    store = Failing()
    grants = Grants(store, lambda: 0.0)
    _, token = await grants.create("bob", "edit", "ci", 0)
    with pytest.raises(Fault, match="away"):
        await grants.revoke("bob")
    store.fails = False
    await grants.revoke("bob")
    assert grants.holder(token) is None
    after = Grants(store, lambda: 0.0)
    await after.load()
    assert after.holder(token) is None

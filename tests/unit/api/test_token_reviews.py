"""What a TokenReview says: as the API itself would take a token, and for whom it was made."""

from __future__ import annotations

import time

from controller.api.authorizing import stands_for, token_status
from controller.objects import library
from controller.objects.admission import How
from controller.objects.kinds import SERVICE_ACCOUNTS, STORED
from controller.objects.sealing import Sealing
from controller.objects.stored import Ending
from controller.objects.tokens import AUDIENCE, Bearer
from controller.pods.kind import PODS
from tests.support.memory_store import MemoryStore


async def test_a_token_stands_while_its_account_is_there_and_for_its_pod_only() -> None:
    async with library.running(MemoryStore(), Sealing(bytes(32)), (*STORED, PODS), time.time) as found:
        account = await found.create(SERVICE_ACCOUNTS, "default", {"metadata": {"name": "bot"}}, How())
        bearer = Bearer("default", "bot", account["metadata"]["uid"])
        assert stands_for(bearer, found)
        assert not stands_for(Bearer("default", "bot", account["metadata"]["uid"], "gone", "u"), found)
        await found.delete(SERVICE_ACCOUNTS, "default", "bot", Ending(), How())
        assert not stands_for(bearer, found)


def test_a_token_for_one_audience_is_none_for_another() -> None:
    bearer = Bearer("default", "bot", "u", audience="vault")
    assert not token_status(bearer, [AUDIENCE])["authenticated"]
    assert token_status(bearer, ["vault", "other"])["audiences"] == ["vault"]
    assert not token_status(None, [AUDIENCE])["authenticated"]

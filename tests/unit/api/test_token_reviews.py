"""What a TokenReview says: as the API itself would take a token, and for whom it was made."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cellwire.faults import Fault, Kind
from controller.api import authorizing
from controller.api.all_kinds import ACCESS_REVIEWS, OTHERS_REVIEWS, TOKEN_REVIEWS
from controller.api.authorizing import stands_for, token_status
from controller.objects import library
from controller.objects.admission import How
from controller.objects.kinds import SERVICE_ACCOUNTS, STORED
from controller.objects.resource import Resource
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


@pytest.mark.parametrize(
    ("review", "kind"),
    [
        ({"spec": {"resourceAttributes": []}}, ACCESS_REVIEWS),
        ({"spec": 5}, ACCESS_REVIEWS),
        ({"spec": {"nonResourceAttributes": {"path": 1}}}, OTHERS_REVIEWS),
        ({"spec": {"token": "a.b.c", "audiences": [1]}}, TOKEN_REVIEWS),
    ],
)
def test_a_review_of_other_types_is_refused_in_words(review: dict[str, Any], kind: Resource) -> None:
    with pytest.raises(Fault, match=kind.kind) as refused:
        authorizing._spec(review, kind)
    assert refused.value.kind is Kind.INVALID


def test_what_is_null_in_a_review_is_absent() -> None:
    asked = authorizing._spec({"spec": {"resourceAttributes": {"verb": None, "resource": "pods"}}}, ACCESS_REVIEWS)
    assert asked["resourceAttributes"]["verb"] == ""

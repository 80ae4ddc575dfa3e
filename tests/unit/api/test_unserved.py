"""Kinds that are refused in a sentence: each of them once, and none that is served."""

from __future__ import annotations

from collections import Counter

from aiohttp import web

from controller.api import routing, unserved


def test_no_kind_is_refused_twice_or_served_as_well() -> None:
    refused = Counter((one.group, one.name) for one in unserved.KINDS)
    assert [key for key, count in refused.items() if count > 1] == []
    assert {(one.group, one.name) for one in routing.KEPT} & set(refused) == set()


def test_all_refusals_find_their_places() -> None:
    routing.refusals(web.Application().router)

"""What the socket in the state folder tells the command line."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

import aiohttp
import msgspec

from controller.api import admin
from controller.api.admin import OfferSheet
from controller.api.prometheus import Metrics
from controller.choice.unavailable import Unavailable, marked
from controller.model.offer import LaunchType
from tests.support.fake_cloud import FakeCloud


class Fleet:
    def unavailable(self) -> Unavailable:
        known = marked(Unavailable(), ("small", "a", LaunchType.SPOT), 0.0)
        return marked(known, ("medium", "a", LaunchType.SPOT), time.time())


async def test_all_that_can_be_bought_is_told_with_what_was_refused_of_late(tmp_path: Path) -> None:
    cloud = FakeCloud()
    async with admin.running(cast("Any", Fleet()), tmp_path, dict, cloud, Metrics(), tuple):
        connector = aiohttp.UnixConnector(str(tmp_path / "admin.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://controller/offers") as reply,
        ):
            sold = msgspec.json.decode(await reply.read(), type=OfferSheet)
    assert sold.offers == await cloud.offers()
    assert [key for key, _ in sold.refused] == [("medium", "a", "spot")]

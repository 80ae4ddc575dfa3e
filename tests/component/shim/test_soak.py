"""A short soak; the long one is `python -m tests.support.soak`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.shim import running_shim
from tests.support.soak import soak

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="cells of the local cloud need root"),
    pytest.mark.timeout(300),
]


async def test_pods_end_with_their_codes_and_whole_logs_though_the_controller_is_killed(tmp_path: Path) -> None:
    async with running_shim(tmp_path, "") as shim:
        await soak(shim, pods=6, kills=3, seed=7)
        await shim.controller.until(lambda cells: not cells)

"""Objects grow by patches no further than what a store takes."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cellwire.faults import Fault
from controller.objects import admission, library
from controller.objects.admission import How
from controller.objects.kinds import STORED
from controller.objects.kinds_without_effect import INGRESSES
from controller.objects.sealing import Sealing
from controller.pods.kind import PODS
from tests.support.memory_store import MemoryStore


def test_an_object_that_is_too_large_is_refused() -> None:
    small = {"metadata": {"name": "n"}}
    assert admission.sized(INGRESSES, small) == small
    with pytest.raises(Fault, match="bytes as JSON"):
        admission.sized(INGRESSES, {**small, "spec": {"x": "y" * admission.LARGEST}})


async def test_patches_do_not_add_up_beyond_the_bound() -> None:
    async with library.running(MemoryStore(), Sealing(bytes(32)), (*STORED, PODS), time.time) as found:
        await found.create(INGRESSES, "default", {"metadata": {"name": "n"}, "spec": {}}, How())

        def more(before: dict[str, Any]) -> dict[str, Any]:
            held = before["metadata"].get("annotations") or {}
            added = {**held, f"example.com/a{len(held)}": "y" * (admission.LARGEST // 3)}
            return {**before, "metadata": {**before["metadata"], "annotations": added}}

        for _ in range(2):
            await found.change(INGRESSES, "default", "n", more, How())
        with pytest.raises(Fault, match="bytes as JSON"):
            await found.change(INGRESSES, "default", "n", more, How())

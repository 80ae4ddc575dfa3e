"""Two agents never work in the same folders."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cellagent import daemon
from cellagent.kernel import leash
from cellagent.runtime.settings import RuntimeSettings
from cellwire.faults import Fault, Kind


async def test_a_second_agent_is_refused_before_it_touches_what_the_first_is_pulling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leash, "SUCCESSION", 0.05)
    settings = RuntimeSettings(root=tmp_path / "root", state=tmp_path / "state")
    pulling = settings.root / "images" / "work" / "pull-1-1"
    async with leash.sole(settings.root):
        pulling.mkdir(parents=True)
        with pytest.raises(Fault, match="another agent is at work in it") as refused:
            await daemon.serve(tmp_path / "s", settings)
    assert refused.value.kind is Kind.EXISTS
    assert pulling.exists()


async def test_the_next_agent_waits_for_the_last_one_to_end(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as tasks:
        async with leash.sole(tmp_path):
            following = tasks.create_task(_taken(tmp_path))
            await asyncio.sleep(0.1)
            assert not following.done()
    assert following.result()


async def _taken(folder: Path) -> bool:
    async with leash.sole(folder):
        return True

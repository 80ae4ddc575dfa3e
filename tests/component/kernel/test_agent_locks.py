"""Two agents never work in the same folders."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cellagent import daemon
from cellagent.kernel import agent_locks
from cellagent.runtime.settings import RuntimeSettings
from cellwire.faults import Fault, Kind


async def test_a_second_agent_is_refused_before_it_touches_what_the_first_is_pulling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_locks, "SUCCESSION", 0.05)
    settings = RuntimeSettings(root=tmp_path / "root", state=tmp_path / "state")
    pulling = settings.root / "images" / "work" / "pull-1-1"
    async with agent_locks.sole(settings.root):
        pulling.mkdir(parents=True)
        with pytest.raises(Fault, match="another agent is at work in it") as refused:
            await daemon.serve(tmp_path / "s", settings)
    assert refused.value.kind is Kind.EXISTS
    assert pulling.exists()


@pytest.mark.parametrize("shared", ["root", "state"])
async def test_a_cell_that_shares_a_folder_with_another_agent_is_refused_before_it_joins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: str
) -> None:
    async def join_for_ever(*_: object) -> None:
        pytest.fail("it joins")

    monkeypatch.setattr(agent_locks, "SUCCESSION", 0.05)
    monkeypatch.setattr(daemon, "join_for_ever", join_for_ever)
    async with agent_locks.sole(tmp_path / shared):
        with pytest.raises(Fault, match=f"{shared}: another agent is at work in it"):
            await daemon.cell(tmp_path / "root", tmp_path / "state")
    assert not (tmp_path / "root" / "identity").exists()


async def test_agents_with_images_of_their_own_do_not_share_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_locks, "SUCCESSION", 0.05)
    async with agent_locks.sole(tmp_path / "first", tmp_path / "state"):
        with pytest.raises(Fault, match="state: another agent is at work in it"):
            await daemon.serve(tmp_path / "s", RuntimeSettings(root=tmp_path / "second", state=tmp_path / "state"))


async def test_root_and_state_may_be_one_folder(tmp_path: Path) -> None:
    async with agent_locks.sole(tmp_path, tmp_path):
        pass


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Fault, match="file/root: Not a directory; choose"):
        await daemon.serve(tmp_path / "s", RuntimeSettings(root=tmp_path / "file" / "root", state=tmp_path / "state"))


async def test_the_next_agent_waits_for_the_last_one_to_end(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as tasks:
        async with agent_locks.sole(tmp_path):
            following = tasks.create_task(_taken(tmp_path))
            await asyncio.sleep(0.1)
            assert not following.done()
    assert following.result()


async def _taken(folder: Path) -> bool:
    async with agent_locks.sole(folder):
        return True
